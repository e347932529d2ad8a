"""Whatever bytes a client sends, the answer is a reply or an error of the catalogue, never a fault."""

from __future__ import annotations

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.calls import requests
from tests.service import Service

NAMES = sorted(requests(""))


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, bytes]:
    """An RPC, and a good request for it in which some bytes were changed, added or lost."""
    name = draw(st.sampled_from(NAMES))
    data = bytearray(requests("sync_" + "a" * 26)[name].SerializeToString())
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return name, bytes(data)


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(message=messages())
async def test_no_bytes_are_a_fault(idle: Service, message: tuple[str, bytes]) -> None:
    name, data = message
    try:
        await idle.channel.unary_unary(name)(data, metadata=idle.metadata("any-bytes"))
    except grpc.aio.AioRpcError as error:
        told = dict(error.trailing_metadata() or ())
        info = ErrorInfo()
        assert Status.FromString(told["grpc-status-details-bin"]).details[0].Unpack(info)
        assert info.reason != "INTERNAL_ERROR"

"""The transport of a facade that lives in the same process: the pipeline without a wire."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.proto.contract import Rpc
from distill_grpc.rpc.addresses import FORWARDED_FOR, Network, client_address, forwarded
from distill_grpc.rpc.call import REQUEST_ID, Call, CallFailed
from distill_grpc.rpc.pipeline import Pipeline
from distill_grpc.rpc.status import to_status
from http_facade.transport import Outcome, Send


class LocalTransport:
    """Calls the servicers of this process, through the same concerns as a call by wire."""

    def __init__(self, pipeline: Pipeline, *, trusted: Sequence[Network] = ()) -> None:
        """`trusted` are the proxies before the facade, which tell whom they carry calls for."""
        self._pipeline = pipeline
        self._trusted = tuple(trusted)

    async def call(
        self, rpc: Rpc, request: Message, metadata: Mapping[str, str], timeout: float
    ) -> Outcome:
        """See `http_facade.transport.Transport`."""
        return await self._run(self._called(rpc, metadata), request, timeout)

    async def stream(
        self,
        rpc: Rpc,
        request: Message,
        metadata: Mapping[str, str],
        timeout: float,
        send: Send,
    ) -> Outcome:
        """See `http_facade.transport.Transport`."""
        call = self._called(rpc, metadata)
        call.send = send
        outcome = await self._run(call, request, timeout)
        if outcome.response is not None:
            await send(outcome.response)
        return outcome

    async def close(self) -> None:
        """Holds nothing."""

    def _called(self, rpc: Rpc, metadata: Mapping[str, str]) -> Call:
        chain = forwarded(metadata.get(FORWARDED_FOR))
        return Call(rpc, metadata, address=client_address(chain, self._trusted))

    async def _run(self, call: Call, request: Message, timeout: float) -> Outcome:
        try:
            async with asyncio.timeout(timeout):
                response = await self._pipeline.run(call, request)
        except CallFailed as failed:
            return Outcome(status=failed.status, metadata=call.response_metadata)
        except TimeoutError:
            return Outcome(status=_deadline_exceeded(), metadata=_request_id(call))
        return Outcome(response=response, metadata=call.response_metadata)


def _deadline_exceeded() -> Status:
    return to_status(DistillError(ErrorReason.DEADLINE_EXCEEDED), now=clock.utc_now())


def _request_id(call: Call) -> dict[str, str]:
    return {REQUEST_ID: call.request_id} if call.request_id else {}

"""Errors as a gRPC client gets them (AIP-193)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, Help, RetryInfo
from google.rpc.status_pb2 import Status

from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from tests.conformance.calls import received


@dataclass(frozen=True)
class Failure:
    """A failed call: its status, and what came with it."""

    code: grpc.StatusCode
    message: str
    status: Status
    metadata: dict[str, Any]

    def detail(self, kind: type[Message]) -> Any:
        """The one detail of that type; None where there is none."""
        found = [detail for detail in self.status.details if detail.Is(kind.DESCRIPTOR)]
        assert len(found) <= 1
        if not found:
            return None
        message = kind()
        found[0].Unpack(message)
        return message

    @property
    def info(self) -> ErrorInfo:
        info: ErrorInfo = self.detail(ErrorInfo)
        assert info is not None
        return info

    @property
    def fields(self) -> dict[str, str]:
        """Field to rule, of a request that broke rules."""
        broken = self.detail(BadRequest) or BadRequest()
        return {one.field: one.description for one in broken.field_violations}

    @property
    def retry_in(self) -> float | None:
        wait = self.detail(RetryInfo)
        return None if wait is None else wait.retry_delay.ToTimedelta().total_seconds()

    @property
    def link(self) -> str | None:
        link = self.detail(Help)
        return None if link is None else link.links[0].url


async def failure(call: Any, reason: str) -> Failure:
    """How the call failed; its status says `reason`, and all that goes with it in the catalogue."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await received(call)
    error = caught.value
    metadata = dict(error.trailing_metadata() or ())
    assert "grpc-status-details-bin" in metadata, error
    status = Status.FromString(metadata["grpc-status-details-bin"])
    failed = Failure(error.code(), error.details() or "", status, metadata)
    rules = contract.error_rules(ErrorReason.Value(reason))
    assert (failed.info.reason, failed.info.domain) == (reason, "distill.dev"), status
    assert status.code == rules.code == failed.code.value[0]
    assert status.message == failed.message
    assert failed.message
    user_acts = str(rules.user_action_required).lower()
    assert failed.info.metadata["user_action_required"] == user_acts
    return failed

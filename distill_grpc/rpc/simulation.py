"""Concern, in mock mode only: a call answers with the standard error that its client asks for."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.message import Message

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason, invalid_argument
from distill_grpc.proto import contract
from distill_grpc.rpc.call import Call, Step

SIMULATE = "x-distill-simulate"
_REASONS = {contract.error_code(number): number for number in ErrorReason.values() if number}


async def simulation(call: Call, request: Message, step: Step) -> Message:
    """Raises the error whose code stands in the metadata `x-distill-simulate`."""
    code = call.metadata.get(SIMULATE)
    if code is None:
        return await step(request)
    if code not in _REASONS:
        raise invalid_argument({SIMULATE: f"must be one of {', '.join(sorted(_REASONS))}"})
    limited = code == "rate_limited"
    raise DistillError(
        _REASONS[code],
        details={"simulated": "true"},
        retry_after=clock.utc_now() + timedelta(minutes=15) if limited else None,
    )

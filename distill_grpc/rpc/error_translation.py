"""Concern: whatever is raised becomes a status; nothing of the inside reaches a client."""

from __future__ import annotations

import asyncio

import structlog
from google.protobuf.message import Message

from distill_grpc import clock
from distill_grpc.db.engine import is_timeout, is_unavailable
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.rpc.call import Call, CallFailed, Step
from distill_grpc.rpc.status import http_metadata, to_status

log = structlog.get_logger()


async def error_translation(call: Call, request: Message, step: Step) -> Message:
    """Answers `DistillError` as it says, and everything else without a detail."""
    try:
        return await step(request)
    except (asyncio.CancelledError, CallFailed):
        raise
    except Exception as raised:
        error = _translate(raised)
        call.response_metadata.update(http_metadata(error))
        raise CallFailed(to_status(error, now=clock.utc_now())) from None


def _translate(raised: Exception) -> DistillError:
    if isinstance(raised, DistillError):
        return raised
    if isinstance(raised, TimeoutError) or is_timeout(raised):
        log.warning("call_timed_out", error=type(raised).__name__)
        return DistillError(ErrorReason.DEADLINE_EXCEEDED)
    if is_unavailable(raised):
        log.warning("database_unavailable", error=type(raised).__name__)
        return DistillError(ErrorReason.UNAVAILABLE, retry_after=clock.utc_now() + _SOON)
    log.error("call_failed", exc_info=raised)
    return DistillError(ErrorReason.INTERNAL_ERROR)


_SOON = clock.parse_duration("5s")

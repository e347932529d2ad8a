"""Concern: one id per call, the client's where it is sound, in every log line and answer."""

from __future__ import annotations

import re
import uuid

import structlog
from google.protobuf.message import Message

from distill_grpc.rpc.call import REQUEST_ID, Call, Step

_SOUND = re.compile(r"[A-Za-z0-9._-]{1,128}")


async def request_id(call: Call, request: Message, step: Step) -> Message:
    """Takes over or makes the id, and binds it to the log lines of this call."""
    given = call.metadata.get(REQUEST_ID, "")
    call.request_id = given if _SOUND.fullmatch(given) else uuid.uuid4().hex
    call.response_metadata[REQUEST_ID] = call.request_id
    with structlog.contextvars.bound_contextvars(request_id=call.request_id):
        return await step(request)

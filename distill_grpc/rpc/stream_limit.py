"""Concern of streams: a limit on each user's streams that are open at once.

A stream lasts as long as its reader takes, so the limit on calls in a minute does not bound how many there
are. Each process counts its own.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from google.protobuf.message import Message

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.rpc.call import Call, Concern, Step

AT_ONCE = 8  # streams of one user
_SOON = timedelta(seconds=1)


def stream_limit(*, at_once: int = AT_ONCE) -> Concern:
    """Refuses a stream to who has `at_once` open; who is nobody counts by address."""
    open_streams: Counter[str] = Counter()

    async def concern(call: Call, request: Message, step: Step) -> Message:
        who = f"user {call.authenticated.user_id}" if call.authenticated else call.address
        if open_streams[who] >= at_once:
            raise DistillError(
                ErrorReason.RATE_LIMITED,
                f"More than {at_once} streams at once.",
                details={"limit": f"{at_once} streams at once per user"},
                retry_after=clock.utc_now() + _SOON,
            )
        open_streams[who] += 1
        try:
            return await step(request)
        finally:
            open_streams[who] -= 1
            if not open_streams[who]:
                del open_streams[who]

    return concern

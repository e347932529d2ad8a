"""Concern: a limit on each user's calls (seed 002: 100 per minute per user)."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.message import Message

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.ratelimit import CallLimiter
from distill_grpc.rpc.call import Call, Concern, Step


def rate_limiting(limiter: CallLimiter, *, per_minute: int) -> Concern:
    """Counts the calls of each user; public RPCs have no user and are not counted."""

    async def concern(call: Call, request: Message, step: Step) -> Message:
        if call.authenticated is not None:
            verdict = await limiter.hit(call.authenticated.user_id)
            if not verdict.allowed:
                raise DistillError(
                    ErrorReason.RATE_LIMITED,
                    f"More than {per_minute} calls in a minute.",
                    details={"limit": f"{per_minute} per minute per user"},
                    retry_after=clock.utc_now() + timedelta(seconds=verdict.retry_after),
                )
        return await step(request)

    return concern

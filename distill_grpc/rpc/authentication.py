"""Concern: a JWT on every call but the public ones. Deny is the default."""

from __future__ import annotations

import structlog
from google.protobuf.message import Message

from distill_grpc import clock
from distill_grpc.auth import InvalidToken, KeysUnavailable, TokenVerifier
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.rpc.call import Call, Concern, Step

log = structlog.get_logger()


def authentication(verifier: TokenVerifier, *, action_url: str | None) -> Concern:
    """Verifies the token of every call whose RPC is not marked public in the contract."""

    async def concern(call: Call, request: Message, step: Step) -> Message:
        if not call.rpc.public:
            try:
                call.authenticated = await verifier.verify(call.metadata.get("authorization"))
            except InvalidToken as refused:
                log.info("token_refused", why=refused.reason)
                raise DistillError(
                    ErrorReason.AUTHENTICATION_FAILED, action_url=action_url
                ) from None
            except KeysUnavailable:
                raise DistillError(
                    ErrorReason.UNAVAILABLE,
                    "The token issuer's keys cannot be read right now.",
                    retry_after=clock.utc_now() + _SOON,
                ) from None
        return await step(request)

    return concern


_SOON = clock.parse_duration("5s")

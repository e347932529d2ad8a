"""Concern: a JWT on every call but the public ones. Deny is the default."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from google.protobuf.message import Message

from distill_grpc import clock
from distill_grpc.auth import InvalidToken, KeysUnavailable, TokenVerifier
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.rpc.call import Call, Concern, Step

log = structlog.get_logger()


def authentication(verifiers: Mapping[str, TokenVerifier], *, action_url: str | None) -> Concern:
    """Verifies the token of every call whose RPC is not marked public in the contract.

    `verifiers` by package: each surface says whose tokens open it. A public RPC that shows more to
    who sends a token (`(rpc).optional_token`) refuses a bad one, so that nobody sees less without
    knowing why; the other public ones do not look at it.
    """

    async def concern(call: Call, request: Message, step: Step) -> Message:
        token = call.metadata.get("authorization")
        if not call.rpc.public or (call.rpc.optional_token and token is not None):
            try:
                call.authenticated = await verifiers[call.rpc.package].verify(token)
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

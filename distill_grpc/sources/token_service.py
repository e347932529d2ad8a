"""The central token service: hands out tokens of users who connected their accounts elsewhere.

`GET {url}/tokens/{platform}/{user_id}` with our own bearer token (Distill Service Framework
Specification, "OAuth Token Management"). Our token is sent to that origin only, and no redirect is
followed with or without it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

import orjson
import structlog

from distill_grpc.sources import oauth
from distill_grpc.sources.base import (
    NoPlatformAuth,
    PlatformError,
    RateLimited,
    SourceFailure,
    TokenExpired,
)
from distill_grpc.sources.http import HttpClient, Response
from distill_grpc.sources.oauth import Tokens

log = structlog.get_logger()

_MAX_ANSWER = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class TokenService:
    """A client of the service. `http` may reach its origin wherever that lies."""

    http: HttpClient
    url: str
    jwt: str = field(repr=False)

    async def get_tokens(
        self, platform: str, user_id: str, *, token_name: str, now: datetime
    ) -> Tokens:
        """The tokens of a user at a platform, the access token under `token_name`.

        Raises `NoPlatformAuth` where the service knows none, `TokenExpired` where it has only an
        expired one, `RateLimited`, and `PlatformError` where it is away, refuses us or is not
        understood.
        """
        path = f"/tokens/{quote(platform, safe='')}/{quote(user_id, safe='')}"
        response = await self.http.get(
            self.url.rstrip("/") + path,
            headers={"Accept": "application/json"},
            same_origin_headers={"Authorization": f"Bearer {self.jwt}"},
            max_bytes=_MAX_ANSWER,
            max_redirects=0,
        )
        if response.status != 200:
            raise _refusal(response)
        try:
            answer = orjson.loads(response.body)
        except orjson.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise PlatformError(
                "The central token service gave an answer that cannot be understood.",
                reason="token_answer",
            )
        tokens = oauth.read_tokens(answer, token_name, now=now)
        if tokens.expires_at is not None and tokens.expires_at <= now:
            raise TokenExpired("The central token service has only a token that has expired.")
        # Renewing is the service's: a refresh token that two parties use is soon worth nothing.
        values = {token_name: tokens.values[token_name]}
        return Tokens(values, tokens.expires_at, tokens.scopes)


def _refusal(response: Response) -> SourceFailure:
    status = response.status
    if status in {404, 410}:
        return NoPlatformAuth(
            "The central token service has no access to this account. Connect the account there, "
            "or with credentials of your own.",
            reason="token_service",
        )
    if status == 429:
        return RateLimited(
            "The central token service asked to wait.",
            reason="token_service",
            retry_at=response.retry_at,
        )
    if status in {401, 403}:
        # The operator's matter, not the user's: the log must say it.
        log.error("token_service_refuses_us", status=status)
        message = "The central token service refuses this service."
    else:
        message = f"The central token service failed (status {status})."
    return PlatformError(message, reason="token_service", retry_at=response.retry_at)

"""Renewing access tokens: the refresh grant of OAuth 2.0 (RFC 6749, sections 5 and 6).

A platform may answer with a new refresh token and forget the old one ("rotation"). Whoever renews
must therefore keep the answer before anything else happens; see `feed/tokens.py`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit, urlunsplit

import orjson

from distill_grpc import clock
from distill_grpc.sources.base import (
    Json,
    NoPlatformAuth,
    OAuthFlow,
    PlatformError,
    RateLimited,
    SourceFailure,
    TokenExpired,
)
from distill_grpc.sources.http import HttpClient, Response

GOOGLE_TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 -- an address
X_API_URL = "https://api.x.com"
GITHUB_API_URL = "https://api.github.com"

# Credentials that only a renewal needs, and what they are.
RENEWAL: Mapping[str, str] = MappingProxyType(
    {
        "refresh_token": "renews the access token; with client_id",
        "client_id": "of the OAuth client that the tokens were made for",
        "client_secret": "of that client, where it has one",
        "token_url": "where its tokens are renewed",
        "scope": "what a renewed token is asked for, where the platform wants to hear it",
    }
)
_MAX_CREDENTIAL = 4_096  # characters
# What a token lasts at most, whatever a platform says.
_LONGEST = timedelta(days=366)
_MAX_ANSWER = 64 * 1024  # bytes
# RFC 6749, section 5.2: errors that only the user can mend; the others are the operator's or a fault.
_REVOKED = frozenset({"invalid_grant", "bad_refresh_token", "access_denied", "unauthorized_client"})
_WRONG_CLIENT = frozenset({"invalid_client", "incorrect_client_credentials"})


@dataclass(frozen=True, slots=True)
class Tokens:
    """What takes the place of the credentials of the same names. Never printed."""

    values: Mapping[str, str] = field(repr=False)  # such as `access_token`, `refresh_token`
    expires_at: datetime | None
    scopes: tuple[str, ...] | None = None


def google(token_url: str | None = None) -> OAuthFlow:
    """Google, for YouTube and Gmail."""
    return OAuthFlow(token_url=token_url or GOOGLE_TOKEN_URL)


def github(api_url: str | None = None) -> OAuthFlow:
    """GitHub, whose token endpoint is on the web host beside the API: GHES has it on the same."""
    parts = urlsplit(api_url or GITHUB_API_URL)
    host = parts.netloc.removeprefix("api.")
    token_url = urlunsplit((parts.scheme, host, "/login/oauth/access_token", "", ""))
    return OAuthFlow(token_url=token_url, token_name="token")  # noqa: S106 -- a name


def x(api_url: str | None = None) -> OAuthFlow:
    """X, whose refresh tokens are good for one use. Confidential clients send `Basic`."""
    root = (api_url or X_API_URL).rstrip("/").removesuffix("/2")
    return OAuthFlow(token_url=f"{root}/2/oauth2/token", client_auth="basic")


def named_by_credentials() -> OAuthFlow:
    """Any provider (Google's mail, Microsoft's, another's): the credentials name its `token_url`.

    The address is a user's, so it is guarded like one.
    """
    return OAuthFlow(token_url=None)


def check_renewal(flow: OAuthFlow | None, credentials: Mapping[str, Json]) -> dict[str, str]:
    """What is wrong with what a renewal needs, or lacking: field → rule."""
    if flow is None:
        return {}
    given = [name for name in RENEWAL if credentials.get(name) is not None]
    details: dict[str, str] = {}
    for name in given:
        value = credentials[name]
        fits = isinstance(value, str) and 0 < len(value) <= _MAX_CREDENTIAL
        if not fits or not str(value).isprintable():
            details[f"credentials.{name}"] = f"must be 1 to {_MAX_CREDENTIAL} printable characters"
    needed = ["refresh_token", "client_id"] + (["token_url"] if flow.token_url is None else [])
    for name in needed if given else ():
        if name not in given:
            details[f"credentials.{name}"] = f"must be given with credentials.{given[0]}"
    return details


def can_renew(flow: OAuthFlow | None, credentials: Mapping[str, Json]) -> bool:
    """Whether these credentials hold what a renewal needs."""
    if flow is None or not isinstance(credentials.get("refresh_token"), str):
        return False
    return bool(credentials.get("client_id")) and bool(_token_url(flow, credentials))


async def renew(
    http: HttpClient, flow: OAuthFlow, credentials: Mapping[str, Json], *, now: datetime
) -> Tokens:
    """New tokens for the credentials' refresh token.

    Raises `NoPlatformAuth` where the platform has revoked it, `RateLimited` and `PlatformError`
    where trying again later helps, and `TokenExpired` where the client's id or secret is refused.
    """
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    form = {"grant_type": "refresh_token", "refresh_token": str(credentials["refresh_token"])}
    client_id = str(credentials["client_id"])
    client_secret = str(credentials.get("client_secret") or "")
    secret_headers: dict[str, str] = {}
    if flow.client_auth == "basic" and client_secret:
        pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
        secret_headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    else:
        form["client_id"] = client_id
        if client_secret:
            form["client_secret"] = client_secret
    if isinstance(scope := credentials.get("scope"), str) and scope:
        form["scope"] = scope
    response = await http.request(
        "POST",
        _token_url(flow, credentials),
        headers=headers,
        same_origin_headers=secret_headers,
        body=urlencode(form).encode(),
        max_bytes=_MAX_ANSWER,
    )
    answer = _json(response)
    # GitHub tells its refusals under the status 200.
    if response.status != 200 or "error" in answer:
        raise _refusal(response, answer)
    return read_tokens(answer, flow.token_name, now=now)


def read_tokens(answer: Mapping[str, Json], token_name: str, *, now: datetime) -> Tokens:
    """The tokens of an answer, with their end and scopes where it tells.

    It holds `access_token`, and perhaps `refresh_token`, `expires_in` (seconds) or `expires_at` (an
    instant), and `scope` or `scopes`. Raises `PlatformError` for anything else.
    """
    access = answer.get("access_token")
    if not isinstance(access, str) or not access or not access.isprintable():
        raise _unreadable()
    values = {token_name: access}
    refresh = answer.get("refresh_token")
    if isinstance(refresh, str) and refresh:
        values["refresh_token"] = refresh
    return Tokens(values, _expires_at(answer, now), _scopes(answer))


def _expires_at(answer: Mapping[str, Json], now: datetime) -> datetime | None:
    seconds = answer.get("expires_in")
    if isinstance(seconds, str) and seconds.isascii() and seconds.isdigit():
        seconds = int(seconds[:12])  # some write it as a string
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds >= 0:
        return now + timedelta(seconds=min(float(seconds), _LONGEST.total_seconds()))
    instant = answer.get("expires_at")
    if instant is None:
        return None
    try:
        read = datetime.fromisoformat(instant)
    except (TypeError, ValueError):
        raise _unreadable() from None
    if read.tzinfo is None:
        raise _unreadable()
    return clock.whole_seconds(read)


def _scopes(answer: Mapping[str, Json]) -> tuple[str, ...] | None:
    told = answer.get("scopes", answer.get("scope"))
    if isinstance(told, str):
        return tuple(told.replace(",", " ").split())
    if isinstance(told, list) and all(isinstance(scope, str) for scope in told):
        return tuple(told)
    return None


def _refusal(response: Response, answer: Mapping[str, Json]) -> SourceFailure:
    code = answer.get("error")
    if response.status == 429:
        return RateLimited("The platform asked to wait.", retry_at=response.retry_at)
    if response.status >= 500:
        return PlatformError(
            f"The platform could not renew the token (status {response.status}).",
            reason="token_endpoint",
            retry_at=response.retry_at,
        )
    if code in _WRONG_CLIENT:
        return TokenExpired(
            "The token has expired, and the platform refuses the client's id or secret. Connect "
            "the account again.",
            reason="invalid_client",
            permanent=True,
        )
    # X says `invalid_request` for a refresh token that was used or revoked.
    if code in _REVOKED or (code == "invalid_request" and response.status == 400):
        return NoPlatformAuth(
            "The platform no longer accepts the stored access. Connect the account again.",
            reason="invalid_grant",
            permanent=True,
        )
    return PlatformError(
        f"The platform could not renew the token (status {response.status}).",
        reason="token_endpoint",
    )


def _json(response: Response) -> Mapping[str, Any]:
    try:
        answer = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        answer = None
    if isinstance(answer, dict):
        return answer
    if response.status == 200:
        raise _unreadable()
    return {}


def _unreadable() -> PlatformError:
    return PlatformError(
        "The answer with the token could not be understood.", reason="token_answer"
    )


def _token_url(flow: OAuthFlow, credentials: Mapping[str, Json]) -> str:
    return flow.token_url or str(credentials.get("token_url") or "")

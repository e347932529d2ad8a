"""Asks the X API v2: one request at a time, within its windows, and every refusal understood."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

import orjson
import structlog

from distill_grpc.sources.base import (
    Json,
    NoPlatformAuth,
    PlatformError,
    RateLimited,
    SourceFailure,
    TokenExpired,
)
from distill_grpc.sources.budgets import Budget, Budgets, SlidingWindow
from distill_grpc.sources.http import HttpClient, Response
from distill_grpc.sources.x_posts import records

_log = structlog.get_logger()

API = "https://api.x.com"

_WINDOW = 900  # seconds; all limits of X hold for a quarter of an hour
_LONGEST_WAIT = timedelta(hours=24)
_MAX_BYTES = 8 * 1024 * 1024  # a hundred posts with everything are below one
_MESSAGE = 200  # characters of X's own words


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A kind of request, which X counts for itself: `limit` in a quarter of an hour and user."""

    name: str
    limit: int

    @property
    def budget(self) -> Budget:
        """Its limit."""
        return Budget(
            name=f"x.{self.name}",
            strategy=SlidingWindow(limit=self.limit, seconds=_WINDOW),
        )


ME = Endpoint("me", 75)
HOME = Endpoint("home", 180)
MENTIONS = Endpoint("mentions", 300)
LIST = Endpoint("list", 900)
LOOKUP = Endpoint("lookup", 900)
OWNED_LISTS = Endpoint("owned_lists", 15)


class PageTokenError(PlatformError):
    """X does not know a pagination token any more: the walk begins anew."""


class XApi:
    """X on behalf of one user.

    `holder` is who X counts: the user, whatever token stands for them. `now` is the instant of the
    call that this serves; it moves on with a clock that nobody sets.
    """

    def __init__(
        self, http: HttpClient, budgets: Budgets, *, root: str, token: str, now: datetime
    ) -> None:
        self._http = http
        self._budgets = budgets
        self._root = root.rstrip("/")
        self._token = token
        self._began = now, time.monotonic()
        self.holder = digest(token)

    @property
    def now(self) -> datetime:
        """The present."""
        instant, at = self._began
        return instant + timedelta(seconds=time.monotonic() - at)

    async def get(
        self, endpoint: Endpoint, path: str, parameters: Mapping[str, str]
    ) -> dict[str, Json]:
        """The answer to a request that X granted. Raises a `SourceFailure`."""
        await self._budgets.reserve(endpoint.budget, self.holder)
        query = f"?{urlencode(parameters)}" if parameters else ""
        response = await self._http.get(
            f"{self._root}{path}{query}",
            headers={"Accept": "application/json"},
            same_origin_headers={"Authorization": f"Bearer {self._token}"},
            max_bytes=_MAX_BYTES,
        )
        resets_at = self._resets_at(response)
        remaining = _header_number(response, "x-rate-limit-remaining")
        if remaining is not None:
            await self._budgets.learn(
                endpoint.budget, self.holder, remaining=remaining, resets_at=resets_at
            )
        answer = _object(response.body)
        if response.status == 200 and answer is not None:
            return _with_content(answer, endpoint)
        failure = self._failure(response, answer, resets_at)
        if isinstance(failure, RateLimited) and failure.reason == "too_many_requests":
            await self._budgets.learn(endpoint.budget, self.holder, blocked_until=failure.retry_at)
        raise failure

    def _failure(
        self, response: Response, answer: dict[str, Json] | None, resets_at: datetime | None
    ) -> SourceFailure:
        """What an answer other than a good one means."""
        status = response.status
        if answer is None and status in {200, 400, 402, 403, 404}:
            # A page for people, of X or of something that stands between.
            return PlatformError(
                f"X answered with something that is no JSON ({status}).", reason="malformed"
            )
        problem, told = _problem(answer or {}), _told(answer or {})
        if problem == "usage-capped" or status == 402:
            _log.warning("x_usage_capped", status=status)
            return RateLimited(
                f"X serves no more posts to this application for now{told}",
                reason="usage_capped",
                retry_at=self.now + _LONGEST_WAIT,
            )
        if status == 429:
            return RateLimited(
                f"X asks to wait{told}",
                reason="too_many_requests",
                retry_at=response.retry_at or resets_at or self.now + timedelta(seconds=_WINDOW),
            )
        if status == 400 and b"pagination_token" in response.body:
            return PageTokenError("X does not know a page's token any more.", reason="bad_token")
        return _refusal(status, problem, told)

    def _resets_at(self, response: Response) -> datetime | None:
        """When the window begins anew; X's instants are by X's clock."""
        reset = _header_number(response, "x-rate-limit-reset")
        if reset is None:
            return None
        wait = timedelta(seconds=max(0.0, min(reset - response.date.timestamp(), 86_400.0)))
        return self.now + wait


def _with_content(answer: dict[str, Json], endpoint: Endpoint) -> dict[str, Json]:
    """The answer, where it holds any. X answers 200 also where there is nothing but errors."""
    if "data" in answer or "meta" in answer:
        return answer
    if "errors" not in answer:
        raise PlatformError("X's answer holds nothing.", reason="malformed")
    if endpoint is LOOKUP:
        return answer  # none of the posts is there, and each has its error
    problem, told = _problem(answer), _told(answer)
    if problem == "resource-not-found":
        raise PlatformError(f"X does not know this{told}", reason="not_found")
    if problem == "not-authorized-for-resource":
        raise NoPlatformAuth(f"X refuses access{told}", reason=problem)
    raise PlatformError(f"X gives nothing but errors{told}", reason="errors_only")


def _refusal(status: int, problem: str, told: str) -> SourceFailure:
    """What a status means that says nothing of limits and pages."""
    if status == 401:
        return TokenExpired("X does not accept the access token.", reason="unauthorized")
    if status == 403:
        return NoPlatformAuth(f"X refuses access{told}", reason=problem or "forbidden")
    if status == 404:
        return PlatformError(f"X does not know this{told}", reason="not_found")
    if status == 400:
        _log.error("x_request_refused", told=told)  # our own fault
        return PlatformError(f"X does not understand the request{told}", reason="bad_request")
    reason = "server_error" if status >= 500 else "unexpected_status"
    return PlatformError(f"X answered with the status {status}.", reason=reason)


def digest(secret: str) -> str:
    """What stands for a token or an id where neither may be seen."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()[:32]


def _object(body: bytes) -> dict[str, Json] | None:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return answer if isinstance(answer, dict) else None


def _problem(answer: Mapping[str, Json]) -> str:
    """The last word of the problem's type, of the answer itself or of its first error."""
    for told in (answer, *records(answer.get("errors"))):
        kind = told.get("type")
        if isinstance(kind, str) and kind != "about:blank":
            return kind.rpartition("/")[2][:50]
    return ""


def _told(answer: Mapping[str, Json]) -> str:
    """X's own words about a failure, as the end of a sentence."""
    for told in (answer, *records(answer.get("errors"))):
        for name in ("detail", "message", "title"):
            words = told.get(name)
            if isinstance(words, str) and words:
                return ": " + " ".join(words.split())[:_MESSAGE]
    return "."


def _header_number(response: Response, name: str) -> float | None:
    value = response.headers.get(name, "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 16 else None

"""The YouTube Data API v3: how it is asked, what it costs, and what its refusals mean.

Every request costs a unit of the project's day, which begins anew at midnight Pacific time. Keys and
tokens travel in headers only; addresses end up in logs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from yarl import URL

from distill_grpc.sources import api_json
from distill_grpc.sources.api_time import FetchClock
from distill_grpc.sources.base import (
    Json,
    NoPlatformAuth,
    PlatformError,
    RateLimited,
    SourceFailure,
    TokenExpired,
)
from distill_grpc.sources.budgets import Budget, Budgets, Quota
from distill_grpc.sources.http import HttpClient, Response

ROOT = "https://youtube.googleapis.com/youtube/v3"
SCOPE = "https://www.googleapis.com/auth/youtube.readonly"
PACIFIC = "America/Los_Angeles"
UNITS_A_DAY = 10_000
AT_ONCE = 50  # ids in one request, and entries on one page

# A user's own key spends a project of the user's; tokens spend the project of the OAuth client, which
# all users of an instance share.
KEY_UNITS = Budget(
    name="youtube.key_units", strategy=Quota(limit=UNITS_A_DAY, zone=PACIFIC), unit="units"
)
PROJECT_UNITS = Budget(
    name="youtube.project_units",
    strategy=Quota(limit=UNITS_A_DAY, zone=PACIFIC, share=0.1),
    unit="units",
)

_BACKOFF = 60.0  # seconds, where YouTube asks to be slower without saying for how long
_LONGEST_DAY = timedelta(hours=25)  # when summer time ends
_DAY_IS_SPENT = frozenset({"quotaExceeded", "dailyLimitExceeded", "dailyLimitExceededUnreg"})
_TOO_FAST = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED"})
_BAD_KEY = frozenset({"keyInvalid", "keyExpired", "API_KEY_INVALID"})
# Refusals that concern one channel, not the account.
_OF_ONE_CHANNEL = frozenset(
    {"playlistItemsNotAccessible", "channelForbidden", "channelClosed", "channelSuspended"}
)


class YoutubeApi:
    """The API for one account during one fetch."""

    def __init__(
        self,
        http: HttpClient,
        budgets: Budgets,
        root: str,
        credentials: Mapping[str, Json],
        *,
        clock: FetchClock,
        user: str = "",
    ) -> None:
        self.root = root.rstrip("/")
        self.clock = clock
        self._http = http
        self._budgets = budgets
        self._key = str(credentials.get("api_key") or "")
        self._token = str(credentials.get("access_token") or "")
        self._refreshable = bool(credentials.get("refresh_token"))
        self._user = user

    @property
    def holder(self) -> str:
        """Whose units public reads spend."""
        return fingerprint(self._key) if self._key else "project"

    async def get(
        self, resource: str, parameters: Mapping[str, str], *, as_me: bool = False
    ) -> Mapping[str, Json]:
        """Reads a list, for one unit. `as_me`: with the token. Raises a `SourceFailure`."""
        as_user = as_me or not self._key
        budget, holder = (PROJECT_UNITS, "project") if as_user else (KEY_UNITS, self.holder)
        await self._budgets.reserve(budget, holder, user=self._user)
        response = await self._http.get(
            str(URL(f"{self.root}/{resource}").with_query(parameters)),
            headers={"Accept": "application/json"},
            same_origin_headers=(
                {"Authorization": f"Bearer {self._token}"}
                if as_user
                else {"X-Goog-Api-Key": self._key}
            ),
        )
        if response.status == 200:
            return api_json.mapped(api_json.read(response))
        failure = self._meaning(response)
        if isinstance(failure, RateLimited):
            await self._budgets.learn(budget, holder, blocked_until=failure.retry_at)
        raise failure

    def _meaning(self, response: Response) -> SourceFailure:
        """What an error says: the HTTP status, then Google's own status, then the reasons."""
        google, reasons, said = _told(response)
        limit = self._limit(response, google, reasons)
        if limit is not None:
            return limit
        if response.status == 401:
            return TokenExpired(
                "YouTube does not take the token any more (401).",
                reason="bad_credentials",
                permanent=not self._refreshable,
            )
        if reasons & _BAD_KEY or "api key not valid" in said.lower():
            return NoPlatformAuth(
                "YouTube does not know this API key.", reason="bad_key", permanent=True
            )
        if response.status == 403:
            return _refusal(google, reasons)
        return self._fault(response, reasons)

    def _limit(
        self, response: Response, google: str, reasons: frozenset[str]
    ) -> RateLimited | None:
        """The limit behind an answer; None where it is no limit."""
        if reasons & _DAY_IS_SPENT:
            return RateLimited(
                "The project's units of the day are spent; they begin anew at midnight Pacific time.",
                reason="quota_exceeded",
                retry_at=self._midnight(response),
            )
        if response.status == 429 or reasons & _TOO_FAST or google == "RESOURCE_EXHAUSTED":
            told = self.clock.retry_after(response)
            return RateLimited(
                "YouTube asks to be slower.",
                reason="too_many_requests",
                retry_at=told or self.clock.after(_BACKOFF),
            )
        return None

    def _fault(self, response: Response, reasons: frozenset[str]) -> PlatformError:
        """What an answer means that is neither a limit nor a refusal."""
        status = response.status
        if status >= 500:
            return PlatformError(
                f"YouTube failed with the status {status}.",
                reason="server_error",
                retry_at=self.clock.retry_after(response),
            )
        named = next((r for r in ("invalidPageToken", "playlistNotFound") if r in reasons), "")
        if status == 404:
            return PlatformError("YouTube does not have this (404).", reason=named or "not_found")
        return PlatformError(
            f"YouTube answered with the unexpected status {status}.",
            reason=named or f"status_{status}",
        )

    def _midnight(self, response: Response) -> datetime:
        """When the day of the quota ends, by our clock."""
        zone = ZoneInfo(PACIFIC)
        today = self.clock.server_now(response).astimezone(zone)
        midnight = datetime.combine(today.date() + timedelta(days=1), datetime.min.time(), zone)
        return self.clock.of_server(midnight, response, _LONGEST_DAY)


def fingerprint(key: str) -> str:
    """What stands for a key where the key itself must not be kept."""
    return hashlib.sha256(f"youtube {key}".encode()).hexdigest()[:16]


def _told(response: Response) -> tuple[str, frozenset[str], str]:
    """Google's status, the reasons and the message of an error; empty where it is of another shape."""
    try:
        body = api_json.read(response)
    except PlatformError:
        return "", frozenset(), ""
    errors = [
        *api_json.list_at(body, "error", "errors"),
        *api_json.list_at(body, "error", "details"),
    ]
    reasons = frozenset(api_json.text_at(error, "reason") for error in errors) - {""}
    message = api_json.text_at(body, "error", "message")
    return api_json.text_at(body, "error", "status"), reasons, message


def _refusal(google: str, reasons: frozenset[str]) -> SourceFailure:
    """What a 403 that is no limit means."""
    if reasons & _OF_ONE_CHANNEL:
        return PlatformError("This channel's videos cannot be seen.", reason="not_accessible")
    if reasons & {"insufficientPermissions", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"}:
        return NoPlatformAuth(
            f"The token lacks the scope {SCOPE}.", reason="missing_scope", permanent=True
        )
    if reasons & {"accessNotConfigured", "SERVICE_DISABLED"}:
        return NoPlatformAuth(
            "The YouTube Data API is not switched on for this project.",
            reason="not_configured",
            permanent=True,
        )
    # A recorded oddity: PERMISSION_DENIED with the reason SERVICE_UNAVAILABLE is a refusal.
    if not google and reasons & {"backendError", "internalError"}:
        return PlatformError("YouTube failed (403).", reason="server_error")
    return NoPlatformAuth(
        "YouTube refuses access with these credentials (403).", reason="forbidden", permanent=True
    )

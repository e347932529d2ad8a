"""GitHub's REST API: how it is asked, what its refusals mean, and what it lets us spend.

One request at a time for a token. Before each, a place is reserved in two budgets; every answer's
headers are reported to them. Instants that GitHub names are read by its own clock (`Date`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from datetime import datetime

from yarl import URL

from distill_grpc.sources import api_json, urls
from distill_grpc.sources.api_time import FetchClock, from_epoch
from distill_grpc.sources.api_walk import Turns
from distill_grpc.sources.base import (
    NoPlatformAuth,
    PlatformError,
    RateLimited,
    SourceFailure,
    TokenExpired,
)
from distill_grpc.sources.budgets import Adaptive, Budget, Budgets, SlidingWindow
from distill_grpc.sources.http import NO_HEADERS, HttpClient, Response

ROOT = "https://api.github.com"
LONGEST_POLL = 86_400.0  # seconds; what asks for more is taken for this
MAX_PAGES = 200  # of one walk; nobody's is that long

# GitHub gives 5,000 an hour to a user over all tokens; the rest belongs to the user's other tools.
HOURLY = Budget(name="github.requests", strategy=SlidingWindow(limit=1_000, seconds=3_600))
# The secondary limits are not told, except for 900 points a minute, of which a read takes one.
PACE = Budget(name="github.pace", strategy=Adaptive(start=300, floor=6))

_SHORTEST_WAIT = 1.0  # seconds
_SHORTEST_BACKOFF = 60.0  # seconds, where GitHub says "later" without saying when
_LONGEST_BACKOFF = 3_600.0
_SECONDARY = re.compile(r"secondary rate limit|abuse detection|abuse-rate-limits", re.IGNORECASE)
_LINK = re.compile(r"<([^<>]*)>\s*((?:;\s*[\w-]+\s*=\s*(?:\"[^\"]*\"|[^\s\",;]+)\s*)*)")
_NEXT = re.compile(r";\s*rel\s*=\s*\"?[^\";]*\bnext\b", re.IGNORECASE)
_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}


class GithubApi:
    """The API for one token during one fetch.

    `refusals` counts, by token, the limits in a row that came without an instant, so that the pause
    between two attempts doubles; `turns` lets one request at a time go out. Both outlive the fetch.
    """

    def __init__(
        self,
        http: HttpClient,
        budgets: Budgets,
        root: str,
        token: str,
        *,
        clock: FetchClock,
        refusals: MutableMapping[str, int],
        turns: Turns,
        user: str = "",
    ) -> None:
        self.root = root.rstrip("/")
        self.clock = clock
        self.fingerprint = fingerprint(token)
        self._http = http
        self._budgets = budgets
        self._refusals = refusals
        self._turns = turns
        self._user = user
        self._secret = {"Authorization": f"Bearer {token}"}
        self._spent: RateLimited | None = None

    async def get(self, url: str, *, conditions: Mapping[str, str] = NO_HEADERS) -> Response:
        """Asks; the answer is a 200, or a 304 where there are `conditions`.

        `url` is an address of the API, or a path below its root. Raises a `SourceFailure`.
        """
        if (
            self._spent is not None
            and (self._spent.retry_at or self.clock.now()) > self.clock.now()
        ):
            raise self._spent
        address = url if "://" in url else f"{self.root}/{url.lstrip('/')}"
        # A turn is a request, not a fetch: whoever connects the account again need not wait for it.
        async with self._turns.hold(self.fingerprint):
            for budget in (HOURLY, PACE):
                await self._budgets.reserve(budget, self.fingerprint, user=self._user)
            response = await self._http.get(
                address, headers={**_HEADERS, **conditions}, same_origin_headers=self._secret
            )
        if not self._is_ours(response.url):
            # What another server says about a token that it was not sent means nothing.
            raise PlatformError("GitHub leads to another server.", reason="redirected")
        await self._learn(response)
        if response.status == 200 or (response.status == 304 and conditions):
            self._refusals.pop(self.fingerprint, None)
            return response
        failure = self._meaning(response)
        if isinstance(failure, RateLimited):
            budget = HOURLY if failure.reason == "primary_limit" else PACE
            await self._budgets.learn(budget, self.fingerprint, blocked_until=failure.retry_at)
        raise failure

    def next_page(self, response: Response) -> str | None:
        """The next page that the answer's `Link` names. Raises `PlatformError` for a foreign one."""
        for match in _LINK.finditer(response.headers.get("Link", "")):
            if _NEXT.search(match[2]):
                target = urls.follow(URL(response.url), match[1])
                if not self._is_ours(str(target)):
                    raise PlatformError("GitHub names a next page elsewhere.", reason="bad_link")
                return str(target)
        return None

    def _is_ours(self, url: str) -> bool:
        return urls.origin(URL(url)) == urls.origin(URL(self.root))

    async def wait_to_poll(self, part: str) -> float:
        """Seconds until a part may be polled; 0: now."""
        try:
            await self._budgets.reserve(_polls(part), self.fingerprint, user=self._user)
        except RateLimited as held:
            open_at = held.retry_at or self.clock.now()
            wait = (open_at - self.clock.now()).total_seconds()
            return min(max(wait, _SHORTEST_WAIT), LONGEST_POLL)
        return 0.0

    async def polled(self, part: str, response: Response) -> float:
        """Seconds that GitHub wants between two polls of a part (`X-Poll-Interval`); kept by token.

        They hold for the account: for whoever else has its token, and when it is connected anew.
        """
        written = response.headers.get("X-Poll-Interval", "")
        seconds = float(written) if written.isascii() and written.isdigit() else 0.0
        seconds = min(seconds, LONGEST_POLL)
        if seconds:
            until = self.clock.after(seconds)
            await self._budgets.learn(_polls(part), self.fingerprint, blocked_until=until)
        return seconds

    async def _learn(self, response: Response) -> None:
        """Tells the budget what is left; remembers where it is nothing."""
        left = response.headers.get("X-RateLimit-Remaining", "")
        reset = from_epoch(response.headers.get("X-RateLimit-Reset", ""))
        if response.headers.get("X-RateLimit-Resource", "core") != "core":
            return  # the count of another bucket, such as search
        if not (left.isascii() and left.isdigit()) or len(left) > 9 or reset is None:
            return
        resets_at = self.clock.of_server(reset, response)
        await self._budgets.learn(
            HOURLY, self.fingerprint, remaining=float(left), resets_at=resets_at
        )
        if not int(left):
            self._spent = _limited("primary_limit", resets_at)

    def _meaning(self, response: Response) -> SourceFailure:
        status = response.status
        if status in {403, 429}:
            return self._limit(response) or _refusal(response)
        if status == 401:
            return TokenExpired(
                "GitHub does not take the token any more (401).",
                reason="bad_credentials",
                permanent=True,
            )
        if status == 404:
            return PlatformError(
                "GitHub does not have this, or does not show it to this token (404).",
                reason="not_found",
            )
        if status >= 500:
            return PlatformError(
                f"GitHub failed with the status {status}.",
                reason="server_error",
                retry_at=self.clock.retry_after(response),
            )
        return PlatformError(
            f"GitHub answered with the unexpected status {status}.", reason=f"status_{status}"
        )

    def _limit(self, response: Response) -> RateLimited | None:
        """The limit behind a 403 or 429; in the order of GitHub's documentation. None: no limit."""
        headers = response.headers
        secondary = (
            bool(_SECONDARY.search(response.body[:10_000].decode("utf-8", "replace")))
            or "gh-limited-by" in headers
        )
        told = self.clock.retry_after(response)
        if told is not None:
            return _limited("secondary_limit" if secondary else "retry_after", told)
        reset = from_epoch(headers.get("X-RateLimit-Reset", ""))
        if headers.get("X-RateLimit-Remaining", "").strip() == "0" and reset is not None:
            return _limited("primary_limit", self.clock.of_server(reset, response))
        if not secondary and response.status != 429:
            return None
        before = self._refusals.get(self.fingerprint, 0)
        self._refusals[self.fingerprint] = before + 1
        wait = min(_SHORTEST_BACKOFF * 2 ** min(before, 10), _LONGEST_BACKOFF)
        return _limited("secondary_limit", self.clock.after(wait))


def _polls(part: str) -> Budget:
    """The polls of a part, which GitHub alone limits: by the instant before which it wants none."""
    return Budget(name=f"github.{part}", strategy=HOURLY.strategy, unit="polls")


def fingerprint(token: str) -> str:
    """What stands for a token where the token itself must not be kept."""
    return hashlib.sha256(f"github {token}".encode()).hexdigest()[:16]


def scopes(headers: Mapping[str, str], name: str) -> frozenset[str] | None:
    """The scopes that a header lists; None where there is no such header."""
    told = headers.get(name)
    if told is None:
        return None
    return frozenset(scope.strip() for scope in told.split(",") if scope.strip())


def _refusal(response: Response) -> NoPlatformAuth:
    """What a 403 that is no limit means."""
    if response.headers.get("X-GitHub-SSO", "").lower().startswith("required"):
        return NoPlatformAuth(
            "The organisation wants the token to be authorised for its single sign-on.",
            reason="sso_required",
        )
    granted = scopes(response.headers, "X-OAuth-Scopes")
    accepted = scopes(response.headers, "X-Accepted-OAuth-Scopes")
    if granted is not None and accepted and not accepted & granted:
        return NoPlatformAuth(
            f"The token lacks the scope {' or '.join(sorted(accepted))}.", reason="missing_scope"
        )
    said = ""
    with suppress(PlatformError):  # a page for people, whose words help nobody here
        said = api_json.text_at(api_json.read(response), "message")
    if "not accessible by" in said or "fine-grained" in said:
        return NoPlatformAuth("This kind of token is not let in here.", reason="token_kind")
    return NoPlatformAuth("GitHub refuses access with this token (403).", reason="forbidden")


def _limited(reason: str, until: datetime) -> RateLimited:
    what = (
        "too many requests in a short time"
        if reason == "secondary_limit"
        else "the limit is reached"
    )
    return RateLimited(f"GitHub asks to wait: {what}.", reason=reason, retry_at=until)

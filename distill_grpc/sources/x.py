"""X: the home timeline, mentions, and lists, by the API v2 on behalf of a user.

Parts are `home`, `mentions` and `list:<id>`. Scopes: `tweet.read`, `users.read`, `offline.access` for
renewal, `list.read` for lists. Every endpoint has its own window of 15 minutes and user; besides, X
charges for what is read, so that each user has a sum a day to spend (`settings.daily_usd`).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import datetime

import structlog

from distill_grpc import clock
from distill_grpc.sources import oauth, x_costs
from distill_grpc.sources.base import (
    Account,
    FetchRequest,
    InvalidConnection,
    Json,
    NoPlatformAuth,
    Page,
    PlatformError,
    RateLimited,
    SourceFailure,
    SourceInfo,
    TokenExpired,
)
from distill_grpc.sources.registry import SourceContext
from distill_grpc.sources.x_api import API, HOME, LIST, ME, MENTIONS, OWNED_LISTS, XApi, digest
from distill_grpc.sources.x_costs import Purse
from distill_grpc.sources.x_posts import number, records
from distill_grpc.sources.x_walk import State, Timeline, Walk
from distill_grpc.sources.x_webhooks import XWebhooks

_log = structlog.get_logger()

DEFAULT_TIMELINES = ("home", "mentions")
MAX_TIMELINES = 50

_LIST_PART = re.compile(r"list:([1-9][0-9]{0,18})", re.ASCII)
_SPELLINGS = ("tweet", "post")
_SCOPES = ("tweet.read", "users.read", "offline.access", "list.read")
_MAX_SECRET = 4_096  # characters
_MAX_OWN_LISTS = 100
_MAX_ACCOUNTS = 1_000  # remembered

INFO = SourceInfo(
    name="x",
    title="X",
    description="Posts of the home timeline, mentions of the user, and posts of lists.",
    oauth_scopes=_SCOPES,
    token_type="OAuth2",  # noqa: S106 -- a kind of credential, not a secret
    refresh_supported=True,
    credentials={
        "access_token": "An OAuth 2.0 token of the user, with the scopes of this source",
        "refresh_token": "Renews the access token, which lives for two hours",
        "client_id": "The application's id, for renewal",
        "client_secret": "The application's secret, for renewal, where it has one",
        "consumer_secret": "The application's consumer secret, with which its webhook is signed",
    },
    settings={
        "timelines": (
            "What is read: `home`, `mentions` and `list:<id>`; home and mentions where none is named"
        ),
        "own_lists": "true: the lists that the user owns are read too",
        "daily_usd": (
            f"US dollars that reading may cost a day, {x_costs.LEAST_DAILY} to "
            f"{x_costs.MOST_DAILY:.0f}; {x_costs.DEFAULT_DAILY} where none is named"
        ),
        "field_names": "How the API spells its fields: `tweet` (the default) or `post`",
    },
    limits=(
        f"Home timeline: {HOME.limit} requests in 15 minutes and user, 3,200 posts or 7 days back",
        f"Mentions: {MENTIONS.limit} requests in 15 minutes and user, 800 posts back",
        f"Lists: {LIST.limit} requests in 15 minutes and user",
        (
            f"Money: {x_costs.POST} US dollars a post and {x_costs.USER} a person read, each once a "
            "UTC day, up to settings.daily_usd a day; then reading waits for the next day"
        ),
    ),
)


class XSource:
    """Reads X for users who gave it a token."""

    def __init__(self, context: SourceContext) -> None:
        self.info = replace(INFO, oauth=oauth.x(context.api_urls.get("x")))
        self.webhooks = XWebhooks()
        self._http = context.http.at_api()
        self._budgets = context.budgets
        self.root = context.api_urls.get("x", API)
        self._accounts: dict[str, str] = {}  # digest of a token → the user's id

    def check(self, credentials: Mapping[str, Json], settings: Mapping[str, Json]) -> None:
        """Raises `InvalidConnection` for names that are not known and values that cannot be."""
        details = {
            f"credentials.{n}": "is not known" for n in credentials.keys() - INFO.credentials
        }
        details |= {f"settings.{name}": "is not known" for name in settings.keys() - INFO.settings}
        for name in INFO.credentials:
            value = credentials.get(name)
            if value is None and name != "access_token":
                continue
            if not isinstance(value, str) or not 0 < len(value) <= _MAX_SECRET or _odd(value):
                details[f"credentials.{name}"] = (
                    f"must be 1 to {_MAX_SECRET} printable ASCII characters without spaces"
                )
        details |= _timelines_broken(settings.get("timelines"))
        if not isinstance(settings.get("own_lists", False), bool):
            details["settings.own_lists"] = "must be true or false"
        if settings.get("field_names", "tweet") not in _SPELLINGS:
            details["settings.field_names"] = "must be `tweet` or `post`"
        daily = settings.get("daily_usd", x_costs.DEFAULT_DAILY)
        least, most = x_costs.LEAST_DAILY, x_costs.MOST_DAILY
        if (
            isinstance(daily, bool)
            or not isinstance(daily, int | float)
            or not least <= daily <= most
        ):
            details["settings.daily_usd"] = f"must be a number from {least} to {most:.0f}"
        if details:
            raise InvalidConnection(details)

    async def identify(
        self,
        credentials: Mapping[str, Json],
        settings: Mapping[str, Json],  # noqa: ARG002 -- the seam's
    ) -> Account:
        """Who the token stands for; X does not tell its scopes."""
        user = await _me(self._api(credentials, clock.utc_now()))
        return Account(name=user["username"], id=user["id"])

    def parts(self, settings: Mapping[str, Json]) -> tuple[str, ...]:
        """The timelines that the settings name; empty where lists that only X knows come to them."""
        return () if settings.get("own_lists") else _named(settings)

    async def fetch(self, request: FetchRequest) -> AsyncIterator[Page]:
        """Reads one timeline after the other. One that fails lets the others go on.

        The account as a whole fails where the token is refused, where today's money is spent and
        where X serves no more posts to the application.
        """
        settings = request.settings
        named = [part for part in _named(settings) if part not in request.skip]
        if not named and not settings.get("own_lists"):
            return
        api = self._api(request.credentials, request.now)
        me = await self._who(api)
        api.holder = digest(f"x user {me}")  # X counts users, not the tokens that stand for them
        daily = float(settings.get("daily_usd", x_costs.DEFAULT_DAILY))
        purse = Purse(self._budgets, api.holder, daily, request.now, user=request.user)
        for cursor in request.cursors.values():
            purse.remember(cursor)
        await purse.pay_user(me)
        if settings.get("own_lists"):
            more = await _own_lists(api, purse, me)
            named += [p for p in more if p not in named and p not in request.skip]
            for part in request.left({*_named(settings), *more}):
                yield Page(part=part, ended=True)  # a list that the user owns no more
        told: dict[int, int] = {}
        for part in named:
            cursor = request.cursors.get(part)
            # A cursor of another account, from before the user connected this one, says nothing.
            state = State.from_json(cursor if _owner(cursor) == me else None)
            since = request.since.get(part, request.default_since)
            walk = Walk(api, purse, _timeline(part, me, settings), state, since=since, told=told)
            try:
                async for page in walk.pages():
                    yield _with_owner(page, me)
            except SourceFailure as failure:
                if _of_the_account(failure):
                    raise
                yield Page(part=part, failure=_of_part(part, failure))

    def _api(self, credentials: Mapping[str, Json], now: datetime) -> XApi:
        token = credentials.get("access_token")
        if not isinstance(token, str) or not token:
            raise NoPlatformAuth("There is no access token for X.", reason="no_token")
        return XApi(self._http, self._budgets, root=self.root, token=token, now=now)

    async def _who(self, api: XApi) -> str:
        """The user's id; asked once for each token."""
        key = api.holder
        known = self._accounts.get(key)
        if known is None:
            known = (await _me(api))["id"]
            while len(self._accounts) >= _MAX_ACCOUNTS:
                self._accounts.pop(next(iter(self._accounts)))
            self._accounts[key] = known
        return known


async def _me(api: XApi) -> dict[str, str]:
    """`id` and `username` of the token's user."""
    try:
        answer = await api.get(ME, "/2/users/me", {})
    except PlatformError as failure:
        if failure.reason == "not_found":
            raise NoPlatformAuth("X does not know this user.", reason="no_user") from failure
        raise
    user = answer.get("data")
    user = user if isinstance(user, dict) else {}
    id_ = number(user.get("id"))
    if id_ is None:
        raise PlatformError("X does not say who this is.", reason="malformed")
    name = user.get("username")
    return {"id": str(id_), "username": name[:100] if isinstance(name, str) else ""}


async def _own_lists(api: XApi, purse: Purse, me: str) -> list[str]:
    """The parts of the lists that the user owns. Raises a `SourceFailure`."""
    await purse.open()
    answer = await api.get(
        OWNED_LISTS, f"/2/users/{me}/owned_lists", {"max_results": str(_MAX_OWN_LISTS)}
    )
    ids = [str(id_) for entry in records(answer.get("data")) if (id_ := number(entry.get("id")))]
    await purse.pay_lists(ids)
    return [f"list:{id_}" for id_ in ids[:MAX_TIMELINES]]


def _named(settings: Mapping[str, Json]) -> tuple[str, ...]:
    return tuple(settings.get("timelines") or DEFAULT_TIMELINES)


def _timeline(part: str, me: str, settings: Mapping[str, Json]) -> Timeline:
    word = settings.get("field_names", "tweet")
    referenced = f"referenced_{word}s.id"
    fields = {
        f"{word}.fields": "author_id,conversation_id,created_at,edit_history_"
        f"{word}_ids,entities,lang,note_{word},public_metrics,referenced_{word}s",
        "user.fields": "name,username",
        "expansions": f"author_id,{referenced},{referenced}.author_id",
    }
    lookup = {f"{word}.fields": "id"}
    if part == "home":
        path = f"/2/users/{me}/timelines/reverse_chronological"
        return Timeline(part, HOME, path, fields, lookup, reach=3_200, days=7)
    if part == "mentions":
        return Timeline(part, MENTIONS, f"/2/users/{me}/mentions", fields, lookup, reach=800)
    path = f"/2/lists/{part.removeprefix('list:')}/tweets"
    return Timeline(part, LIST, path, fields, lookup, reach=800, marked=False)


def _with_owner(page: Page, me: str) -> Page:
    page.cursor["me"] = me
    return page


def _owner(cursor: Json) -> Json:
    return cursor.get("me") if isinstance(cursor, Mapping) else None


def _of_the_account(failure: SourceFailure) -> bool:
    """Whether nothing else of the account can be read either."""
    whole = failure.reason in {"budget_spent", "usage_capped", "client-forbidden"}
    return whole or isinstance(failure, TokenExpired)


def _of_part(part: str, failure: SourceFailure) -> SourceFailure:
    """What a failure means for a part: a list may be gone, oneself cannot."""
    if failure.reason != "not_found" or isinstance(failure, RateLimited):
        return failure
    if part.startswith("list:"):
        return PlatformError("There is no such list at X.", reason="gone", permanent=True)
    return NoPlatformAuth("X does not know this user.", reason="no_user")


def _timelines_broken(timelines: Json) -> dict[str, str]:
    """What is wrong with a list of timelines: field → rule."""
    field = "settings.timelines"
    if timelines is None:
        return {}
    if not isinstance(timelines, list) or not 0 < len(timelines) <= MAX_TIMELINES:
        return {field: f"must be a list of 1 to {MAX_TIMELINES} timelines"}
    details: dict[str, str] = {}
    for place, name in enumerate(timelines):
        known = isinstance(name, str) and (
            name in DEFAULT_TIMELINES or _LIST_PART.fullmatch(name) is not None
        )
        if not known:
            details[f"{field}[{place}]"] = "must be `home`, `mentions` or `list:` and a list's id"
        elif name in timelines[:place]:
            details[f"{field}[{place}]"] = f"repeats {field}[{timelines.index(name)}]"
    return details


def _odd(secret: str) -> bool:
    return not secret.isascii() or not secret.isprintable() or " " in secret

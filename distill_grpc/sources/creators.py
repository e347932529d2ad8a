"""Creators: the posts of those whom a user follows on a Distill publishing platform.

Read by the platform's published REST alone (`/api/v1`), of this instance or of another one. Of another
one: `settings.url`, and as credential the access token of a login there. Of this one: nothing is
needed, as the service vouches for its own users. No scopes; quota: the platform's calls a minute.

Parts: each creator by id. `subscriptions` is the list of whom the user follows, where
`settings.creators` does not name them; it has no items. A creator's feed tells in one conditional call
what is new and what was changed; posts that it shows no more are looked up one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta

from distill_grpc.sources import text
from distill_grpc.sources.addresses import PRIVATE
from distill_grpc.sources.api_walk import Breaker
from distill_grpc.sources.base import (
    Account,
    FetchRequest,
    InvalidConnection,
    Item,
    Json,
    NoPlatformAuth,
    Page,
    PlatformError,
    SourceFailure,
    SourceInfo,
)
from distill_grpc.sources.creators_api import NO_ACCOUNT, Feed, Platform, Post, subject, uuid
from distill_grpc.sources.registry import SourceContext

SUBSCRIPTIONS = "subscriptions"
MOST_CREATORS = 200
_ITEMS_PER_PAGE = 20
_CONTENT = 100_000  # characters
# What an account's own name is answered with where there is no such platform, or no such account.
_NO_PLATFORM = {"not_found", "not_json", "unexpected_shape", "unexpected_status"}
# Posts that were published about the same time may come to light in another order.
_OVERLAP = timedelta(minutes=10)

INFO = SourceInfo(
    name="creators",
    title="Creators on a Distill platform",
    description="New posts of the creators whom the user follows on a Distill publishing platform.",
    token_type="api_key",  # noqa: S106 -- a kind
    credentials={
        "access_token": "What POST /api/v1/users/login of the other instance answers; not needed for "
        "this one"
    },
    settings={
        "url": "The address of another instance, https://…; without it, this one",
        "creators": f"Ids of creators, at most {MOST_CREATORS}; without it, those whom the user follows",
    },
    limits=("The platform's calls a minute; what is beyond waits until it says so",),
)


class CreatorsSource:
    """Reads a publishing platform through its contract."""

    info = INFO

    def __init__(self, context: SourceContext) -> None:
        self._http = context.http
        self._own = context.own

    def check(self, credentials: Mapping[str, Json], settings: Mapping[str, Json]) -> None:
        """Raises `InvalidConnection` naming every wrong credential and setting."""
        details = {
            f"credentials.{name}": "is not known" for name in credentials if name != "access_token"
        }
        details |= {
            f"settings.{name}": "is not known" for name in settings if name not in INFO.settings
        }
        url, token = settings.get("url"), credentials.get("access_token")
        if url is not None and (
            not isinstance(url, str) or not text.is_web_url(url) or "@" in url.split("/")[2]
        ):
            details["settings.url"] = "must be an http or https address without a user name"
        elif url is not None and self._http.refuses_url(url):
            details["settings.url"] = PRIVATE
        if url is None and self._own is None:
            details["settings.url"] = "must be given, as this service vouches for no users"
        if url is not None and not token:
            details["credentials.access_token"] = "must be given for another instance"  # noqa: S105
        if token is not None and subject(token) is None:
            details["credentials.access_token"] = "must be an access token of a login"  # noqa: S105
        details |= _check_creators(settings.get("creators"))
        if details:
            raise InvalidConnection(details)

    async def identify(
        self, credentials: Mapping[str, Json], settings: Mapping[str, Json]
    ) -> Account:
        """Whose token it is; without one, nobody is asked."""
        if credentials.get("access_token") is None:
            return Account()
        return await self.identify_user("", credentials, settings)

    async def identify_user(
        self, user: str, credentials: Mapping[str, Json], settings: Mapping[str, Json]
    ) -> Account:
        """Whose token it is; of this instance without one, which account this service's user has."""
        platform = self._platform(credentials, settings, user=user)
        try:
            name = await platform.username(platform.user_id)
        except PlatformError as failed:
            if failed.reason not in _NO_PLATFORM:
                raise
            name = ""
        except NoPlatformAuth as failed:
            if failed.reason != "no_account":
                raise
            raise _no_account() from None
        if not name and settings.get("url") is not None:
            raise InvalidConnection({"settings.url": "is not the address of a Distill platform"})
        if not name:
            raise _no_account()
        return Account(name=name, id=platform.user_id)

    def parts(self, settings: Mapping[str, Json]) -> tuple[str, ...]:
        """The creators that the settings name; empty where only the platform knows."""
        return tuple(settings.get("creators") or ())

    async def fetch(self, request: FetchRequest) -> AsyncIterator[Page]:
        """Reads creator after creator; of each, the posts that are new or changed, oldest first."""
        platform = self._platform(request.credentials, request.settings, user=request.user)
        breaker = Breaker()
        named = self.parts(request.settings)
        known = request.cursors.get(SUBSCRIPTIONS)
        creators: Sequence[str] = named or tuple(known or ())
        if not named and SUBSCRIPTIONS not in request.skip:
            creators = await platform.followed(MOST_CREATORS)
            cursor = list(creators)
            yield Page(part=SUBSCRIPTIONS, cursor=cursor, unchanged=cursor == known)
        for creator in creators:
            if creator in request.skip:
                continue
            reading = _Reading(platform, request, creator).pages()
            async with aclosing(breaker.guarded(creator, reading)) as pages:
                async for page in pages:
                    yield page
        if not named:
            for part in request.left({SUBSCRIPTIONS, *creators}):
                yield Page(part=part, ended=True)  # followed no more

    def _platform(
        self, credentials: Mapping[str, Json], settings: Mapping[str, Json], *, user: str
    ) -> Platform:
        token, url = credentials.get("access_token"), settings.get("url")
        if url is not None:
            return Platform(self._http, str(url).rstrip("/"), str(token or ""))
        if self._own is None:
            raise NoPlatformAuth("This service vouches for no users.", reason="no_token")
        return Platform(self._own.http, self._own.url, str(token or self._own.token(user)))


class _Reading:
    """One creator's posts."""

    def __init__(self, platform: Platform, request: FetchRequest, creator: str) -> None:
        self._platform = platform
        self._now = request.now
        self._creator = creator
        self._since = request.since.get(creator, request.default_since)
        cursor = request.cursors.get(creator) or {}
        if cursor and datetime.fromisoformat(cursor["since"]) > self._since:
            cursor = {}  # older posts are wanted than those that were looked at
        self._first = datetime.fromisoformat(cursor["since"]) if cursor else self._since
        self._newest = datetime.fromisoformat(cursor["newest"]) if cursor else self._since
        self._seen: dict[str, str] = dict(cursor.get("seen", {}))  # of the feed: id → fingerprint
        self._etag: str = cursor.get("etag", "")

    async def pages(self) -> AsyncGenerator[Page, None]:
        """Pages of posts that are new or changed, each with the cursor behind it."""
        feed = await self._platform.feed(self._creator, self._etag)
        if feed is None:
            yield Page(part=self._creator, cursor=self._cursor(), unchanged=True)
            return
        shown = {post.id: post.fingerprint for post in feed.posts}
        self._seen = {id_: self._seen[id_] for id_ in shown if id_ in self._seen}
        self._etag = ""
        items: list[Item] = []
        try:
            async with aclosing(self._posts(feed)) as posts:
                async for post in posts:
                    if len(items) == _ITEMS_PER_PAGE:
                        yield self._page(feed, items, last=False)
                        items = []
                    items.append(await self._item(post, feed.creator))
                    self._newest = max(self._newest, post.published_at)
                    if post.id in shown:
                        self._seen[post.id] = post.fingerprint
        except SourceFailure:
            if items:
                yield self._page(feed, items, last=False)
            raise
        self._seen, self._etag = shown, feed.etag
        yield self._page(feed, items)

    async def _posts(self, feed: Feed) -> AsyncGenerator[Post, None]:
        """What is to be stored, the oldest first."""
        if feed.posts and not self._seen:
            # Nothing in it is known: between it and what was read last there may be more.
            shown = {post.id for post in feed.posts}
            from_there = max(self._since, self._newest - _OVERLAP)
            listed = await self._platform.published(self._creator)
            for at, post_id in sorted((at, post_id) for post_id, at in listed.items()):
                if at >= from_there and post_id not in shown:
                    try:
                        yield await self._platform.post(post_id)
                    except PlatformError as failed:
                        if failed.reason != "not_found":
                            raise
        known = dict(self._seen)
        for post in sorted(feed.posts, key=lambda post: (post.published_at, post.id)):
            if post.published_at >= self._since and known.get(post.id) != post.fingerprint:
                yield post

    def _page(self, feed: Feed, items: list[Item], *, last: bool = True) -> Page:
        return Page(
            part=self._creator,
            items=items,
            cursor=self._cursor(),
            title=feed.creator or None,
            last=last,
            unchanged=not items,
        )

    def _cursor(self) -> Json:
        return {
            "since": self._first.isoformat(),
            "newest": self._newest.isoformat(),
            "seen": dict(self._seen),
            "etag": self._etag,
        }

    async def _item(self, post: Post, author: str) -> Item:
        # Half a megabyte of HTML takes a quarter of a second.
        content = await asyncio.to_thread(text.html_to_text, post.html)
        return Item(
            platform_id=post.id,
            published_at=min(post.published_at, self._now),
            content=text.shorten(content or post.title or "(no text)", _CONTENT),
            author=author,
            title=post.title,
            url=f"{self._platform.root}/api/v1/posts/{post.id}",
            raw={"id": post.id, "creator_id": self._creator},
        )


def _no_account() -> NoPlatformAuth:
    return NoPlatformAuth(NO_ACCOUNT, reason="no_account", permanent=True)


def _check_creators(creators: Json) -> dict[str, str]:
    if creators is None:
        return {}
    if not isinstance(creators, list) or not 0 < len(creators) <= MOST_CREATORS:
        return {"settings.creators": f"must be a list of 1 to {MOST_CREATORS} ids of creators"}
    return {
        f"settings.creators[{place}]": "must be the id of a creator, named once"
        for place, creator in enumerate(creators)
        if uuid(creator) != creator or creator in creators[:place]
    }

"""Creators: the posts of those whom a user follows on a Distill publishing platform.

Read by the platform's published REST alone (`/api/v1`), of this instance or of another one. Of another
one: `settings.url`, and as credential the access token of a login there. Of this one: nothing is
needed, as the service vouches for its own users. No scopes; quota: the platform's calls a minute.

Parts: each creator by id. `subscriptions` is the list of whom the user follows, where
`settings.creators` does not name them; it has no items.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from distill_grpc.sources import text
from distill_grpc.sources.base import (
    Account,
    FetchRequest,
    InvalidConnection,
    Item,
    Json,
    NoPlatformAuth,
    Page,
    PlatformError,
    RateLimited,
    SourceFailure,
    SourceInfo,
    TokenExpired,
)
from distill_grpc.sources.http import HttpClient, Response
from distill_grpc.sources.registry import SourceContext

SUBSCRIPTIONS = "subscriptions"
MOST_CREATORS = 200
_LIST = 100  # entries of one call
_LISTS = 10  # calls for one list, at most
_ITEMS_PER_PAGE = 20
_CONTENT = 100_000  # characters
_DAY = 86_400.0
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
        if url is None and self._own is None:
            details["settings.url"] = "must be given, as this service vouches for no users"
        if url is not None and not token:
            details["credentials.access_token"] = "must be given for another instance"  # noqa: S105
        if token is not None and _subject(token) is None:
            details["credentials.access_token"] = "must be an access token of a login"  # noqa: S105
        details |= _check_creators(settings.get("creators"))
        if details:
            raise InvalidConnection(details)

    async def identify(
        self, credentials: Mapping[str, Json], settings: Mapping[str, Json]
    ) -> Account:
        """Whose token it is; of this instance, nobody is asked."""
        token = credentials.get("access_token")
        if token is None:
            return Account()
        platform = self._platform(credentials, settings, user="")
        account = await platform.get(f"users/{platform.user_id}")
        return Account(name=_line(account, "username"), id=platform.user_id)

    def parts(self, settings: Mapping[str, Json]) -> tuple[str, ...]:
        """The creators that the settings name; empty where only the platform knows."""
        return tuple(settings.get("creators") or ())

    async def fetch(self, request: FetchRequest) -> AsyncIterator[Page]:
        """Reads creator after creator; of each, the posts that are new, the oldest first."""
        platform = self._platform(request.credentials, request.settings, user=request.user)
        creators: Sequence[str] = self.parts(request.settings)
        if not creators:
            known = request.cursors.get(SUBSCRIPTIONS)
            if SUBSCRIPTIONS in request.skip:
                creators = tuple(known or ())
            else:
                creators = await _followed(platform)
                cursor = list(creators)
                yield Page(part=SUBSCRIPTIONS, cursor=cursor, unchanged=cursor == known)
        for creator in creators:
            if creator in request.skip:
                continue
            reading = _Reading(platform, request, creator)
            try:
                async for page in reading.pages():
                    yield page
            except SourceFailure as failure:
                yield Page(part=creator, failure=failure)
        if not self.parts(request.settings):
            wanted = {SUBSCRIPTIONS, *creators} | request.skip
            for part in set(request.cursors) - wanted:
                yield Page(part=part, unchanged=True, min_interval=_DAY)  # followed no more

    def _platform(
        self, credentials: Mapping[str, Json], settings: Mapping[str, Json], *, user: str
    ) -> _Platform:
        token, url = credentials.get("access_token"), settings.get("url")
        if url is not None:
            return _Platform(self._http, str(url).rstrip("/"), str(token or ""))
        if self._own is None:
            raise NoPlatformAuth("This service vouches for no users.", reason="no_token")
        return _Platform(self._own.http, self._own.url, str(token or self._own.token(user)))


@dataclass(frozen=True, slots=True)
class _Platform:
    """A platform's REST, as one user."""

    http: HttpClient
    root: str
    token: str

    @property
    def user_id(self) -> str:
        """Whose token it is."""
        user_id = _subject(self.token)
        if user_id is None:
            raise NoPlatformAuth("The access token names no account.", reason="no_account")
        return user_id

    async def get(self, path: str) -> Any:
        """The JSON at a path below `/api/v1`; raises a `SourceFailure`."""
        response = await self.http.get(
            f"{self.root}/api/v1/{path}",
            headers={"Accept": "application/json"},
            same_origin_headers={"Authorization": f"Bearer {self.token}"},
        )
        _check_status(response)
        try:
            return orjson.loads(response.body)
        except ValueError:
            raise _odd() from None

    async def list(self, path: str) -> list[Mapping[str, Any]]:
        """All entries of a list, as far as is read."""
        found: list[Mapping[str, Any]] = []
        joint = "&" if "?" in path else "?"
        for number in range(_LISTS):
            window = f"limit={_LIST}&offset={number * _LIST}"
            entries = await self.get(f"{path}{joint}{window}")
            if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
                raise _odd()
            found += entries
            if len(entries) < _LIST:
                break
        return found


class _Reading:
    """One creator's posts."""

    def __init__(self, platform: _Platform, request: FetchRequest, creator: str) -> None:
        self._platform = platform
        self._now = request.now
        self._creator = creator
        self._since = request.since.get(creator, request.default_since)
        cursor = request.cursors.get(creator) or {}
        if cursor and datetime.fromisoformat(cursor["since"]) > self._since:
            cursor = {}  # older posts are wanted than those that were looked at
        self._first = datetime.fromisoformat(cursor["since"]) if cursor else self._since
        self._newest = datetime.fromisoformat(cursor["newest"]) if cursor else self._since
        self._seen: dict[str, datetime] = {
            post: datetime.fromisoformat(at) for post, at in cursor.get("seen", {}).items()
        }

    async def pages(self) -> AsyncIterator[Page]:
        """Pages of new posts, each with the cursor behind them."""
        listed = await self._platform.list(f"creators/{self._creator}/posts?status=published")
        new = self._new(listed)
        if not new:
            yield Page(part=self._creator, cursor=self._cursor(), unchanged=True)
            return
        author = _line(await self._platform.get(f"users/{self._creator}"), "username")
        while new:
            batch, new = new[:_ITEMS_PER_PAGE], new[_ITEMS_PER_PAGE:]
            items: list[Item] = []
            failure = None
            for at, post_id in batch:
                try:
                    post = await self._platform.get(f"posts/{post_id}")
                except SourceFailure as failed:
                    if failed.reason != "not_found":
                        failure = failed
                        break
                else:
                    items.append(self._item(post, post_id, at, author))
                self._note(post_id, at)
            yield Page(
                part=self._creator,
                items=items,
                cursor=self._cursor(),
                title=author or None,
                failure=failure,
                last=failure is not None or not new,
            )
            if failure is not None:
                return

    def _new(self, listed: Sequence[Mapping[str, Any]]) -> list[tuple[datetime, str]]:
        """Posts that were not read yet, the oldest first."""
        from_there = max(self._since, self._newest - _OVERLAP)
        found = {}
        for entry in listed:
            post_id, at = _uuid(entry.get("id")), _instant(entry.get("published_at"))
            if post_id and at and at >= from_there and post_id not in self._seen:
                found[post_id] = min(at, self._now)
        return sorted((at, post_id) for post_id, at in found.items())

    def _note(self, post_id: str, at: datetime) -> None:
        self._newest = max(self._newest, at)
        self._seen[post_id] = at

    def _cursor(self) -> Json:
        oldest = self._newest - _OVERLAP
        return {
            "since": self._first.isoformat(),
            "newest": self._newest.isoformat(),
            "seen": {p: at.isoformat() for p, at in self._seen.items() if at >= oldest},
        }

    def _item(self, post: Any, post_id: str, at: datetime, author: str) -> Item:
        title = _line(post, "title")
        html = post.get("content_html")
        content = text.html_to_text(html) if isinstance(html, str) else ""
        return Item(
            platform_id=post_id,
            published_at=at,
            content=text.shorten(content or title or "(no text)", _CONTENT),
            author=author,
            title=title,
            url=f"{self._platform.root}/api/v1/posts/{post_id}",
            raw={"id": post_id, "creator_id": self._creator, "slug": _line(post, "slug")},
        )


async def _followed(platform: _Platform) -> Sequence[str]:
    entries = await platform.list(f"users/{platform.user_id}/subscriptions")
    active = (_uuid(e.get("creator_id")) for e in entries if e.get("status") == "active")
    return tuple(creator for creator in active if creator)[:MOST_CREATORS]


def _check_creators(creators: Json) -> dict[str, str]:
    if creators is None:
        return {}
    if not isinstance(creators, list) or not 0 < len(creators) <= MOST_CREATORS:
        return {"settings.creators": f"must be a list of 1 to {MOST_CREATORS} ids of creators"}
    return {
        f"settings.creators[{place}]": "must be the id of a creator, named once"
        for place, creator in enumerate(creators)
        if _uuid(creator) != creator or creator in creators[:place]
    }


def _check_status(response: Response) -> None:
    status = response.status
    if status == 200:
        return
    if status == 401:
        raise TokenExpired(
            "The platform refuses the access token. Log in again.", reason="refused", permanent=True
        )
    if status == 403:
        raise NoPlatformAuth(
            "The token belongs to no account of the platform.", reason="no_account"
        )
    if status == 404:
        raise PlatformError("The platform knows it no more (404).", reason="not_found")
    if status == 429 or (status == 503 and response.retry_at is not None):
        raise RateLimited(
            f"The platform asks to wait ({status}).",
            reason="too_many_requests" if status == 429 else "unavailable",
            retry_at=response.retry_at,
        )
    reason = "server_error" if status >= 500 else "unexpected_status"
    raise PlatformError(f"The platform answered with the status {status}.", reason=reason)


def _subject(token: Json) -> str | None:
    """The account that a JWT names; who vouches for it is the platform's business."""
    if not isinstance(token, str) or not 0 < len(token) <= 8_192:
        return None
    try:
        body = token.split(".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError, binascii.Error):
        return None
    return _uuid(claims.get("sub")) if isinstance(claims, dict) else None


def _uuid(value: Json) -> str | None:
    try:
        return str(UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _instant(value: Json) -> datetime | None:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found.astimezone(UTC) if found is not None and found.tzinfo else None


def _line(message: Any, name: str) -> str:
    if not isinstance(message, dict):
        raise _odd()
    value = message.get(name)
    return text.one_line(value, 500) if isinstance(value, str) else ""


def _odd() -> PlatformError:
    return PlatformError("The platform's answer cannot be understood.", reason="unexpected_shape")

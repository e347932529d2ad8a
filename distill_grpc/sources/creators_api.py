"""A Distill publishing platform's REST, as one of its users reads it (`/api/v1`)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson

from distill_grpc.sources import api_json, text
from distill_grpc.sources.base import (
    Json,
    NoPlatformAuth,
    PlatformError,
    RateLimited,
    TokenExpired,
)
from distill_grpc.sources.http import HttpClient, Response

NO_ACCOUNT = (
    "This user has no account on the platform. Register one with POST /api/v1/users/register, and connect "
    "with the token of its login (POST /api/v1/users/login)."
)
_LIST = 100  # entries of one call
_LISTS = 10  # calls for one list, at most
_MAX_ENTRIES = 100  # of a feed; platforms give 30
_MAX_ETAG = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A published post."""

    id: str
    published_at: datetime
    title: str
    html: str

    @property
    def fingerprint(self) -> str:
        """Another one wherever the post says something else."""
        return hashlib.sha256(
            f"{self.title}\n{self.html}".encode("utf-8", "surrogatepass")
        ).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """The newest posts of a creator."""

    creator: str  # the name
    posts: Sequence[Post]
    etag: str  # empty where the platform gave none that can be kept


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform as the user of `token` sees it; `root` is its address without a slash at the end.

    All methods raise a `SourceFailure`: `RateLimited`, `TokenExpired`, `NoPlatformAuth` or, with the
    reason `not_found` among others, `PlatformError`.
    """

    http: HttpClient
    root: str
    token: str

    @property
    def user_id(self) -> str:
        """Whose token it is."""
        user_id = subject(self.token)
        if user_id is None:
            raise NoPlatformAuth(NO_ACCOUNT, reason="no_account", permanent=True)
        return user_id

    async def username(self, user_id: str) -> str:
        """The name of an account."""
        return _line(await self._get(f"users/{user_id}"), "username")

    async def followed(self, most: int) -> Sequence[str]:
        """The creators whom the user follows, by id; at most so many."""
        entries = await self._list(f"users/{self.user_id}/subscriptions")
        active = (uuid(e.get("creator_id")) for e in entries if e.get("status") == "active")
        return tuple(creator for creator in active if creator)[:most]

    async def feed(self, creator: str, etag: str) -> Feed | None:
        """What a creator published last; None where it is as it was when it had this ETag."""
        conditions = {"If-None-Match": etag} if etag else {}
        response = await self._ask(f"creators/{creator}/feed.json", conditions)
        if response.status == 304 and etag:
            return None
        _check_status(response)
        document = api_json.mapped(api_json.read(response))
        entries = api_json.listed(document.get("items"))[:_MAX_ENTRIES]
        given = response.headers.get("ETag", "")
        return Feed(
            creator=_line(document, "title"),
            posts=[post for entry in entries if (post := _entry(entry))],
            etag=given if len(given) <= _MAX_ETAG else "",
        )

    async def published(self, creator: str) -> Mapping[str, datetime]:
        """When the creator's posts were published, by id, as far back as is read."""
        listed = await self._list(f"creators/{creator}/posts?status=published")
        found = ((uuid(e.get("id")), api_json.instant_at(e, "published_at")) for e in listed)
        return {post_id: at for post_id, at in found if post_id and at}

    async def post(self, post_id: str) -> Post:
        """One published post."""
        given = await self._get(f"posts/{post_id}")
        at = api_json.instant_at(given, "published_at")
        if at is None:
            raise PlatformError("The post is published no more.", reason="not_found")
        return Post(
            id=post_id,
            published_at=at,
            title=_line(given, "title"),
            html=api_json.text_at(given, "content_html"),
        )

    async def _get(self, path: str) -> Mapping[str, Json]:
        response = await self._ask(path)
        _check_status(response)
        return api_json.mapped(api_json.read(response))

    async def _list(self, path: str) -> list[Mapping[str, Json]]:
        """All entries of a list, as far as is read."""
        found: list[Mapping[str, Json]] = []
        joint = "&" if "?" in path else "?"
        for number in range(_LISTS):
            response = await self._ask(f"{path}{joint}limit={_LIST}&offset={number * _LIST}")
            _check_status(response)
            entries = api_json.listed(api_json.read(response))
            found += [api_json.mapped(entry) for entry in entries]
            if len(entries) < _LIST:
                break
        return found

    async def _ask(self, path: str, headers: Mapping[str, str] | None = None) -> Response:
        return await self.http.get(
            f"{self.root}/api/v1/{path}",
            headers={"Accept": "application/json, application/feed+json", **(headers or {})},
            same_origin_headers={"Authorization": f"Bearer {self.token}"},
        )


def subject(token: Json) -> str | None:
    """The account that a JWT names; who vouches for it is the platform's business."""
    if not isinstance(token, str) or not 0 < len(token) <= 8_192:
        return None
    try:
        body = token.split(".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError, binascii.Error):
        return None
    return uuid(claims.get("sub")) if isinstance(claims, dict) else None


def uuid(value: Json) -> str | None:
    """The id in its usual form; None where it is none."""
    try:
        return str(UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _entry(entry: Json) -> Post | None:
    """A feed's entry (jsonfeed.org); None where it names no post or no instant."""
    post_id = uuid(api_json.text_at(entry, "id").removeprefix("urn:uuid:"))
    at = api_json.instant_at(entry, "date_published")
    if post_id is None or at is None:
        return None
    return Post(
        id=post_id,
        published_at=at,
        title=_line(entry, "title"),
        html=api_json.text_at(entry, "content_html"),
    )


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


def _line(of: Json, name: str) -> str:
    return text.one_line(api_json.text_at(of, name), 500)

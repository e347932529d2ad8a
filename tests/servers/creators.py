"""A Distill publishing platform of its published shapes: creators, their posts, and who follows them.

Every user may ask `limit` times a minute; whoever comes again before the instant that it named is a
violation.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from aiohttp import web

from tests.servers.platform import Account, PlatformServer

READER = str(UUID(int=1))
_SHOWN = 30  # entries of a feed


def creator_id(number: int) -> str:
    """The id of a creator."""
    return str(UUID(int=1000 + number))


def token(user_id: str = READER, *, also: str = "c2ln") -> str:
    """An access token that names a user; this platform looks at no signature."""
    body = base64.urlsafe_b64encode(json.dumps({"sub": user_id}).encode()).rstrip(b"=").decode()
    return f"e30.{body}.{also}"


class CreatorsServer(PlatformServer):
    """One platform, whose user `token()` may read."""

    def __init__(self, clock: Callable[[], datetime], *, seed: int = 0) -> None:
        super().__init__(clock, seed=seed)
        self.posts: dict[str, list[dict[str, Any]]] = {}
        self.followed: list[dict[str, str]] = []
        self.gone: set[str] = set()  # accounts that nobody knows any more
        self.limit = 1_000  # calls of a user in a minute
        self.retry_after = 30  # seconds
        self.add_account(token())

    # What happens at the platform.

    def add_account(self, given: str, login: str = "reader") -> Account:
        """From now on this token is somebody's."""
        self.accounts[given] = Account(login=login, id=1)
        return self.accounts[given]

    def follow(self, *creators: str, status: str = "active") -> None:
        """The user follows creators, or no more."""
        others = [one for one in self.followed if one["creator_id"] not in creators]
        self.followed = others + [{"creator_id": one, "status": status} for one in creators]

    def add(
        self,
        creator: str,
        count: int,
        *,
        until: datetime,
        apart: timedelta = timedelta(hours=1),
    ) -> Sequence[str]:
        """Publishes posts, the newest at `until`; their ids, oldest first."""
        listed = self.posts.setdefault(creator, [])
        ids = []
        for number in range(count):
            at = _stamp(until - (count - 1 - number) * apart)
            post_id = str(UUID(int=(UUID(creator).int << 32) + len(listed)))
            listed.append(
                {
                    "id": post_id,
                    "creator_id": creator,
                    "title": f"Post {len(listed)}",
                    "content": "*Words*",
                    "content_html": f"<p><em>Words</em> of post {len(listed)}</p>",
                    "slug": f"post-{len(listed)}",
                    "status": "published",
                    "published_at": at,
                    "updated_at": at,
                }
            )
            ids.append(post_id)
        return ids

    def edit(self, post_id: str, html: str) -> None:
        """The creator changes a post."""
        self._post(post_id).update(content_html=html, updated_at=_stamp(self.clock()))

    # What it answers.

    def holder(self, request: web.Request) -> str:
        return request.headers.get("Authorization", "").removeprefix("Bearer ")

    async def respond(self, request: web.Request) -> web.Response:
        account = self.accounts.get(self.holder(request))
        if account is None or account.revoked:
            return _error(401, "The token is not valid.", "UNAUTHENTICATED")
        now = self.clock()
        if account.window is None or now >= account.window:
            account.window, account.used = now + timedelta(minutes=1), 0
        account.used += 1
        if account.used > self.limit:
            account.quiet_until = account.window = now + timedelta(seconds=self.retry_after)
            return _error(429, "Too many calls.", "RATE_LIMITED", str(self.retry_after))
        return self._found(request)

    def _found(self, request: web.Request) -> web.Response:
        parts = request.path.removeprefix("/api/v1/").split("/")
        match parts:
            case ["users", _, "subscriptions"]:
                return _slice(request, self.followed)
            case ["users", user_id] if user_id not in self.gone:
                return web.json_response({"id": user_id, "username": _name(user_id)})
            case ["creators", creator, "posts"] if creator in self.posts:
                shown = ("id", "title", "status", "published_at")
                return _slice(
                    request, [{k: p[k] for k in shown} for p in self._newest_first(creator)]
                )
            case ["creators", creator, "feed.json"] if creator in self.posts:
                return self._feed(request, creator)
            case ["posts", post_id]:
                post = self._post(post_id)
                self.served["post"].add(post_id)
                return web.json_response({k: v for k, v in post.items() if k != "updated_at"})
        return _error(404, "There is none.", "NOT_FOUND")

    def _feed(self, request: web.Request, creator: str) -> web.Response:
        posts = self._newest_first(creator)[:_SHOWN]
        feed = {
            "version": "https://jsonfeed.org/version/1.1",
            "title": _name(creator),
            "feed_url": f"{self.origin}{request.path}",
            "items": [
                {
                    "id": f"urn:uuid:{post['id']}",
                    "title": post["title"],
                    "content_html": post["content_html"],
                    "date_published": post["published_at"],
                    "date_modified": post["updated_at"],
                }
                for post in posts
            ],
        }
        body = json.dumps(feed).encode()
        etag = f'W/"{hashlib.sha256(body).hexdigest()[:16]}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        self.served["post"].update(post["id"] for post in posts)
        return web.Response(body=body, content_type="application/feed+json", headers={"ETag": etag})

    def _newest_first(self, creator: str) -> list[dict[str, Any]]:
        return sorted(self.posts[creator], key=lambda p: (p["published_at"], p["id"]), reverse=True)

    def _post(self, post_id: str) -> dict[str, Any]:
        return next(p for posts in self.posts.values() for p in posts if p["id"] == post_id)


def _slice(request: web.Request, entries: Sequence[Any]) -> web.Response:
    first = int(request.query["offset"])
    return web.json_response(list(entries[first : first + int(request.query["limit"])]))


def _error(status: int, detail: str, code: str, retry_after: str = "") -> web.Response:
    headers = {"Retry-After": retry_after} if retry_after else {}
    return web.json_response({"detail": detail, "code": code}, status=status, headers=headers)


def _name(user_id: str) -> str:
    return f"name-{user_id[-4:]}"


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

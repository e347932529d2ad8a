"""A publishing platform of its published shapes: creators, their posts, and who follows them."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from aiohttp import web

READER = str(UUID(int=1))


def creator_id(number: int) -> str:
    """The id of a creator."""
    return str(UUID(int=1000 + number))


def token(user_id: str = READER) -> str:
    """An access token that names a user; this platform looks at no signature."""
    body = base64.urlsafe_b64encode(json.dumps({"sub": user_id}).encode()).rstrip(b"=").decode()
    return f"e30.{body}.c2ln"


@dataclass
class CreatorsServer:
    """What it has; `ledger` holds the paths that were asked for."""

    posts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    followed: list[dict[str, str]] = field(default_factory=list)
    ledger: list[str] = field(default_factory=list)
    refuse_after: int | None = None  # answers 429 from that call on
    url: str = ""

    def add(self, creator: str, count: int, *, until: datetime) -> Sequence[str]:
        """Publishes posts an hour apart, the newest at `until`; their ids, oldest first."""
        listed = self.posts.setdefault(creator, [])
        ids = []
        for number in range(count):
            at = until - timedelta(hours=count - 1 - number)
            post_id = str(UUID(int=(UUID(creator).int << 32) + len(listed)))
            listed.append(
                {
                    "id": post_id,
                    "creator_id": creator,
                    "title": f"Post {number}",
                    "content": "*Words*",
                    "content_html": f"<p><em>Words</em> of post {number}</p>",
                    "slug": f"post-{number}",
                    "status": "published",
                    "published_at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                }
            )
            ids.append(post_id)
        return ids

    async def _answer(self, request: web.Request) -> web.Response:
        self.ledger.append(request.path)
        if self.refuse_after is not None and len(self.ledger) > self.refuse_after:
            return web.json_response({"detail": "later"}, status=429, headers={"Retry-After": "30"})
        if not request.headers.get("Authorization", "").startswith("Bearer "):
            return web.json_response({"detail": "who?"}, status=401)
        parts = request.path.removeprefix("/api/v1/").split("/")
        found = self._find(parts)
        if found is None:
            return web.json_response({"detail": "no", "code": "NOT_FOUND"}, status=404)
        if isinstance(found, list):
            first = int(request.query["offset"])
            found = found[first : first + int(request.query["limit"])]
        return web.json_response(found)

    def _find(self, parts: list[str]) -> Any:
        match parts:
            case ["users", _, "subscriptions"]:
                return self.followed
            case ["users", user_id]:
                return {"id": user_id, "username": f"name-{user_id[-4:]}", "role": "creator"}
            case ["creators", creator, "posts"] if creator in self.posts:
                shown = ("id", "title", "status", "published_at")
                return [{k: p[k] for k in shown} for p in reversed(self.posts[creator])]
            case ["posts", post_id]:
                every = (post for posts in self.posts.values() for post in posts)
                return next((post for post in every if post["id"] == post_id), None)
        return None


@asynccontextmanager
async def creators_server() -> AsyncIterator[CreatorsServer]:
    """A running platform."""
    platform = CreatorsServer()
    server = web.Server(platform._answer)  # type: ignore[arg-type]  # a request without an application
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    platform.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield platform
    finally:
        await runner.cleanup()

"""A feed that a hub pushes, from the first read to the last: real servers, real verification."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc.db.engine import create_engine
from tests.servers.feeds import Answer, FeedServer
from tests.servers.hub import HubServer
from tests.service import TRANSPORTS, Door, Service, start_service

Json = Any
USER = "user_1"


def feed(hub: str, topic: str, *numbers: int) -> bytes:
    """An Atom feed with these entries, that names its hub."""
    entries = "".join(
        f"<entry><id>tag:blog.example,2026:{n}</id><title>Entry {n}</title>"
        f"<updated>{datetime.now(UTC) - timedelta(minutes=n):%Y-%m-%dT%H:%M:%SZ}</updated>"
        f"<content>What entry {n} says.</content></entry>"
        for n in numbers
    )
    return (
        '<feed xmlns="http://www.w3.org/2005/Atom"><title>Blog</title>'
        f'<link rel="hub" href="{hub}"/><link rel="self" href="{topic}"/>{entries}</feed>'
    ).encode()


@dataclass
class Pushed:
    """A running service, a blog and its hub."""

    service: Service
    engine: AsyncEngine
    feeds: FeedServer
    hub: HubServer

    @property
    def topic(self) -> str:
        return self.feeds.url("/feed")

    def publish(self, *numbers: int) -> bytes:
        """The blog has these entries from now on."""
        body = feed(self.hub.url, self.topic, *numbers)
        self.feeds.serve("/feed", Answer(body=body, content_type="application/atom+xml"))
        return body

    async def watched(self) -> None:
        """Connects the blog and watches it until it has been read once."""
        settings = {"settings": {"feeds": [self.topic]}}
        made = await self.service.call("PUT", "/connections/rss", settings)
        assert made.status == 200, made.text
        options = {"options": {"sync_frequency": "24h"}}
        assert (await self.service.call("POST", "/watch", options)).status == 201
        await self.service.synced()

    async def push(self) -> Json:
        """What `GET /connections/rss` says of the push of the blog; None where nothing."""
        shown = (await self.service.call("GET", "/connections/rss")).body
        return shown["parts"][0].get("push")

    async def titles(self) -> set[str]:
        """Of everything that was collected."""
        answer = await self.service.call("GET", "/content/recent?hours=168")
        return {item.get("title", item["content"]) for item in answer.body["data"]}

    async def until(self, holds: Callable[[], Awaitable[object]]) -> None:
        async with asyncio.timeout(25):
            while not await holds():
                await asyncio.sleep(0.05)

    async def runs(self) -> int:
        async with self.engine.connect() as connection:
            found = await connection.execute(text("SELECT count(*) FROM sync_runs"))
            return int(found.scalar_one())

    async def tell(self, sql: str) -> None:
        """Does what only time would do."""
        async with self.engine.begin() as connection:
            await connection.execute(text(sql))


@asynccontextmanager
async def opened(
    database_url: str, folder: Path, door: Door = "local", **settings: Any
) -> AsyncIterator[Pushed]:
    options = {
        "public_url": "https://distill.example.com",
        "allow_private_addresses": True,
        "sources": ("rss",),
        **settings,
    }
    async with (
        FeedServer() as feeds,
        HubServer() as hub,
        start_service(database_url, folder, **options) as service,
    ):
        hub.door = service.doors[door]
        engine = create_engine(database_url)
        yield Pushed(service, engine, feeds, hub)
        await engine.dispose()


@pytest.mark.parametrize("door", TRANSPORTS)
async def test_what_a_blog_publishes_is_there_seconds_after_its_hub_pushed(
    database_url: str, tmp_path: Path, door: Door
) -> None:
    async with opened(database_url, tmp_path, door) as pushed:
        pushed.publish(1)
        await pushed.watched()
        await pushed.hub.subscribed()
        push = await pushed.push()
        assert (push["state"], push["hub"]) == ("active", pushed.hub.url)
        assert push["until"]
        assert "url" not in push
        # A push names another entry than the feed: what counts is what the sync reads.
        pushed.publish(1, 2)
        body = feed(pushed.hub.url, pushed.topic, 1, 2, 99)
        for _ in range(3):  # replays have no second effect
            (answer,) = await pushed.hub.publish(pushed.topic, body, method="sha1")
            assert (answer.status, answer.body) == (200, b"")
        await pushed.until(lambda: _has(pushed, "Entry 2"))
        assert await pushed.titles() == {"Entry 1", "Entry 2"}
        assert (await pushed.push())["last_delivery"]
        assert await pushed.runs() == 2
        # What anybody else pushes is answered alike, and ignored.
        (forged,) = await pushed.hub.publish(pushed.topic, b"<feed/>", secret="guessed")
        assert (forged.status, forged.body) == (200, b"")
        await asyncio.sleep(3)
        assert await pushed.runs() == 2


async def _has(pushed: Pushed, title: str) -> bool:
    return title in await pushed.titles()


async def test_a_lease_is_renewed_and_pushes_go_on(database_url: str, tmp_path: Path) -> None:
    async with opened(database_url, tmp_path) as pushed:
        pushed.publish(1)
        await pushed.watched()
        await pushed.hub.subscribed()
        await pushed.tell("UPDATE push_endpoints SET due_at = now()")  # three quarters are over
        await pushed.until(lambda: _modes(pushed, ["subscribe"] * 2))
        await pushed.hub.settled()
        first, second = pushed.hub.forms
        assert first == second
        assert pushed.hub.answers == [200, 200]
        assert (await pushed.push())["state"] == "active"
        body = pushed.publish(1, 2)
        await pushed.hub.publish(pushed.topic, body)
        await pushed.until(lambda: _has(pushed, "Entry 2"))


async def _modes(pushed: Pushed, modes: list[str]) -> bool:
    return pushed.hub.modes() == modes


async def test_a_hub_that_fell_silent_is_found_out_by_the_daily_poll(
    database_url: str, tmp_path: Path
) -> None:
    async with opened(database_url, tmp_path) as pushed:
        pushed.publish(1)
        await pushed.watched()
        await pushed.hub.subscribed()
        pushed.publish(1, 30)  # half an hour old, and nobody pushed it
        await pushed.tell(
            "UPDATE connection_parts SET last_success_at = now() - interval '1 day',"
            " next_attempt_at = NULL"
        )
        await pushed.tell("UPDATE watches SET next_sync_at = now()")
        await pushed.until(lambda: _has(pushed, "Entry 30"))
        await pushed.service.synced()
        async with pushed.engine.connect() as connection:
            (hub,) = (await connection.execute(text("SELECT hub, misses FROM push_hubs"))).all()
        assert tuple(hub) == (pushed.hub.url, 1)


async def test_a_hub_that_refuses_leaves_the_feed_to_polling(
    database_url: str, tmp_path: Path
) -> None:
    async with opened(database_url, tmp_path) as pushed:
        pushed.hub.denies = "private feed"
        pushed.publish(1)
        await pushed.watched()
        await pushed.until(lambda: _state(pushed, "denied"))
        assert (await pushed.push())["message"] == "The hub refused: private feed"
        assert await pushed.titles() == {"Entry 1"}


async def _state(pushed: Pushed, state: str) -> bool:
    push = await pushed.push()
    return push is not None and push["state"] == state


async def test_disconnecting_unsubscribes(database_url: str, tmp_path: Path) -> None:
    async with opened(database_url, tmp_path) as pushed:
        pushed.publish(1)
        await pushed.watched()
        await pushed.hub.subscribed()
        (callback,) = pushed.hub.subscriptions
        secret = pushed.hub.subscriptions[callback].secret
        assert (await pushed.service.call("DELETE", "/connections/rss")).status == 200
        assert (await pushed.hub.push(callback, b"x", secret=secret)).status == 410
        await pushed.until(lambda: _modes(pushed, ["subscribe", "unsubscribe"]))
        await pushed.hub.settled()
        assert pushed.hub.subscriptions == {}
        question = {"mode": "subscribe", "topic": pushed.topic, "challenge": "c"}
        assert (await pushed.hub.question(callback, **question))[0] == 404


async def test_a_hub_is_answered_in_plain_text_and_only_what_it_may_ask(
    database_url: str, tmp_path: Path
) -> None:
    async with opened(database_url, tmp_path) as pushed:
        pushed.publish(1)
        await pushed.watched()
        await pushed.hub.subscribed()
        (callback,) = pushed.hub.subscriptions
        own = {"topic": pushed.topic, "challenge": "<script>alert(1)</script>"}
        assert await pushed.hub.question(callback, mode="subscribe", **own) == (
            200,
            "text/plain",
            "<script>alert(1)</script>",
        )
        other = {**own, "topic": "https://other.example/feed"}
        assert (await pushed.hub.question(callback, mode="subscribe", **other))[0] == 404
        assert (await pushed.hub.question(callback, mode="unsubscribe", **own))[0] == 404
        assert (await pushed.hub.question(callback + "x", mode="subscribe", **own))[0] == 404


async def test_where_platforms_cannot_reach_us_nothing_is_subscribed(
    database_url: str, tmp_path: Path
) -> None:
    async with opened(database_url, tmp_path, public_url=None) as pushed:
        pushed.publish(1)
        await pushed.watched()
        await asyncio.sleep(3)
        assert pushed.hub.forms == []
        assert await pushed.push() is None
        answer = await pushed.service.call("POST", "/webhooks/rss/key", data=b"x", user=None)
        assert answer.status == 404

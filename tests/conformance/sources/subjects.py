"""The sources that the suite runs against: each with a platform that has something to read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from distill_grpc.sources.base import FetchRequest, Page, Source
from distill_grpc.sources.creators import CreatorsSource
from distill_grpc.sources.email import EmailSource
from distill_grpc.sources.github import GithubSource
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.mock import PLATFORMS, MockSource
from distill_grpc.sources.registry import SourceContext
from distill_grpc.sources.rss import RssSource
from distill_grpc.sources.x import XSource
from distill_grpc.sources.youtube import YoutubeSource
from tests.servers.creators import CreatorsServer, creator_id
from tests.servers.creators import token as creators_token
from tests.servers.feeds import Answer, FeedServer
from tests.servers.fixtures import feeds
from tests.servers.github import GithubServer
from tests.servers.imap import ScriptedImap
from tests.servers.platform import Clock
from tests.servers.x import XServer
from tests.servers.x_world import XWorld
from tests.servers.youtube import YoutubeServer

NOW = datetime(2024, 1, 10, 10, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Subject:
    """A source ready to be read, and how to see whether its platform was contacted."""

    source: Source
    request: FetchRequest
    contacts: Callable[[], int]  # how often the platform was contacted; 0 where there is none
    close: Callable[[], Any]

    @property
    def parts(self) -> tuple[str, ...]:
        return self.source.parts(self.request.settings)


def request(settings: Mapping[str, Any], *, days: float = 3, **changes: Any) -> FetchRequest:
    """A first read of everything that was published in the last days."""
    first = FetchRequest(
        credentials={},
        settings=settings,
        cursors={},
        since={},
        default_since=NOW - timedelta(days=days),
        skip=frozenset(),
        now=NOW,
    )
    return replace(first, **changes)


async def pages_of(source: Source, wanted: FetchRequest) -> list[Page]:
    """All pages of a fetch."""
    return [page async for page in source.fetch(wanted)]


def cursors_after(wanted: FetchRequest, pages: list[Page]) -> dict[str, Any]:
    """The cursors that a caller has stored after these pages."""
    stored = dict(wanted.cursors)
    stored.update({page.part: page.cursor for page in pages if page.cursor is not None})
    return stored


@asynccontextmanager
async def rss() -> AsyncIterator[Subject]:
    """Feeds in every format, some of them compressed and with validators."""
    http = HttpClient(allow_private_addresses=True)
    source = RssSource(SourceContext(http=http))
    async with FeedServer() as server:
        addresses = []
        for number, (name, body) in enumerate(feeds().items()):
            json = name.endswith(".json")
            answer = Answer(
                body=body,
                content_type="application/feed+json" if json else "application/xml",
                etag='"v1"' if number % 3 == 0 else "",
                last_modified="Mon, 26 Jun 2017 19:41:48 GMT" if number % 3 == 1 else "",
                compressed=number % 2 == 0,
            )
            addresses.append(server.serve(f"/{name}", answer))
        yield Subject(
            source,
            request({"feeds": addresses}, days=365 * 12),
            lambda: len(server.ledger),
            source.close,
        )
    await source.close()
    await http.close()


@asynccontextmanager
async def creators() -> AsyncIterator[Subject]:
    """Creators with more posts than a page or a feed holds, and one with none."""
    clock = Clock(NOW)
    async with CreatorsServer(clock) as server, HttpClient(allow_private_addresses=True) as http:
        ids = [creator_id(number) for number in range(3)]
        for number, count in enumerate((45, 3, 0)):
            server.add(ids[number], count, until=NOW - timedelta(minutes=5))
        yield Subject(
            CreatorsSource(SourceContext(http=http)),
            request(
                {"url": server.origin, "creators": ids},
                credentials={"access_token": creators_token()},
            ),
            lambda: len(server.ledger),
            lambda: None,
        )
        assert not server.violations


@asynccontextmanager
async def github() -> AsyncIterator[Subject]:
    """An inbox over two pages, events over two pages, and releases of two repositories."""
    clock = Clock(NOW - timedelta(days=2))
    async with GithubServer(clock) as server, HttpClient(allow_private_addresses=True) as http:
        server.add_account("sekret")
        for number in range(130):
            clock.advance(minutes=20)
            server.add_event("WatchEvent")
            if number < 60:
                server.add_thread(f"Thread {number}")
            if number % 40 == 0:
                server.add_release("octo-org/octo-repo", f"v1.{number}", "Some *news*")
                server.add_release("octo-org/other", f"v2.{number}")
        server.poll_interval = 0
        source = GithubSource(SourceContext(http=http, api_urls={"github": server.origin}))
        settings = {"repositories": ["octo-org/octo-repo", "octo-org/other"]}
        yield Subject(
            source,
            request(settings, credentials={"token": "sekret"}),
            lambda: len(server.ledger),
            lambda: None,
        )
        assert not server.violations


@asynccontextmanager
async def youtube() -> AsyncIterator[Subject]:
    """Two channels, one of them with more than a page of videos."""
    clock = Clock(NOW - timedelta(days=2))
    async with YoutubeServer(clock) as server, HttpClient(allow_private_addresses=True) as http:
        server.keys.add("sekret")
        many, few = server.add_channel("Many"), server.add_channel("Few", handle="@few")
        for number in range(70):
            clock.advance(minutes=30)
            server.add_video(many, f"Video {number}")
            if number % 20 == 0:
                server.add_video(few, f"Rare video {number}")
        source = YoutubeSource(SourceContext(http=http, api_urls={"youtube": server.root}))
        yield Subject(
            source,
            request({"channels": [many, "@few"]}, credentials={"api_key": "sekret"}),
            lambda: len(server.ledger),
            lambda: None,
        )
        assert not server.violations


@asynccontextmanager
async def x() -> AsyncIterator[Subject]:
    """Three timelines over several pages, with a repost, a reply and an edit among them."""
    async with XServer(XWorld(NOW)) as server, HttpClient(allow_private_addresses=True) as http:
        for hours in range(60, 0, -1):
            on = ("home", "mentions", "list:7")[hours % 3]
            at = NOW - timedelta(hours=hours)
            post = server.world.publish(f"{on} {hours} &amp; more", on=[on], at=at)
            reference = [{"type": "retweeted", "id": str(post.id)}]
            if hours % 10 == 0:
                server.world.publish("RT", on=[on], at=at, referenced_tweets=reference)
        server.world.edit(post, "edited")
        server.page_limit = 7
        source = XSource(SourceContext(http=http, api_urls={"x": server.url}))
        wanted = request({"timelines": ["home", "mentions", "list:7"]})
        yield Subject(
            source,
            replace(wanted, credentials={"access_token": "token-1"}),
            lambda: len(server.ledger),
            lambda: None,
        )


@asynccontextmanager
async def email() -> AsyncIterator[Subject]:
    """Two folders of a server, one of them with more messages than a page holds."""
    async with ScriptedImap() as server, HttpClient(allow_private_addresses=True) as http:
        for uid in range(1, 121):
            at = NOW - timedelta(hours=60) + timedelta(minutes=uid * 20)
            head = f"Subject: m{uid}\r\nMessage-ID: <{uid}@a.example>\r\n"
            server.messages[uid] = f"{head}\r\nMessage {uid}".encode()
            server.dates[uid] = at.strftime("%d-%b-%Y %H:%M:%S +0000")
        server.folders["Lists"] = {1: b"Subject: other\r\n\r\nOf a list"}
        source = EmailSource(SourceContext(http=http))
        wanted = request({"folders": ["INBOX", "Lists"], "tls": "none"})
        credentials = {"host": "127.0.0.1", "port": server.port, "username": "u", "password": "p"}
        yield Subject(
            source,
            replace(wanted, credentials=credentials),
            lambda: server.connections,
            source.close,
        )
        await source.close()


def mock(name: str) -> Callable[[], AbstractAsyncContextManager[Subject]]:
    """A played platform, its items in several pages."""

    @asynccontextmanager
    async def subject() -> AsyncIterator[Subject]:
        yield Subject(MockSource(name), request({"pages": 3}), lambda: 0, lambda: None)

    return subject


SUBJECTS: Mapping[str, Callable[[], AbstractAsyncContextManager[Subject]]] = {
    "email": email,
    "github": github,
    "rss": rss,
    "creators": creators,
    "x": x,
    "youtube": youtube,
    **{f"mock-{name}": mock(name) for name in PLATFORMS},
}

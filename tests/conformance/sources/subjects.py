"""The sources that the suite runs against: each with a platform that has something to read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from distill_grpc.sources.base import FetchRequest, Page, Source
from distill_grpc.sources.creators import CreatorsSource
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.mock import PLATFORMS, MockSource
from distill_grpc.sources.registry import SourceContext
from distill_grpc.sources.rss import RssSource
from tests.servers.creators import creator_id, creators_server
from tests.servers.creators import token as creators_token
from tests.servers.feeds import Answer, FeedServer
from tests.servers.fixtures import feeds

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
    """Creators with more posts than a page holds, and one with none."""
    http = HttpClient(allow_private_addresses=True)
    async with creators_server() as server:
        ids = [creator_id(number) for number in range(3)]
        for number, count in enumerate((45, 3, 0)):
            server.add(ids[number], count, until=NOW - timedelta(minutes=5))
        yield Subject(
            CreatorsSource(SourceContext(http=http)),
            request(
                {"url": server.url, "creators": ids}, credentials={"access_token": creators_token()}
            ),
            lambda: len(server.ledger),
            lambda: None,
        )
    await http.close()


def mock(name: str) -> Callable[[], AbstractAsyncContextManager[Subject]]:
    """A played platform, its items in several pages."""

    @asynccontextmanager
    async def subject() -> AsyncIterator[Subject]:
        yield Subject(MockSource(name), request({"pages": 3}), lambda: 0, lambda: None)

    return subject


SUBJECTS: Mapping[str, Callable[[], AbstractAsyncContextManager[Subject]]] = {
    "rss": rss,
    "creators": creators,
    **{f"mock-{name}": mock(name) for name in PLATFORMS},
}

"""A feed that has nothing as young as wanted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from distill_grpc.sources.base import FetchRequest
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext
from distill_grpc.sources.rss import RssSource
from tests.conformance.sources.subjects import NOW
from tests.servers.feeds import Answer, FeedServer


def feed(*days_old: int) -> bytes:
    entries = "".join(
        f"<item><guid>g{days}</guid><title>Entry {days}</title><description>Text of it.</description>"
        f"<pubDate>{(NOW - timedelta(days=days)).strftime('%a, %d %b %Y %H:%M:%S GMT')}</pubDate></item>"
        for days in days_old
    )
    return f'<rss version="2.0"><channel><title>Quiet</title>{entries}</channel></rss>'.encode()


async def read(body: bytes, *, shows: int) -> list[str]:
    async with FeedServer() as server, HttpClient(allow_private_addresses=True) as http:
        url = server.serve("/feed", Answer(body=body))
        source = RssSource(SourceContext(http=http))
        request = FetchRequest(
            credentials={},
            settings={"feeds": [url]},
            cursors={},
            since={},
            default_since=NOW - timedelta(days=7),
            skip=frozenset(),
            now=NOW,
            quiet_part_shows=shows,
        )
        pages = [page async for page in source.fetch(request)]
        first = [item.title for page in pages for item in page.items]
        cursors = {page.part: page.cursor for page in pages}
        again = [p async for p in source.fetch(replace(request, cursors=cursors))]
        assert not [item for page in again for item in page.items]
        await source.close()
        return first


async def test_a_quiet_feed_shows_its_newest_entries_when_it_is_connected() -> None:
    assert await read(feed(100, 40, 90, 70), shows=2) == ["Entry 40", "Entry 70"]


async def test_a_feed_with_young_entries_shows_only_those() -> None:
    assert await read(feed(1, 5, 20), shows=50) == ["Entry 1", "Entry 5"]


async def test_without_the_wish_a_quiet_feed_shows_nothing() -> None:
    assert await read(feed(100, 40), shows=0) == []

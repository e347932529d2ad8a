"""Documents that break off, blow up or were never meant to be read."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill_grpc.sources import feed_documents
from distill_grpc.sources.base import Item
from distill_grpc.sources.feed_items import FeedMemory, items_of
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext
from distill_grpc.sources.rss import RssSource
from tests.conformance.sources.rules import check_items
from tests.servers.feeds import Answer, FeedServer
from tests.servers.fixtures import fixtures_dir
from tests.unit.sources_rss.feed_reading import NOW, Reader, feed, item


def read(document: bytes, content_type: str = "") -> dict[str, Any]:
    header = {"url": "https://blog.example/feed", "content_type": content_type, "oldest": None}
    return feed_documents.read(header, document)


def items(document: dict[str, Any]) -> dict[str, Item]:
    since = NOW.replace(year=1971)
    found, memory = items_of(document, part="x", memory=FeedMemory(), since=since, now=NOW)
    check_items(found, now=NOW)
    again, _ = items_of(document, part="x", memory=memory, since=since, now=NOW)
    assert [i.platform_id for i in again] == [i.platform_id for i in found]
    return {i.platform_id: i for i in found}


@pytest.mark.parametrize("name", ["DaringFireball.rss", "DaringFireball.atom", "manton.rss"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:feedparser")
def test_a_feed_cut_anywhere_gives_only_what_is_whole(name: str) -> None:
    document = (fixtures_dir() / "feeds" / "sites" / name).read_bytes()
    whole = items(read(document))
    chance, end = random.Random(name), document.rindex(b"</")
    cuts = [chance.randrange(1, end) for _ in range(12)]
    most = 0
    for cut in cuts:
        result = read(document[:cut])
        if result["kind"] != "feed":
            assert cut < 2_000
            continue
        assert result["truncated"], cut
        part = items(result)
        assert part.items() <= whole.items(), cut
        most = max(most, len(part))
    assert most > len(whole) / 2


async def test_a_cut_feed_gives_its_items_and_the_cursor_stays(
    rss: RssSource, server: FeedServer
) -> None:
    document = feed(*(item(f"{n}", guid=f"{n}", hours=n, body="text") for n in range(6)))
    cut = document[: len(document) * 2 // 3]
    answers = [Answer(body=cut, etag='"cut"'), Answer(body=document, etag='"whole"')]
    reader = Reader(rss, server.serve("/feed", *answers))
    before = {i.platform_id for i in await reader.read()}
    assert 0 < len(before) < 6
    assert reader.failure.reason == "truncated"
    assert reader.page.cursor is None
    assert before < {i.platform_id for i in await reader.read()}
    assert reader.page.failure is None
    assert "If-None-Match" not in server.ledger[1].headers


async def test_undated_entries_of_a_cut_feed_wait_for_the_whole(
    rss: RssSource, server: FeedServer
) -> None:
    document = feed(*(item(f"{n}", guid=f"{n}") for n in range(6)))
    url = server.serve("/feed", Answer(body=document[:-150]), Answer(body=document))
    reader = Reader(rss, url)
    assert await reader.read() == []
    assert len(await reader.read(hours=1)) == 6


@pytest.mark.parametrize(
    "document",
    [
        feed(item("A", guid="1", hours=1, body="x & y")).replace(b"&amp;", b"&"),
        feed(item("A", guid="1", hours=1)).replace(b"</title><guid", b"&nbsp;</title><guid"),
        feed(item("A", guid="1", hours=1)) + b"<script>track()</script>",
        b"\n\n  " + feed(item("A", guid="1", hours=1)),
        b"<br />\n<b>Warning</b>: x in <b>y.php</b><br />" + feed(item("A", guid="1", hours=1)),
        feed(item("A\x08", guid="1", hours=1)),
        feed(item("A", guid="1", hours=1)).replace(b"<item>", b"<item><media:x>1</media:x>"),
    ],
)
async def test_feeds_with_mistakes_are_read_leniently(
    rss: RssSource, server: FeedServer, document: bytes
) -> None:
    reader = Reader(rss, server.serve("/feed", Answer(body=document)))
    [found] = await reader.read()
    assert found.title == "A"
    assert reader.page.failure is None
    assert reader.page.cursor is not None


@pytest.fixture(scope="session")
async def impatient() -> AsyncIterator[RssSource]:
    http = HttpClient(allow_private_addresses=True)
    source = RssSource(SourceContext(http=http), parser_seconds=1)
    yield source
    await source.close()
    await http.close()


LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY a0 "ha">'
    + b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 12))
    + b']><rss version="2.0"><channel><title>&a11;</title><item><title>&a11;</title></item>'
    b"</channel></rss>"
)
QUADRATIC = (
    b'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY a "'
    + b"x" * 100_000
    + b'">]><rss version="2.0"><channel><item><title>'
    + b"&a;" * 50_000
    + b"</title></item></channel></rss>"
)
EXTERNAL = (
    b'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY f SYSTEM "file:///etc/passwd">'
    b'<!ENTITY % p SYSTEM "http://127.0.0.1:1/dtd"> %p;]><rss version="2.0"><channel>'
    b"<item><guid>1</guid><title>T</title><description>&f;</description></item></channel></rss>"
)
NESTED = b'<rss version="2.0"><channel><item><title>T</title>' + b"<a>" * 200_000
DEEP_HTML = feed(item("T", guid="1", hours=1, body="<div>" * 150_000))
AUTHOR = feed(
    item("T", guid="1", hours=1, extra=f"<author>{'a@' + 'a.' * 40_000}</author>")
)  # a pattern of feedparser's runs away on this
ATTRIBUTES = b"<rss " + b"".join(b"a%d='' " % n for n in range(50_000)) + b"/>"


@pytest.mark.parametrize(
    "document",
    [LAUGHS, QUADRATIC, EXTERNAL, NESTED, DEEP_HTML, AUTHOR, ATTRIBUTES],
    ids=["laughs", "quadratic", "external", "nested", "deep-html", "author", "attributes"],
)
async def test_bombs_hurt_nobody_else(
    impatient: RssSource, server: FeedServer, document: bytes
) -> None:
    started = time.monotonic()
    reader = Reader(impatient, server.serve("/bomb", Answer(body=document)))
    found = await reader.read()
    assert time.monotonic() - started < 4
    assert all(len(i.content) < 200_000 for i in found)
    assert "root:" not in repr(found)
    good = Reader(impatient, server.serve("/good", Answer(body=feed(item("A", guid="1", hours=1)))))
    assert len(await good.read()) == 1


def corpus() -> list[Path]:
    folder = fixtures_dir() / "feeds"
    return sorted(file for file in folder.rglob("*") if file.is_file())


@pytest.mark.filterwarnings("ignore::DeprecationWarning:feedparser")
def test_every_recorded_feed_is_read_without_harm() -> None:
    files = corpus()
    kinds: dict[str, int] = {}
    for file in files:
        document = file.read_bytes()
        head = document[:1_000].decode("latin-1")
        said = head.partition("Content-type:")[2] or head.partition("Content-Type:")[2]
        started = time.monotonic()
        result = read(document, said.partition("\n")[0].strip())
        assert time.monotonic() - started < 5, file
        kinds[result["kind"]] = kinds.get(result["kind"], 0) + 1
        if result["kind"] == "feed":
            items(result)
            assert len(result["title"]) <= 300
    assert len(files) > 500
    assert kinds["feed"] > 0.9 * len(files)


SEED = feed(
    item("One & two", guid="1", link="https://blog.example/1?a=1&b=2", hours=1, body="<p>Hi</p>"),
    item("Three", hours=2, body="text"),
    channel="<language>en</language><ttl>60</ttl>",
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.integers(0, len(SEED) - 1), st.binary(max_size=8), st.integers(0, 40)),
        min_size=1,
        max_size=6,
    )
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:feedparser")
def test_a_damaged_feed_is_read_or_refused(damage: list[tuple[int, bytes, int]]) -> None:
    document = SEED
    for at, put, taken in damage:
        document = document[:at] + put + document[at + taken :]
    result = read(document)
    assert result["kind"] in {"feed", "page", "empty", "malformed", "not_a_feed"}
    if result["kind"] == "feed":
        items(result)

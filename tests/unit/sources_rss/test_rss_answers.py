"""What the server of a feed may answer, and what becomes of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from distill_grpc.sources.base import NoPlatformAuth, PlatformError, RateLimited
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext
from distill_grpc.sources.rss import RssSource
from tests.servers.feeds import Answer, FeedServer
from tests.unit.sources_rss.feed_reading import Reader, feed, item, json_feed, request_for

ONE = feed(item("One", guid="1", hours=1, body="Hello."))
TWO = feed(item("Two", guid="2", hours=0.5, body="World."), item("One", guid="1", hours=1))


async def test_a_304_leaves_everything_as_it_is(rss: RssSource, server: FeedServer) -> None:
    reader = Reader(rss, server.serve("/feed", Answer(body=ONE, etag='W/"x"')))
    assert [i.title for i in await reader.read()] == ["One"]
    cursor = reader.cursor
    assert await reader.read() == []
    assert reader.page.unchanged
    assert reader.cursor == cursor
    assert [a.status for a in server.asked("/feed")] == [200, 304]
    assert server.asked("/feed")[1].headers["If-None-Match"] == 'W/"x"'


async def test_last_modified_is_sent_back_verbatim(rss: RssSource, server: FeedServer) -> None:
    odd = "Tue, 9 Jan 2024 3:04:05 GMT"  # a digit short, as some servers send it
    reader = Reader(rss, server.serve("/feed", Answer(body=ONE, last_modified=odd)))
    await reader.read()
    await reader.read()
    assert server.asked("/feed")[1].headers["If-Modified-Since"] == odd
    assert reader.page.unchanged


async def test_a_304_may_renew_the_validators(rss: RssSource, server: FeedServer) -> None:
    renewed = Answer(status=304, headers={"Last-Modified": "Wed, 10 Jan 2024 09:00:00 GMT"})
    first = Answer(body=ONE, etag='"a"', last_modified="Mon, 08 Jan 2024 09:00:00 GMT")
    reader = Reader(rss, server.serve("/feed", first, renewed))
    for _ in range(3):
        await reader.read()
    headers = server.asked("/feed")[2].headers
    assert headers["If-Modified-Since"] == "Wed, 10 Jan 2024 09:00:00 GMT"
    assert headers["If-None-Match"] == '"a"'


async def test_the_same_bytes_again_are_unchanged(rss: RssSource, server: FeedServer) -> None:
    reader = Reader(rss, server.serve("/feed", Answer(body=ONE)))
    assert len(await reader.read()) == 1
    assert await reader.read() == []
    assert reader.page.unchanged


async def test_a_304_that_nobody_asked_for_is_a_fault(rss: RssSource, server: FeedServer) -> None:
    reader = Reader(rss, server.serve("/feed", Answer(status=304)))
    await reader.read()
    assert reader.failure.reason == "protocol"


async def test_a_failing_body_keeps_cursor_and_validators(
    rss: RssSource, server: FeedServer
) -> None:
    good = Answer(body=ONE, etag='"1"')
    wrong = Answer(body=b"<html><body>Maintenance</body></html>", content_type="text/html")
    reader = Reader(rss, server.serve("/feed", good, wrong, Answer(body=TWO, etag='"2"')))
    await reader.read()
    assert await reader.read() == []
    assert reader.page.cursor is None
    assert [i.title for i in await reader.read()] == ["Two", "One"]
    assert [a.headers.get("If-None-Match") for a in server.ledger] == [None, '"1"', '"1"']


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf \r\n\t ", "empty"),
        (b"<!doctype html><html><head><title>x</title></head></html>", "not_a_feed"),
        (b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'/>", "not_a_feed"),
        (b"just some words", "not_a_feed"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "not_a_feed"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_a_feed"),
        (b"<opml version='2.0'><body/></opml>", "not_a_feed"),
        (b'{"version": "https://jsonfeed.org/version/1", "items": [', "malformed"),
        (b'{"error": "no such feed"}', "not_a_feed"),
        (b'{"version": "https://jsonfeed.org/version/1", "items": NaN}', "malformed"),
        (b'{"a":' * 50_000 + b"}", "malformed"),
        (b"<" * 100_000, "not_a_feed"),
        (b"<!DOCTYPE rss [" + b"<!-- " * 10_000, "not_a_feed"),
        (bytes(10_000), "empty"),
    ],
)
async def test_what_is_no_feed_fails_with_a_reason(
    rss: RssSource, server: FeedServer, body: bytes, reason: str
) -> None:
    reader = Reader(rss, server.serve("/feed", Answer(body=body)))
    await reader.read()
    assert isinstance(reader.failure, PlatformError)
    assert reader.failure.reason == reason
    assert not reader.failure.permanent
    assert reader.page.cursor is None


@pytest.mark.parametrize(
    ("answer", "kind", "reason", "permanent"),
    [
        (Answer(status=401), NoPlatformAuth, "refused", False),
        (Answer(status=403), NoPlatformAuth, "refused", False),
        (
            Answer(status=403, headers={"cf-mitigated": "challenge"}),
            PlatformError,
            "challenge",
            False,
        ),
        (Answer(status=404), PlatformError, "not_found", False),
        (Answer(status=410), PlatformError, "gone", True),
        (Answer(status=429), RateLimited, "too_many_requests", False),
        (Answer(status=500), PlatformError, "server_error", False),
        (Answer(status=503), PlatformError, "server_error", False),
        (Answer(status=204), PlatformError, "unexpected_status", False),
        (Answer(status=418), PlatformError, "unexpected_status", False),
    ],
)
async def test_each_status_has_its_failure(
    rss: RssSource, server: FeedServer, answer: Answer, kind: type, reason: str, permanent: bool
) -> None:
    reader = Reader(rss, server.serve("/feed", answer))
    assert await reader.read() == []
    assert type(reader.failure) is kind
    assert reader.failure.reason == reason
    assert reader.failure.permanent is permanent


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_names_the_instant(
    rss: RssSource, server: FeedServer, status: int
) -> None:
    answer = Answer(status=status, headers={"Retry-After": "1800"})
    reader = Reader(rss, server.serve("/feed", answer))
    await reader.read()
    assert isinstance(reader.failure, RateLimited)
    assert reader.failure.retry_at is not None


async def test_one_feed_failing_leaves_the_others_alone(rss: RssSource, server: FeedServer) -> None:
    urls = [
        server.serve("/gone", Answer(status=410)),
        server.serve("/page", Answer(body=b"<html></html>")),
        server.serve("/good", Answer(body=ONE)),
        "http://127.0.0.1:1/refused",
        server.serve("/second", Answer(body=TWO)),
    ]
    pages = {page.part: page async for page in rss.fetch(request_for(urls))}
    assert set(pages) == set(urls)
    assert [u for u in urls if pages[u].failure is None] == [urls[2], urls[4]]
    assert len(pages[urls[4]].items) == 2


async def test_feeds_are_read_side_by_side_but_not_all_at_once(
    rss: RssSource, server: FeedServer
) -> None:
    urls = [server.serve(f"/{n}", Answer(body=ONE, delay=0.05)) for n in range(12)]
    pages = [page async for page in rss.fetch(request_for(urls))]
    assert len(pages) == 12
    assert 1 < server.most_in_flight <= 8


async def test_one_entry_has_different_ids_in_different_feeds(
    rss: RssSource, server: FeedServer
) -> None:
    urls = [server.serve("/a", Answer(body=ONE)), server.serve("/b", Answer(body=ONE))]
    pages = [page async for page in rss.fetch(request_for(urls))]
    assert len({i.platform_id for page in pages for i in page.items}) == 2


async def test_a_wish_for_older_items_reads_an_unchanged_feed_again(
    rss: RssSource, server: FeedServer
) -> None:
    body = feed(item("New", guid="n", hours=1), item("Old", guid="o", hours=100))
    reader = Reader(rss, server.serve("/feed", Answer(body=body, etag='"1"')))
    reader.since = reader.now - timedelta(hours=24)
    assert [i.title for i in await reader.read()] == ["New"]
    reader.since = reader.now - timedelta(hours=200)
    assert [i.title for i in await reader.read()] == ["New", "Old"]


@pytest.mark.parametrize(
    ("channel", "headers", "seconds"),
    [
        ("<ttl>90</ttl>", {}, 5400),
        ("<ttl>nonsense</ttl>", {}, 0),
        ("<ttl>99999999</ttl>", {}, 0),
        ("<ttl>9999</ttl>", {}, 86_400),
        ("<sy:updatePeriod>hourly</sy:updatePeriod>", {}, 3600),
        (
            "<sy:updatePeriod> daily </sy:updatePeriod><sy:updateFrequency>4</sy:updateFrequency>",
            {},
            21_600,
        ),
        ("<ttl>10</ttl>", {"Cache-Control": "public, max-age=1200"}, 1200),
        ("", {"Cache-Control": "max-age=31536000"}, 86_400),
        ("", {}, 0),
    ],
)
async def test_the_feed_says_how_often_it_wants_to_be_read(
    rss: RssSource, server: FeedServer, channel: str, headers: dict[str, str], seconds: int
) -> None:
    body = feed(item("One", guid="1", hours=1), channel=channel)
    reader = Reader(rss, server.serve("/feed", Answer(body=body, etag='"1"', headers=headers)))
    await reader.read()
    assert reader.page.min_interval == seconds
    await reader.read()
    assert reader.page.unchanged
    assert reader.page.min_interval == seconds


async def test_compressed_feeds_are_read(rss: RssSource, server: FeedServer) -> None:
    reader = Reader(rss, server.serve("/feed", Answer(body=ONE, compressed=True)))
    assert [i.title for i in await reader.read()] == ["One"]


async def test_a_feed_that_has_ended_gives_its_items_and_says_so(
    rss: RssSource, server: FeedServer
) -> None:
    body = json_feed({"id": "1", "content_text": "The end."}, expired=True)
    reader = Reader(rss, server.serve("/feed", Answer(body=body)))
    assert [i.content for i in await reader.read()] == ["The end."]
    assert reader.failure.reason == "gone"
    assert reader.failure.permanent


async def test_a_page_is_asked_no_further_than_its_feed(rss: RssSource, server: FeedServer) -> None:
    # `next_url` leads to older items only.
    body = json_feed({"id": 1, "content_text": "x"}, next_url=server.url("/older"))
    reader = Reader(rss, server.serve("/feed", Answer(body=body)))
    await reader.read()
    assert [a.path for a in server.ledger] == ["/feed"]


async def test_private_addresses_are_refused_by_the_client(server: FeedServer) -> None:
    url = server.serve("/feed", Answer(body=ONE))
    http = HttpClient(allow_private_addresses=False)
    guarded = RssSource(SourceContext(http=http))
    reader = Reader(guarded, url)
    await reader.read()
    assert reader.failure.reason == "private_address"
    assert server.ledger == []
    await guarded.close()
    await http.close()


async def test_a_document_of_20_megabytes_is_too_large(rss: RssSource, server: FeedServer) -> None:
    big = feed(item("x", guid="1", hours=1, body="a" * 20_000_000))
    for compressed in (False, True):
        reader = Reader(rss, server.serve("/feed", Answer(body=big, compressed=compressed)))
        await reader.read()
        assert reader.failure.reason == "too_large"

"""Where a feed is found: pages that name it, addresses that move, and the way back."""

from __future__ import annotations

import pytest

from distill_grpc.sources.rss import RssSource
from tests.servers.feeds import Answer, FeedServer
from tests.unit.sources_rss.feed_reading import Reader, feed, item, json_feed

ONE = feed(item("One", guid="1", hours=1))


def page(head: str) -> Answer:
    html = f"<!DOCTYPE html>\n<html><head><title>Blog</title>{head}</head><body>Hi</body></html>"
    return Answer(body=html.encode(), content_type="text/html; charset=utf-8")


LINK = '<link rel="alternate" type="application/rss+xml" title="RSS" href="{}">'


async def test_a_page_leads_to_its_feed(rss: RssSource, server: FeedServer) -> None:
    url = server.serve("/blog/", page(LINK.format("../feed.xml")))
    feed_url = server.serve("/feed.xml", Answer(body=ONE, etag='"1"'))
    reader = Reader(rss, url)
    assert [i.title for i in await reader.read()] == ["One"]
    assert reader.page.part == url
    assert reader.page.url == feed_url
    assert await reader.read() == []
    assert reader.page.unchanged
    # The page is not asked again.
    assert [a.path for a in server.ledger] == ["/blog/", "/feed.xml", "/feed.xml"]


@pytest.mark.parametrize(
    "head",
    [
        "<base href='/feeds/'><link rel=alternate type=application/atom+xml href=a.xml>",
        """<link rel='alternate' type='application/json+oembed' href='/no'>
        <LINK HREF='/feeds/a.xml' TYPE='Application/RSS+XML' REL='Alternate home'>""",
        """<link rel=alternate type='application/feed+json; charset=utf-8' href='/feeds/a.xml'>
        <link rel=alternate type=application/rss+xml href='/never'>""",
        """<link rel=stylesheet type=application/rss+xml href='/no'>
        <link rel=alternate type=application/rss+xml href='javascript:alert(1)'>
        <link rel=alternate type=application/rss+xml href=' /feeds/a.xml '>""",
    ],
)
async def test_the_first_usable_link_counts(rss: RssSource, server: FeedServer, head: str) -> None:
    url = server.serve("/", page(head))
    server.serve("/feeds/a.xml", Answer(body=ONE))
    assert [i.title for i in await Reader(rss, url).read()] == ["One"]


@pytest.mark.parametrize("head", ["", "<link rel=alternate type=text/css href=/feed.xml>"])
async def test_a_page_without_a_feed_is_no_feed(
    rss: RssSource, server: FeedServer, head: str
) -> None:
    reader = Reader(rss, server.serve("/", page(head)))
    await reader.read()
    assert reader.failure.reason == "not_a_feed"


async def test_pages_that_name_each_other_end_the_search(
    rss: RssSource, server: FeedServer
) -> None:
    url = server.serve("/a", page(LINK.format("/b")))
    server.serve("/b", page(LINK.format("/a")))
    server.serve("/self", page(LINK.format("/self")))
    for start in (url, server.url("/self")):
        reader = Reader(rss, start)
        await reader.read()
        assert reader.failure.reason == "not_a_feed"
    assert len(server.ledger) <= 4


async def test_a_found_feed_that_is_lost_is_looked_for_again(
    rss: RssSource, server: FeedServer
) -> None:
    url = server.serve("/", page(LINK.format("/old.xml")))
    server.serve("/old.xml", Answer(body=ONE))
    reader = Reader(rss, url)
    await reader.read()
    server.serve("/", page(LINK.format("/new.xml")))
    server.serve("/old.xml", Answer(status=404))
    server.serve("/new.xml", Answer(body=feed(item("Two", guid="2", hours=0))))
    assert [i.title for i in await reader.read()] == ["Two"]
    assert reader.page.url == server.url("/new.xml")


async def test_a_passing_fault_of_a_found_feed_does_not_lose_it(
    rss: RssSource, server: FeedServer
) -> None:
    url = server.serve("/", page(LINK.format("/feed.xml")))
    server.serve("/feed.xml", Answer(body=ONE), Answer(status=500), Answer(body=ONE))
    reader = Reader(rss, url)
    for _ in range(3):
        await reader.read()
    assert reader.page.unchanged
    assert len(server.asked("/")) == 1


@pytest.mark.parametrize("status", [301, 308])
async def test_a_permanent_redirect_is_believed_the_third_time(
    rss: RssSource, server: FeedServer, status: int
) -> None:
    url = server.serve("/old", Answer(status=status, location="/new"))
    server.serve("/new", Answer(body=ONE, etag='"1"'))
    reader = Reader(rss, url)
    await reader.read()
    ids = {i.platform_id for i in reader.page.items}
    for _ in range(2):
        assert reader.page.url is None
        await reader.read()
    assert reader.page.url == server.url("/new")
    await reader.read()
    assert len(server.asked("/old")) == 3
    assert len(server.asked("/new")) == 4
    server.serve("/new", Answer(body=ONE + b"<!-- changed -->", etag='"2"'))
    # The part, and with it the ids, stay those of the given address.
    assert {i.platform_id for i in await reader.read()} == ids


@pytest.mark.parametrize(
    "hops",
    [
        [302, 302, 302, 302],
        [301, 302, 301, 301],
        [301, 200, 301, 301],
        [307, 307, 307, 307],
        [301, 500, 301, 301],
    ],
)
async def test_anything_less_than_three_in_a_row_is_not(
    rss: RssSource, server: FeedServer, hops: list[int]
) -> None:
    moves = [
        Answer(status=hop, location="/new") if hop < 400 and hop != 200 else Answer(body=ONE)
        for hop in hops
    ]
    moves = [Answer(status=500) if h == 500 else m for h, m in zip(hops, moves, strict=True)]
    url = server.serve("/old", *moves)
    server.serve("/new", Answer(body=ONE))
    reader = Reader(rss, url)
    for _ in hops:
        await reader.read()
    assert len(server.asked("/old")) == len(hops)
    if hops == [301, 500, 301, 301]:
        # A failure says nothing about the address: the count goes on.
        assert reader.page.url == server.url("/new")
    else:
        assert reader.page.url is None


async def test_targets_must_be_the_same_three_times(rss: RssSource, server: FeedServer) -> None:
    moves = [Answer(status=301, location=f"/new{n % 2}") for n in range(6)]
    url = server.serve("/old", *moves)
    for n in range(2):
        server.serve(f"/new{n}", Answer(body=ONE))
    reader = Reader(rss, url)
    for _ in range(6):
        await reader.read()
        assert reader.page.url is None


async def test_only_the_permanent_beginning_of_a_chain_is_kept(
    rss: RssSource, server: FeedServer
) -> None:
    url = server.serve("/a", Answer(status=301, location="/b"))
    server.serve("/b", Answer(status=308, location="/c"))
    server.serve("/c", Answer(status=302, location="/d"))
    server.serve("/d", Answer(body=ONE))
    reader = Reader(rss, url)
    for _ in range(3):
        await reader.read()
    assert reader.page.url == server.url("/c")


async def test_a_move_to_a_parking_page_is_not_believed(rss: RssSource, server: FeedServer) -> None:
    url = server.serve("/old", Answer(status=301, location="/parked"))
    server.serve("/parked", page(""))
    reader = Reader(rss, url)
    for _ in range(4):
        await reader.read()
        assert reader.failure.reason == "not_a_feed"
    server.serve("/old", Answer(body=ONE))
    assert [i.title for i in await reader.read()] == ["One"]


async def test_a_new_address_that_dies_leads_back_to_the_given_one(
    rss: RssSource, server: FeedServer
) -> None:
    url = server.serve("/old", *[Answer(status=301, location="/new")] * 3, Answer(body=ONE))
    server.serve("/new", *[Answer(body=ONE)] * 3, Answer(status=410))
    reader = Reader(rss, url)
    for _ in range(4):
        await reader.read()
    assert reader.page.failure is None
    assert reader.page.url is None


async def test_a_redirect_loop_ends(rss: RssSource, server: FeedServer) -> None:
    url = server.serve("/a", Answer(status=301, location="/b"))
    server.serve("/b", Answer(status=302, location="/a"))
    reader = Reader(rss, url)
    await reader.read()
    assert reader.failure.reason == "too_many_redirects"
    assert len(server.ledger) < 10


async def test_relative_addresses_are_resolved_where_the_feed_is(
    rss: RssSource, server: FeedServer
) -> None:
    url = server.serve("/old", Answer(status=302, location="/blog/feed.json"))
    entry = {"id": 7, "url": "posts/7", "content_html": "<a href='x'>x</a><img src='/i.png'>y"}
    server.serve("/blog/feed.json", Answer(body=json_feed(entry)))
    [found] = await Reader(rss, url).read()
    assert found.url == server.url("/blog/posts/7")
    assert server.url("/blog/x") in found.raw["html"]
    assert server.url("/i.png") in found.raw["html"]

"""Who is who among a feed's entries, when they were, and what a person reads of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from distill_grpc.sources.base import Item
from distill_grpc.sources.rss import RssSource
from tests.servers.feeds import Answer, FeedServer
from tests.unit.sources_rss.feed_reading import NOW, Reader, feed, item, json_feed


async def read(rss: RssSource, server: FeedServer, body: bytes) -> list[Item]:
    return await Reader(rss, server.serve("/feed", Answer(body=body))).read()


async def test_the_guid_identifies_then_the_link_then_what_is_said(
    rss: RssSource, server: FeedServer
) -> None:
    body = feed(
        item("A", guid="tag:x,1", link="https://blog.example/a", hours=3),
        item("B", link="https://blog.example/b", hours=2),
        item("C", hours=1, body="No address at all."),
    )
    ids = [i.platform_id.partition(":")[2] for i in await read(rss, server, body)]
    assert ids[:2] == ["tag:x,1", "blog.example/b"]
    assert ids[2].startswith("sha256-")


async def test_an_edit_keeps_the_identity(rss: RssSource, server: FeedServer) -> None:
    before = feed(item("Tpyo", guid="1", hours=1, body="x"))
    after = feed(item("Typo", guid="1", hours=1, body="y"))
    reader = Reader(rss, server.serve("/feed", Answer(body=before), Answer(body=after)))
    [old] = await reader.read()
    [new] = await reader.read()
    assert old.platform_id == new.platform_id
    assert new.title == "Typo"


async def test_a_long_guid_becomes_a_hash(rss: RssSource, server: FeedServer) -> None:
    guids = ["x" * 3000, "x" * 3000 + "y"]
    items = await read(rss, server, feed(*(item(g[-1], guid=g, hours=1) for g in guids)))
    assert len({i.platform_id for i in items}) == 2
    assert all(len(i.platform_id) < 100 for i in items)


async def test_moving_to_https_makes_nothing_new(rss: RssSource, server: FeedServer) -> None:
    def body(scheme: str) -> bytes:
        return feed(*(item(f"{n}", guid=f"{scheme}://b.example/{n}", hours=n) for n in range(9)))

    answers = [Answer(body=body("http")), Answer(body=body("https"))]
    reader = Reader(rss, server.serve("/feed", *answers))
    before = {i.platform_id for i in await reader.read()}
    assert {i.platform_id for i in await reader.read()} == before


async def test_entries_that_share_a_guid_are_all_kept(rss: RssSource, server: FeedServer) -> None:
    first = [item("A", guid="1", hours=3, body="a"), item("B", guid="1", hours=2, body="b")]
    second = [item("C", guid="1", hours=1, body="c"), *reversed(first)]
    third = [item("C", guid="1", hours=1, body="c")]
    answers = [Answer(body=feed(*items)) for items in (first, second, third)]
    reader = Reader(rss, server.serve("/feed", *answers))
    before = {i.title: i.platform_id for i in await reader.read()}
    after = {i.title: i.platform_id for i in await reader.read()}
    assert len(set(after.values())) == 3
    assert before.items() <= after.items()
    assert [i.platform_id for i in await reader.read()] == [after["C"]]


async def test_namesakes_of_the_same_moment_are_told_apart_by_their_place(
    rss: RssSource, server: FeedServer
) -> None:
    same: dict[str, Any] = {"guid": "1", "hours": 1.0}
    items = await read(rss, server, feed(item("A", **same, body="a"), item("A", **same, body="b")))
    assert len({i.platform_id for i in items}) == 2


async def test_an_entry_that_is_there_twice_comes_once(rss: RssSource, server: FeedServer) -> None:
    entry = item("A", guid="1", hours=1, body="a")
    assert len(await read(rss, server, feed(entry, entry, item("B", guid="2", hours=1)))) == 2


async def test_all_entries_linking_to_the_same_page_are_kept(
    rss: RssSource, server: FeedServer
) -> None:
    home = "https://blog.example/changes"
    first = [item(f"{n}", link=home, hours=50 - n, body=f"{n}") for n in range(6)]
    more = [*first, item("new", link=home, hours=1, body="new")]
    reader = Reader(rss, server.serve("/feed", *[Answer(body=feed(*i)) for i in (first, more)]))
    before = {i.platform_id for i in await reader.read()}
    after = await reader.read()
    assert len(before) == 6
    assert before < {i.platform_id for i in after}
    assert not any(i.backdated for i in after)


async def test_a_republished_archive_is_backdated(rss: RssSource, server: FeedServer) -> None:
    old = [item(f"{n}", guid=f"a{n}", hours=50 + n) for n in range(10)]
    again = [item(f"{n}", guid=f"b{n}", hours=50 + n) for n in range(10)]
    again.append(item("really new", guid="c", hours=1))
    reader = Reader(rss, server.serve("/feed", *[Answer(body=feed(*i)) for i in (old, again)]))
    assert not any(i.backdated for i in await reader.read())
    later = {i.title: i.backdated for i in await reader.read()}
    assert len(later) == 11
    assert [title for title, backdated in later.items() if not backdated] == ["really new"]


async def test_a_feed_that_moves_to_another_host_is_backdated(
    rss: RssSource, server: FeedServer
) -> None:
    def items(host: str, numbers: range) -> list[str]:
        return [item(f"{n}", guid=f"https://{host}/post/{n}", hours=50 - n) for n in numbers]

    moved = items("new.example", range(3, 7))
    answers = [Answer(body=feed(*items("old.example", range(6)))), Answer(body=feed(*moved))]
    reader = Reader(rss, server.serve("/feed", *answers))
    await reader.read()
    later = {i.title: i.backdated for i in await reader.read()}
    assert later == {"3": True, "4": True, "5": True, "6": False}


async def test_many_new_entries_after_a_pause_are_not_backdated(
    rss: RssSource, server: FeedServer
) -> None:
    old = [item(f"{n}", guid=f"{n}", hours=90) for n in range(10)]
    new = [item(f"{n}", guid=f"{n}", hours=30) for n in range(10, 20)]
    reader = Reader(rss, server.serve("/feed", *[Answer(body=feed(*i)) for i in (old, new)]))
    await reader.read()
    assert not any(i.backdated for i in await reader.read())


async def test_a_late_entry_alone_is_not_backdated(rss: RssSource, server: FeedServer) -> None:
    old = [item(f"{n}", guid=f"{n}", hours=n) for n in range(10)]
    late = [*old, item("late", guid="late", hours=5)]
    reader = Reader(rss, server.serve("/feed", *[Answer(body=feed(*i)) for i in (old, late)]))
    await reader.read()
    assert not any(i.backdated for i in await reader.read())


async def test_an_undated_entry_keeps_the_instant_at_which_it_was_seen(
    rss: RssSource, server: FeedServer
) -> None:
    first = [item("A", guid="a")]
    more = [item("B", guid="b"), *first]
    bodies = [first, more, [item("C", guid="c"), *more]]
    reader = Reader(rss, server.serve("/feed", *[Answer(body=feed(*i)) for i in bodies]))
    await reader.read()
    await reader.read(hours=1)
    seen = {i.title: i.published_at for i in await reader.read(hours=1)}
    hours = timedelta(hours=1)
    assert seen == {"A": NOW, "B": NOW + hours, "C": NOW + 2 * hours}


async def test_a_date_in_the_future_is_held_at_the_first_sight(
    rss: RssSource, server: FeedServer
) -> None:
    bodies = [feed(item("A", guid="a", hours=-3), channel=f"<!--{n}-->") for n in range(4)]
    reader = Reader(rss, server.serve("/feed", *[Answer(body=b) for b in bodies]))
    instants = [(await reader.read(hours=n))[0].published_at for n in (0, 1, 5, 1)]
    assert instants == [NOW] * 4


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ("<pubDate>Tue, 09 Jan 2024 12:00:00 +0200</pubDate>", "2024-01-09T10:00:00"),
        ("<pubDate>9 Jan 24 12:00 GMT</pubDate>", "2024-01-09T12:00:00"),
        ("<pubDate>Tue, 09 Jan 2024 12:00:00 EST</pubDate>", "2024-01-09T17:00:00"),
        ("<pubDate>2024-01-09T12:00:00Z</pubDate>", "2024-01-09T12:00:00"),
        ("<pubDate>2024-01-09</pubDate>", "2024-01-09T00:00:00"),
        ("<pubDate>yesterday</pubDate>", "2024-01-10T10:00:00"),
        ("<pubDate></pubDate>", "2024-01-10T10:00:00"),
        (
            '<d:date xmlns:d="http://purl.org/dc/elements/1.1/">2024-01-08T00:00:00Z</d:date>',
            "2024-01-08T00:00:00",
        ),
    ],
)
async def test_dates_are_read_in_many_forms(
    rss: RssSource, server: FeedServer, dates: str, expected: str
) -> None:
    [found] = await read(rss, server, feed(item("A", guid="1", extra=dates)))
    assert found.published_at is not None
    assert found.published_at.isoformat().removesuffix("+00:00") == expected


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 01 Jan 0001 00:00:00 GMT",
        "0000-00-00T00:00:00Z",
        "Wed, 31 Dec 1969 23:59:59 GMT",
        "99999-01-01T00:00:00Z",
        "9999-12-31T23:59:59-12:00",
        "Fri, 99 Foo 2024 99:99:99 +9999",
    ],
)
async def test_impossible_dates_hurt_nobody(rss: RssSource, server: FeedServer, date: str) -> None:
    body = feed(
        item("A", guid="1", extra=f"<pubDate>{date}</pubDate>"), item("B", guid="2", hours=1)
    )
    assert "B" in {i.title for i in await read(rss, server, body)}


async def test_text_is_readable_and_html_is_safe(rss: RssSource, server: FeedServer) -> None:
    html = (
        "<p>Hello &amp; <b>welcome</b>&nbsp;all.</p><script>alert(1)</script>"
        "<ul><li>one<li>two</ul><a href='/x' onclick='evil()'>more</a>"
        "<a href='javascript:evil()'>bad</a><img src=x onerror=evil()>"
    )
    [found] = await read(
        rss, server, feed(item("A &amp; B <i>c</i>", guid="1", hours=1, body=html))
    )
    assert found.title == "A & B c"
    assert found.content == "Hello & welcome all.\n\n- one\n- two\n\nmorebad"
    assert "evil" not in found.raw["html"]
    assert 'href="https://blog.example/x"' in found.raw["html"]


async def test_control_characters_and_halves_of_characters_never_get_through(
    rss: RssSource, server: FeedServer
) -> None:
    odd = "a\u0000b\u0008\ud83d c\ufffe\u202e\u200b"
    entry = {"id": odd, "title": odd, "content_text": odd, "tags": [odd], "author": {"name": odd}}
    [found] = await read(rss, server, json_feed(entry, title=odd))
    assert found.content == "ab\ufffd c"
    assert found.title == found.author == found.tags[0] == "ab\ufffd c"


async def test_json_feeds_of_both_versions_are_read(rss: RssSource, server: FeedServer) -> None:
    entries: list[Any] = [
        {
            "id": 12345678901234567890,
            "url": "https://blog.example/1",
            "external_url": "https://elsewhere.example/",
            "title": "One",
            "content_html": "<p>First</p>",
            "summary": "S",
            "date_published": "2024-01-09T12:00:00+01:00",
            "authors": [{"name": "Ann"}, {"name": "Bob"}],
            "tags": ["a", "b", "a"],
            "language": "de-CH",
            "attachments": [
                {
                    "url": "https://blog.example/1.mp3",
                    "mime_type": "audio/mpeg",
                    "size_in_bytes": 9007199254740993,
                }
            ],
        },
        {"id": 1.5, "author": {"name": "Cid"}, "content_text": "a < b & c", "date_modified": "x"},
        {"id": 9, "content_text": None, "title": None},  # says nothing
        "no object",
    ]
    one, two = await read(rss, server, json_feed(*entries, author={"name": "Feed"}))
    assert one.platform_id.endswith(":12345678901234567890")
    assert one.author == "Ann, Bob"
    assert one.tags == ("a", "b")
    assert one.language == "de-CH"
    assert one.kind == "audio"
    assert one.published_at is not None
    assert one.published_at.isoformat() == "2024-01-09T11:00:00+00:00"
    assert one.raw["enclosures"][0]["length"] == "9007199254740993"
    assert (two.content, two.author) == ("a < b & c", "Cid")


async def test_an_entry_of_nothing_but_a_title_is_its_title(
    rss: RssSource, server: FeedServer
) -> None:
    [found] = await read(rss, server, feed(item("Only this", guid="1", hours=1)))
    assert found.content == found.title == "Only this"
    assert found.author == "Example"


async def test_enclosures_make_the_kind(rss: RssSource, server: FeedServer) -> None:
    def with_enclosure(kind: str) -> str:
        return f'<enclosure url="https://m.example/{kind}" type="{kind}" length="12"/>'

    body = feed(
        *(
            item(kind, guid=kind, hours=1, extra=with_enclosure(kind))
            for kind in ("audio/mpeg", "video/mp4", "image/png")
        )
    )
    found = {i.title: i for i in await read(rss, server, body)}
    assert [i.kind for i in found.values()] == ["audio", "video", "article"]
    assert found["audio/mpeg"].url == "https://m.example/audio/mpeg"


async def test_a_feed_of_many_entries_comes_in_pages(rss: RssSource, server: FeedServer) -> None:
    body = feed(*(item(f"{n}", guid=f"{n}", hours=n) for n in range(450)))
    reader = Reader(rss, server.serve("/feed", Answer(body=body)))
    assert len(await reader.read()) == 450
    assert [len(page.items) for page in reader.pages] == [200, 200, 50]
    assert [page.cursor is None for page in reader.pages] == [True, True, False]


async def test_sizes_are_capped(rss: RssSource, server: FeedServer) -> None:
    huge = "word " * 60_000
    tags = "".join(f"<category>tag {n} {'x' * 300}</category>" for n in range(50))
    body = feed(
        item(
            huge,
            guid="1",
            hours=1,
            body=f"<p>{huge}</p>" * 2,
            extra=f"<author>{huge}</author>{tags}",
        )
    )
    [found] = await read(rss, server, body)
    assert len(found.content) == 100_000
    assert len(found.title) <= 1_000
    assert len(found.author) <= 500
    assert len(found.tags) == 20
    assert 60_000 < len(found.raw["html"].encode()) <= 65_536


async def test_a_cursor_that_makes_no_sense_is_a_first_read(
    rss: RssSource, server: FeedServer
) -> None:
    url = server.serve("/feed", Answer(body=feed(item("A", guid="1", hours=1))))
    wrong = {"etag": 5, "known": {}, "first_seen": [1], "since": "x"}
    cursors: list[Any] = [[], "x", 7, wrong, {"v": 1}]
    for cursor in cursors:
        assert len(await Reader(rss, url, cursor=cursor).read()) == 1

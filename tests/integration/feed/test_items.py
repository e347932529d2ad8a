"""Items: stored once, changed when they changed, listed page by page, searched, counted."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc.db.engine import create_engine
from distill_grpc.feed import ingesting
from distill_grpc.feed.store import item_lists, items
from distill_grpc.feed.store.item_lists import Filters
from distill_grpc.feed.store.items import UpsertCounts
from distill_grpc.sources.base import Item

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
USER = "user_1"


def item(n: int | str, **values: Any) -> Item:
    return Item(
        **{
            "platform_id": str(n),
            "published_at": NOW - timedelta(hours=1),
            "content": f"What was said in {n}",
            **values,
        }
    )


async def store(
    engine: AsyncEngine,
    *given_items: Item,
    user: str = USER,
    source: str = "rss",
    now: datetime = NOW,
) -> UpsertCounts:
    rows = ingesting.rows(source, given_items, since=datetime(2000, 1, 1, tzinfo=UTC), now=now)
    async with engine.begin() as connection:
        return await items.upsert_items(connection, user, source, rows, now)


async def everything(engine: AsyncEngine) -> Any:
    async with engine.connect() as connection:
        return (await connection.execute(text("SELECT *, xmin::text FROM items ORDER BY id"))).all()


async def recent(engine: AsyncEngine, **filters: Any) -> list[str]:
    async with engine.connect() as connection:
        found = await item_lists.list_recent(connection, USER, Filters(**filters))
    return [row.platform_id for row in found]


async def search(engine: AsyncEngine, query: str, **filters: Any) -> list[str]:
    async with engine.connect() as connection:
        found = await item_lists.search_items(connection, USER, Filters(query=query, **filters))
    return [row.platform_id for row in found]


async def test_the_same_page_again_touches_nothing(engine: AsyncEngine) -> None:
    page = [item(n, tags=("news",), metrics={"likes": n}, raw={"n": n}) for n in range(50)]
    assert await store(engine, *page) == (50, 0)
    before = await everything(engine)
    assert await store(engine, *page, now=NOW + timedelta(hours=1)) == (0, 0)
    assert await everything(engine) == before


async def test_what_changed_is_updated_and_keeps_its_id_and_dates(engine: AsyncEngine) -> None:
    await store(engine, item(1), item(2))
    (one, _two) = sorted(await everything(engine), key=lambda row: row.platform_id)
    later = NOW + timedelta(hours=1)
    changed = item(1, content="Corrected", published_at=NOW, raw={"new": True})
    assert await store(engine, changed, item(2), item(3), now=later) == (1, 1)
    (after, two, _three) = sorted(await everything(engine), key=lambda row: row.platform_id)
    assert (after.content, after.raw, after.updated_at) == ("Corrected", {"new": True}, later)
    assert (after.id, after.collected_at, after.published_at) == (
        one.id,
        one.collected_at,
        one.published_at,
    )
    assert two.updated_at == NOW


async def test_the_same_page_from_two_workers_is_stored_once(
    engine: AsyncEngine, database_url: str
) -> None:
    engines = [create_engine(database_url, pool_size=2) for _ in range(4)]
    for attempt in range(12):
        page = [item(f"{attempt}-{n}") for n in range(60)]

        async def one(pool: AsyncEngine, mixed: list[Item]) -> UpsertCounts:
            random.shuffle(mixed)
            return await store(pool, *mixed)

        counts = await asyncio.gather(*(one(pool, list(page)) for pool in engines for _ in "ab"))
        assert sum(count.new for count in counts) == 60
        assert sum(count.updated for count in counts) == 0
    assert len(await everything(engine)) == 720
    await asyncio.gather(*(pool.dispose() for pool in engines))


async def test_users_and_sources_do_not_share_items(engine: AsyncEngine) -> None:
    assert await store(engine, item(1)) == (1, 0)
    assert await store(engine, item(1), user="user_2") == (1, 0)
    assert await store(engine, item(1), source="x") == (1, 0)
    assert await recent(engine, limit=10) == ["1", "1"]


async def test_no_content_is_too_strange_for_the_search_index(engine: AsyncEngine) -> None:
    letters = random.Random(7)
    words = "-".join(
        "".join(chr(0x10400 + letters.randrange(80)) for _ in range(3)) for _ in range(25_000)
    )
    strange = [
        item("words", content=" ".join(f"w{n}" for n in range(15_000))),
        item("compound", content=words, title=words[:900], author=words[:400]),
        item("long", content="x" * 100_000),
        item("urls", content=" ".join(f"http://h{n}.example/p{n}?q={n}" for n in range(3_000))),
        item("signs", content="' \\ : & | ! ( ) * <-> \x01 \ufffe \u202e 👩‍👩‍👧‍👦"),
        item("tags", tags=("'", "\\", "a'b:c", "漢字", "x" * 5_000)),
        item("empty", content=""),
    ]
    for one in strange:
        assert await store(engine, one) == (1, 0)


@pytest.fixture
async def timeline(engine: AsyncEngine) -> list[str]:
    """Items of two sources, several of them in the same second; newest first."""
    chance = random.Random(3)
    made = [
        (
            item(n, published_at=NOW - timedelta(minutes=chance.randrange(8))),
            chance.choice(["rss", "x"]),
        )
        for n in range(60)
    ]
    for one, source in made:
        await store(engine, one, source=source)
    ordered = sorted(
        made,
        key=lambda pair: (pair[0].published_at, ingesting.item_id(pair[1], pair[0].platform_id)),
        reverse=True,
    )
    return [one.platform_id for one, _ in ordered]


@pytest.mark.parametrize("size", [1, 7, 20, 59, 60, 61])
async def test_pages_of_any_size_show_everything_once_in_order(
    engine: AsyncEngine, timeline: list[str], size: int
) -> None:
    seen: list[str] = []
    after: tuple[datetime, UUID] | None = None
    while True:
        async with engine.connect() as connection:
            found = await item_lists.list_recent(connection, USER, Filters(limit=size, after=after))
        page = found[:size]
        seen += [row.platform_id for row in page]
        if len(found) <= size:
            break
        after = (datetime.fromtimestamp(page[-1].published, UTC), page[-1].id)
    assert seen == timeline


async def test_what_is_stored_between_two_pages_disturbs_neither(
    engine: AsyncEngine, timeline: list[str]
) -> None:
    async with engine.connect() as connection:
        first = (await item_lists.list_recent(connection, USER, Filters(limit=30)))[:30]
    await store(engine, *(item(f"new-{n}", published_at=NOW) for n in range(5)))
    after = (datetime.fromtimestamp(first[-1].published, UTC), first[-1].id)
    rest = await recent(engine, limit=100, after=after)
    assert [row.platform_id for row in first] + rest == timeline


async def test_lists_are_filtered(engine: AsyncEngine) -> None:
    hours = [timedelta(hours=n) for n in range(3)]
    await store(engine, *(item(n, published_at=NOW - hours[n], author="Ann") for n in range(3)))
    await store(engine, item("x1", tags=("AI",), author="BOB", raw={"k": [1]}), source="x")
    assert await recent(engine, since=NOW - hours[1], limit=9) in (
        ["0", "1", "x1"],
        ["0", "x1", "1"],
    )
    assert await recent(engine, until=NOW - hours[1], limit=9) == ["2"]
    assert await recent(engine, sources=["x"], limit=9) == ["x1"]
    assert await recent(engine, tags=["ai", "other"], limit=9) == ["x1"]
    assert await recent(engine, authors=["bob"], limit=9) == ["x1"]
    assert await recent(engine, sources=["email"], limit=9) == []
    async with engine.connect() as connection:
        (row,) = await item_lists.list_recent(
            connection, USER, Filters(sources=["x"], with_raw=True)
        )
        (bare,) = await item_lists.list_recent(connection, USER, Filters(sources=["x"]))
    assert row.raw == '{"k": [1]}'
    assert bare.raw is None


async def test_search_finds_words_by_their_stem_in_text_title_author_and_tags(
    engine: AsyncEngine,
) -> None:
    await store(
        engine,
        item("text", content="Several databases were tested"),
        item("title", title="A new database", content="Nothing else"),
        item("author", author="James Database", content="Hello"),
        item("tag", tags=("databases", "Open Source"), content="Hello again"),
        item("none", content="Something different"),
    )
    assert set(await search(engine, "database")) == {"text", "title", "author", "tag"}
    assert await search(engine, "james") == ["author"]
    assert await search(engine, "James") == ["author"]
    assert await search(engine, "open source") == ["tag"]
    assert await search(engine, "open-source") == ["tag"]
    assert await search(engine, "james database") == ["author"]
    assert await search(engine, '"new database"') == ["title"]
    assert set(await search(engine, "database -new -james")) == {"text", "tag"}
    assert set(await search(engine, "james or different")) == {"author", "none"}
    assert await search(engine, "unheard") == []


async def test_search_ranks_the_title_before_the_text(engine: AsyncEngine) -> None:
    filler = "and many other words about the weather of today and tomorrow " * 5
    await store(
        engine,
        item("once", content=f"{filler} comet"),
        item("title", title="A comet", content=filler),
        item("often", content="comet comet comet"),
    )
    found = await search(engine, "comet")
    assert found[0] == "title"
    assert found[-1] == "once"


async def test_search_is_filtered_and_paged(engine: AsyncEngine) -> None:
    await store(engine, *(item(n, content="comet " * (n % 5 + 1), author="Ann") for n in range(40)))
    await store(engine, item("x", content="comet", author="Bob"), source="x")
    assert await search(engine, "comet", sources=["x"]) == ["x"]
    assert await search(engine, "comet", authors=["BOB"]) == ["x"]
    whole = await search(engine, "comet", limit=100)
    assert len(set(whole)) == 41
    seen: list[str] = []
    filters = Filters(query="comet", limit=6)
    while True:
        async with engine.connect() as connection:
            found = await item_lists.search_items(connection, USER, filters)
        seen += [row.platform_id for row in found[:6]]
        if len(found) <= 6:
            break
        filters.after = (datetime.fromtimestamp(found[5].published, UTC), found[5].id)
        filters.after_rank = found[5].rank
    assert seen == whole


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(query=st.text(max_size=30).filter(lambda query: "\x00" not in query))
async def test_no_query_is_an_error(engine: AsyncEngine, query: str) -> None:
    assert await search(engine, query.encode("utf-8", "ignore").decode()) == []


async def test_a_query_of_stop_words_is_known_to_find_nothing(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        assert not await item_lists.has_searchable_words(connection, "the of and")
        assert not await item_lists.has_searchable_words(connection, "!? --")
        assert await item_lists.has_searchable_words(connection, "the comet")


async def test_statistics_count_and_measure(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        nothing = await items.get_statistics(connection, USER, NOW)
    assert (nothing.total, nothing.recent, nothing.stored_bytes, nothing.oldest) == (0, 0, 0, None)
    old = NOW - timedelta(days=3)
    await store(engine, item(1), item(2, published_at=old), item(3, published_at=NOW))
    await store(engine, item(1), source="x")
    await store(engine, item(9), user="user_2")
    async with engine.connect() as connection:
        numbers = await items.get_statistics(connection, USER, NOW - timedelta(hours=24))
        by_source = await items.count_by_source(connection, USER)
    assert (numbers.total, numbers.recent) == (4, 3)
    assert (numbers.oldest, numbers.newest) == (old, NOW)
    assert numbers.stored_bytes > 4 * 100
    assert by_source == {"rss": 3, "x": 1}


async def test_the_last_change_of_a_period_counts_no_late_finds(engine: AsyncEngine) -> None:
    start, end = NOW - timedelta(hours=2), NOW
    await store(engine, item(1))
    await store(engine, item(2, backdated=True), now=NOW + timedelta(hours=1))
    await store(engine, item(3, published_at=NOW), now=NOW + timedelta(hours=1))
    async with engine.connect() as connection:
        assert await items.get_last_change(connection, USER, start, end) == NOW
        found = await items.list_for_digest(connection, USER, start, end, 10)
        assert await items.get_last_change(connection, USER, end, end) is None
    assert [row.platform_id for row in found] == ["1"]

"""Searches and answers as streams: at every door the same as without, whole, and each item once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from distill_grpc import clock
from distill_grpc.db.engine import create_engine
from distill_grpc.feed import search_stream
from distill_grpc.feed.conversion import item_key
from distill_grpc.feed.ingesting import item_id
from distill_grpc.feed.page_tokens import PageTokens
from distill_grpc.feed.reading import Search
from tests.conformance.asking import EVERY_DOOR, AnyDoor
from tests.conformance.seeds import assert_error
from tests.conformance.streaming import ASK, SEARCH, events, opened, streamed
from tests.conformance.users import connect, store, story, watch
from tests.databases import fresh_database
from tests.servers.openai import KEY, MODEL, OpenAiServer, halting, honest, openai_server
from tests.service import DOORS, Door, Service, start_service

Json = Any

BRIDGE = "The bridge over the Moldau reopens on 4 March after two years of repairs."
ANGLERS = "Anglers celebrate with music in spring when the Moldau bridge reopens for them."
QUESTION = {"question": "When does the Moldau bridge reopen?"}
MANY = 5_000
# Together more than the buffers on the way hold.
LONG = "A story. " + "All of it is told at length. " * 100


@pytest.fixture(scope="module")
async def curious(idle: Service) -> str:
    """A user with items that answer the question, and others."""
    await watch(idle, "stream-reader")
    await store(
        idle,
        "stream-reader",
        story(1, title="Bridge", content=BRIDGE),
        story(2, title="Anglers", content=ANGLERS),
        *(story(n, ago=timedelta(minutes=n)) for n in range(3, 40)),
    )
    return "stream-reader"


@pytest.fixture(scope="module")
async def crowded(idle: Service) -> str:
    """A user with very many items."""
    await watch(idle, "stream-crowd")
    stories = [story(n, ago=timedelta(seconds=n), content=LONG) for n in range(MANY)]
    await store(idle, "stream-crowd", *stories)
    return "stream-crowd"


@pytest.mark.parametrize("door", EVERY_DOOR)
async def test_a_streamed_answer_says_what_the_whole_one_says(
    idle: Service, curious: str, door: AnyDoor
) -> None:
    whole = (await idle.call("POST", "/content/ask", QUESTION, user=curious)).body
    *said, (_, done) = await streamed(idle, ASK, QUESTION, user=curious, door=door)
    assert said == [("statement", statement) for statement in whole["statements"]]
    assert len(said) == 2
    assert "reason" not in done
    for about in (whole["metadata"], done["metadata"]):
        del about["processing_time"]
    assert done["metadata"] == whole["metadata"]


@pytest.mark.parametrize("door", EVERY_DOOR)
async def test_what_no_item_holds_is_refused_with_a_reason(
    idle: Service, curious: str, door: AnyDoor
) -> None:
    asked = {"question": "When does the airport in Lisbon close?"}
    ((kind, done),) = await streamed(idle, ASK, asked, user=curious, door=door)
    assert (kind, done["reason"]) == ("done", "nothing_found")


@pytest.mark.parametrize("door", EVERY_DOOR)
@pytest.mark.parametrize("query", ["story", "source:rss", "bridge or anglers", "nothing-like-it"])
async def test_a_streamed_search_is_all_of_its_pages(
    idle: Service, curious: str, door: AnyDoor, query: str
) -> None:
    wanted = {"query": query, "highlight": True}
    found = await idle.call("POST", "/content/search", {**wanted, "limit": 500}, user=curious)
    *items, (_, done) = await streamed(idle, SEARCH, wanted, user=curious, door=door)
    assert [item for _, item in items] == found.body["data"]
    assert {kind for kind, _ in items} <= {"item"}
    for about in (found.body["metadata"], done):
        del about["query_time"]
    assert done == found.body["metadata"]


@pytest.mark.parametrize("door", DOORS)
async def test_errors_before_the_first_event_are_ordinary_answers(
    idle: Service, curious: str, door: Door
) -> None:
    for rpc, body, user, code, details in (
        (ASK, QUESTION, "nobody-streams", "not_watching", None),
        (SEARCH, {"query": "a"}, "nobody-streams", "not_watching", None),
        (ASK, {}, curious, "invalid_argument", {"question"}),
        (ASK, {"question": "a", "sources": ["nowhere"]}, curious, "invalid_argument", {"sources[0]"}),
        (SEARCH, {"query": "since:soon"}, curious, "invalid_argument", {"query"}),
        (SEARCH, {"query": "a", "limit": 5}, curious, "invalid_argument", {"limit"}),
        (SEARCH, {"query": "a", "page_token": "x"}, curious, "invalid_argument", {"page_token"}),
    ):  # fmt: skip
        answer = await idle.call("POST", rpc.path, body, user=user, door=door)
        assert_error(answer, code, details=details)


async def test_nobody_is_answered_from_anothers_items(idle: Service, curious: str) -> None:
    await watch(idle, "stream-stranger")
    ((_, done),) = await streamed(idle, ASK, QUESTION, user="stream-stranger")
    assert done["reason"] == "nothing_found"
    ((_, found),) = await streamed(idle, SEARCH, {"query": "story"}, user="stream-stranger")
    assert found["count"] == 0


@pytest.mark.parametrize("door", DOORS)
async def test_thousands_of_items_come_once_each_while_others_arrive(
    idle: Service, crowded: str, door: Door
) -> None:
    known = {key(number) for number in range(MANY)}
    changing = 4_000
    found: list[str] = []
    async with opened(idle, SEARCH, {"query": "story"}, user=crowded, door=door) as response:
        async for kind, told in events(response):
            if kind == "done":
                assert (told["done"]["count"], told["done"]["has_more"]) == (len(found), False)
                break
            found.append(told["item"]["id"])
            if len(found) % 1000 == 1:  # a newer one, and one that changes while it is read
                newer = story(MANY + len(found), content="A story of today.")
                again = story(changing, title=f"{len(found)} stories", ago=timedelta(hours=2))
                await store(idle, crowded, newer, again)
    assert len(found) == len(set(found))
    assert set(found) >= known - {key(changing)}


def key(number: int) -> str:
    """The id of a story."""
    return item_key(item_id("rss", f"story-{number}"))


async def test_an_item_that_sinks_while_it_is_read_comes_once(
    idle: Service, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_stream, "PAGE", 2)
    await watch(idle, user)
    contents = [f"{'A story. ' * (9 - n)} Number {n} of them." for n in range(8)]
    ids = await store(idle, user, *(story(n, content=text) for n, text in enumerate(contents)))
    engine = create_engine(idle.settings.database_url or "", pool_size=1)
    found: list[str] = []
    pages = search_stream.pages(
        engine,
        PageTokens(b"k" * 32),
        user,
        Search(text="story"),
        known_sources=("rss",),
        page_token=None,
        now=clock.utc_now(),
    )
    async for page in pages:
        found += [item_key(row.id) for row in page.listing.items]
        if len(found) == 2:  # the first of them is worth less now, and lies before the reader again
            sunk = story(ids.index(found[0]), content=f"{'Nothing. ' * 200} A story.", title="")
            await store(idle, user, sunk)
    await engine.dispose()
    assert sorted(found) == sorted(ids)


async def test_past_its_bound_a_stream_says_how_to_go_on(
    idle: Service, crowded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_stream, "MOST", 2_000)
    wanted: dict[str, Json] = {"query": "story"}
    found: list[str] = []
    sizes = []
    while True:
        *items, (_, done) = await streamed(idle, SEARCH, wanted, user=crowded)
        found += [item["id"] for _, item in items]
        sizes.append(done["count"])
        assert done["has_more"] is ("next_page_token" in done)
        if not done["has_more"]:
            break
        wanted["page_token"] = done["next_page_token"]
    assert sizes[:2] == [2_000, 2_000]
    assert len(found) == len(set(found)) >= MANY


async def test_a_page_of_a_search_goes_on_as_a_stream(idle: Service, crowded: str) -> None:
    body = {"query": "story", "limit": 500}
    page = (await idle.call("POST", "/content/search", body, user=crowded)).body
    token = page["metadata"]["next_page_token"]
    *items, _ = await streamed(idle, SEARCH, {"query": "story", "page_token": token}, user=crowded)
    rest = {item["id"] for _, item in items}
    assert not rest & {item["id"] for item in page["data"]}
    assert len(rest) >= MANY - 500


@pytest.mark.parametrize("door", DOORS)
async def test_who_reads_slowly_or_leaves_holds_no_transaction(
    idle: Service, crowded: str, door: Door
) -> None:
    async with opened(idle, SEARCH, {"query": "story"}, user=crowded, door=door) as response:
        await response.content.readuntil(b"\n\n")
        await _quiet(idle)  # the buffers on the way are full, and the core waits
        assert (await response.read()).rpartition(b"event: ")[2].startswith(b"done")
    # More than a core has connections, one after the other and left in the middle.
    for _ in range(25):
        async with opened(idle, SEARCH, {"query": "story"}, user=crowded, door=door) as response:
            await response.content.readuntil(b"\n\n")
    await _quiet(idle)
    answers = await asyncio.gather(
        *(idle.call("GET", "/content/recent", user=crowded, door=door) for _ in range(20))
    )
    assert {answer.status for answer in answers} == {200}


async def _quiet(service: Service) -> None:
    """Returns when the core has asked the database for no items for half a second."""
    async with asyncio.timeout(60):
        seen = 0
        while seen < 5:
            seen = 0 if await _in_transactions(service) else seen + 1
            await asyncio.sleep(0.1)


async def _in_transactions(service: Service) -> int:
    """Connections to the database in the middle of something."""
    address = service.settings.database_url or ""
    async with await psycopg.AsyncConnection.connect(address) as connection:
        cursor = await connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND application_name = 'distill'"
            " AND (state LIKE 'idle in transaction%' OR state = 'active' AND query LIKE '%items%')"
        )
        (number,) = await cursor.fetchone() or (0,)
    return int(number)


@pytest.fixture(scope="module")
async def model() -> AsyncIterator[OpenAiServer]:
    """A model that stops in the middle of its answer until it is told to go on."""
    async with openai_server(honest, streams=halting) as server:
        yield server


@pytest.fixture(scope="module")
async def answering(
    postgres: str, tmp_path_factory: pytest.TempPathFactory, model: OpenAiServer
) -> AsyncIterator[Service]:
    """A service whose answers that model writes."""
    with fresh_database(postgres) as address:
        async with start_service(
            address,
            tmp_path_factory.mktemp("answering"),
            worker=False,
            openai_api_key=KEY,
            openai_base_url=model.url,
            summary_model=MODEL,
        ) as running:
            yield running


async def _reserved(service: Service) -> tuple[int, int]:
    """Tokens set aside now, and tokens spent, of all users."""
    address = service.settings.database_url or ""
    async with await psycopg.AsyncConnection.connect(address) as connection:
        cursor = await connection.execute(
            "SELECT coalesce(sum(reserved), 0), coalesce(sum(prompt_tokens + completion_tokens), 0)"
            " FROM llm_usage"
        )
        reserved, spent = await cursor.fetchone() or (0, 0)
    return int(reserved), int(spent)


@pytest.mark.parametrize("door", DOORS)
async def test_who_leaves_a_model_in_the_middle_ends_its_work_and_settles_the_budget(
    answering: Service, model: OpenAiServer, user: str, door: Door
) -> None:
    await connect(answering, user, settings={"feeds": ["https://feeds.example/feed.xml"]})
    await watch(answering, user)
    await store(answering, user, story(1, content=BRIDGE), story(2, content=ANGLERS))
    _, spent_before = await _reserved(answering)
    async with opened(answering, ASK, QUESTION, user=user, door=door) as response:
        async for kind, told in events(response):
            assert kind == "statement"
            assert told["statement"]["items"]
            break  # the first sentence is there, the model has not ended
        reserved, _ = await _reserved(answering)
        assert reserved > 0
        response.close()
    async with asyncio.timeout(60):
        while (await _reserved(answering))[0]:
            await asyncio.sleep(0.05)
    _, spent = await _reserved(answering)
    assert spent - spent_before == reserved
    assert model.current.transport is None or model.current.transport.is_closing()

"""Items get vectors in the background: each text once, within its user's budget, through any accident."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from distill_grpc.feed import item_embedding, preferring, retention
from distill_grpc.feed.digesting import Digester, Spender
from distill_grpc.feed.item_embedding import ItemEmbedder
from distill_grpc.feed.periods import period
from distill_grpc.feed.query_embedding import Seeker
from distill_grpc.feed.store import embedding_states as states
from distill_grpc.feed.store import embeddings as store
from distill_grpc.llm.embedding import Embedder
from distill_grpc.llm.offline import OfflineSummariser
from distill_grpc.sources.base import Item, Page
from tests.integration.feed.scripted import items
from tests.integration.feed.world import USER, World, caller
from tests.servers.embeddings import (
    FAULTS,
    MODEL,
    EmbeddingsServer,
    embeddings_server,
    honest,
)
from tests.servers.openai import KEY

LIMIT = 200_000


@pytest.fixture
async def server() -> AsyncIterator[EmbeddingsServer]:
    async with embeddings_server(honest) as running:
        yield running


@pytest.fixture
async def embedder(world: World, server: EmbeddingsServer) -> AsyncIterator[Embedder]:
    """A model that the world's items are embedded by."""
    made = Embedder.open(api_key=KEY, base_url=server.url, model=MODEL)
    world.seeker = Seeker(engine=world.engine, embedder=made, llm_daily_tokens=LIMIT, floor=0.25)
    yield made
    await made.close()


def job(world: World, limit: int = LIMIT) -> ItemEmbedder:
    assert world.seeker is not None
    return ItemEmbedder(
        engine=world.engine,
        embedder=world.seeker.embedder,
        llm_daily_tokens=limit,
        now=world.now,
    )


async def work(world: World, limit: int = LIMIT) -> int:
    """Does what is due; returns how many turns that took."""
    return await job(world, limit).work()


def texts(world: World, *contents: str, first: int = 0, **changes: Any) -> list[Item]:
    found = items("a", range(first, first + len(contents)), world.now())
    return [
        replace(item, title="", content=content, **changes)
        for item, content in zip(found, contents, strict=True)
    ]


async def collected(world: World, *contents: str, user: str = USER, **more: Any) -> None:
    """A sync that brings an item for each text."""
    world.source.plays(Page(part="a", items=texts(world, *contents, **more)))
    await world.sync(user=user)


async def watched(world: World, user: str = USER) -> None:
    world.source.plays()
    await world.sync(await world.watch(user), user)


async def embedded(world: World, user: str = USER) -> dict[str, str]:
    """The models of the texts that have a vector for what they say now."""
    rows = await world.ask(
        "SELECT content, model FROM items JOIN embeddings e ON e.user_id = items.user_id"
        " AND item_id = id AND e.content_hash = items.content_hash"
        " WHERE items.user_id = :user AND vector IS NOT NULL",
        user=user,
    )
    return {row.content: row.model for row in rows}


async def state(world: World, user: str = USER) -> Any:
    (row,) = await world.ask("SELECT * FROM embedding_states WHERE user_id = :user", user=user)
    return row


async def usage(world: World, user: str = USER) -> tuple[int, int]:
    """Tokens that are spent and those that are set aside."""
    rows = await world.ask(
        "SELECT prompt_tokens, reserved FROM llm_usage WHERE user_id = :user", user=user
    )
    return (rows[0].prompt_tokens, rows[0].reserved) if rows else (0, 0)


async def test_what_a_sync_brings_gets_vectors_and_is_paid(
    world: World, embedder: Embedder, server: EmbeddingsServer
) -> None:
    await watched(world)
    assert await world.ask("SELECT 1 FROM embedding_states") == []  # there is nothing to embed
    await collected(world, "A bridge.", "A car.")
    assert await work(world) == 1
    assert await work(world) == 0
    assert await embedded(world) == {"A bridge.": MODEL, "A car.": MODEL}
    assert (await state(world)).due_at is None
    assert await usage(world) == (server.counted, 0)


async def test_no_text_is_embedded_twice(
    world: World, embedder: Embedder, server: EmbeddingsServer
) -> None:
    await watched(world)
    await collected(world, "A bridge.", "A car.", "A bridge.")
    await work(world)
    assert sorted(server.texts) == ["A bridge.", "A car."]
    await collected(world, "A bridge.", "A car.", "A bridge.")
    assert await work(world) == 0
    await collected(world, "A bridge.", "A car.", metrics={"likes": 9.0})
    await collected(world, "A car.", first=7)
    assert await work(world) == 1
    assert len(server.texts) == 2
    assert len(await world.ask("SELECT 1 FROM embeddings WHERE vector IS NOT NULL")) == 4


async def test_a_changed_text_gets_another_vector(
    world: World, embedder: Embedder, server: EmbeddingsServer
) -> None:
    await watched(world)
    await collected(world, "A bridge.")
    await work(world)
    await collected(world, "A car.")
    assert await embedded(world) == {}
    await work(world)
    assert await embedded(world) == {"A car.": MODEL}
    assert server.texts == ["A bridge.", "A car."]


async def test_one_users_vectors_are_never_anothers(
    world: World, embedder: Embedder, server: EmbeddingsServer
) -> None:
    for user in ("user_1", "user_2"):
        await watched(world, user)
        await collected(world, "A bridge.", user=user)
        await work(world)
    assert server.texts == ["A bridge.", "A bridge."]
    assert (await usage(world, "user_1")) == (await usage(world, "user_2")) != (0, 0)


async def test_another_model_embeds_everything_anew(
    world: World, embedder: Embedder, server: EmbeddingsServer
) -> None:
    await watched(world)
    await collected(world, "A bridge.", "A car.")
    await job(world).begin()
    await work(world)
    await job(world).begin()
    assert await work(world) == 0
    embedder.wanted_dimensions = 8
    await job(world).begin()
    assert await work(world) == 1
    assert await embedded(world) == {"A bridge.": f"{MODEL}@8", "A car.": f"{MODEL}@8"}
    assert len(server.texts) == 4


async def test_users_from_before_the_model_are_embedded_too(
    world: World, embedder: Embedder, server: EmbeddingsServer
) -> None:
    seeker, world.seeker = world.seeker, None
    await watched(world)
    await collected(world, "A bridge.")
    world.seeker = seeker
    assert await work(world) == 0
    await job(world).begin()
    assert await work(world) == 1
    assert len(await embedded(world)) == 1


async def test_vectors_of_another_size_are_replaced(
    world: World, embedder: Embedder, server: EmbeddingsServer
) -> None:
    await watched(world)
    await collected(world, "A bridge.")
    await work(world)
    server.dimensions = 12
    await collected(world, "A car.", first=1)
    await work(world)
    sizes = await world.ask("SELECT DISTINCT vector_dims(vector), dimensions FROM embeddings")
    assert [tuple(row) for row in sizes] == [(12, 12)]


async def test_a_server_that_changes_its_size_all_the_time_is_left_alone_at_last(
    world: World, embedder: Embedder, server: EmbeddingsServer
) -> None:
    async def fickle(server: EmbeddingsServer, body: Any) -> Any:
        size = 5 + len(server.requests) % 2
        return server.answer([[1.0] * size for _ in body["input"]])

    server.mind = fickle
    await watched(world)
    await collected(world, *(f"Text {n}." for n in range(item_embedding.BATCH + 1)))
    await work(world)
    assert len(server.requests) < 8
    assert (await state(world)).due_at > world.now()


async def test_items_take_half_of_the_budget_and_wait_for_tomorrow(
    world: World, embedder: Embedder, server: EmbeddingsServer
) -> None:
    limit = 2_000
    await watched(world)
    await collected(world, *(f"{n} {'text ' * 40}" for n in range(40)))
    await work(world, limit)
    spent, reserved = await usage(world)
    assert 0 < spent <= limit * item_embedding.SHARE
    assert reserved == 0
    assert spent == server.counted
    some = len(await embedded(world))
    assert 0 < some < 40
    due = (await state(world)).due_at
    midnight = datetime.combine(world.now().date() + timedelta(days=1), time(), UTC)
    assert midnight <= due <= midnight + timedelta(minutes=5)
    await collected(world, "One more.", first=50)  # a sync does not make it due earlier
    assert await work(world, limit) == 0
    world.ahead = due - world.now() + timedelta(seconds=1)
    assert await work(world, limit) == 1
    assert len(await embedded(world)) > some
    assert len(server.texts) == len(set(server.texts))


@pytest.mark.parametrize("why", ["credits", "own limit"])
async def test_without_credits_or_with_a_limit_of_nothing_nothing_is_asked(
    world: World, embedder: Embedder, server: EmbeddingsServer, why: str
) -> None:
    await watched(world)
    who = replace(caller(), credits_available=why != "credits")
    wish = {"daily_llm_tokens": 0} if why == "own limit" else {}
    async with world.engine.begin() as connection:
        await preferring.update(
            connection, who, wish, known_sources=tuple(world.sources), now=world.now()
        )
    await collected(world, "A bridge.")
    await work(world)
    assert server.requests == []
    assert await usage(world) == (0, 0)


@pytest.mark.parametrize("fault", ["500", "NaN", "403", "429 with a wait", "one vector less"])
async def test_after_a_failure_it_waits_longer_each_time_and_loses_nothing(
    world: World, embedder: Embedder, server: EmbeddingsServer, fault: str
) -> None:
    server.mind = FAULTS[fault][0]
    await watched(world)
    await collected(world, "A bridge.", "A car.")
    waits = []
    for _ in range(4):
        assert await work(world) == 1
        row = await state(world)
        waits.append(row.due_at - world.now())
        assert await work(world) == 0
        world.ahead += waits[-1] + timedelta(seconds=1)
    assert (await state(world)).failures == 4 == len(server.requests)
    assert waits[0] >= timedelta(seconds=29 if "wait" in fault else 11)
    assert waits[-1] > waits[0]
    server.mind = honest
    assert await work(world) == 1
    assert len(await embedded(world)) == 2
    row = await state(world)
    assert (row.due_at, row.failures) == (None, 0)
    assert (await usage(world))[1] == 0


async def test_a_text_that_the_model_does_not_take_is_asked_for_once(
    world: World, embedder: Embedder, server: EmbeddingsServer
) -> None:
    server.longest = 100
    await watched(world)
    await collected(world, "A bridge.", "word " * 100, "", "...")
    await work(world)
    assert await embedded(world) == {"A bridge.": MODEL}
    assert await world.ask("SELECT 1 FROM embeddings WHERE vector IS NULL") == [(1,)] * 3
    asked = len(server.requests)
    await job(world).mark_due(USER)
    assert await work(world) == 0
    assert len(server.requests) == asked


class Killed(BaseException):
    """A worker dies here."""


@pytest.mark.parametrize(
    "where", ["hold", "list_pending", "reuse_vectors", "insert_vectors", "release"]
)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_worker_that_dies_anywhere_is_replaced_and_nothing_is_asked_for_twice(
    world: World,
    embedder: Embedder,
    server: EmbeddingsServer,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    when: str,
) -> None:
    monkeypatch.setattr(item_embedding, "BATCH", 2)
    await watched(world)
    await collected(world, *(f"Text {n}." for n in range(5)))
    owner = states if where in {"hold", "release"} else store
    real, nth, calls = getattr(owner, where), 1 if where == "release" else 2, 0

    async def dies(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth and when == "before":
            raise Killed
        result = await real(*arguments, **options)
        if calls == nth:
            raise Killed
        return result

    monkeypatch.setattr(owner, where, dies)
    with pytest.raises(Killed):
        await work(world)
    monkeypatch.setattr(owner, where, real)
    assert await work(world) == 0  # the claim holds for a while
    world.ahead = item_embedding.LEASE + timedelta(seconds=1)
    assert await work(world) == 1
    assert len(await embedded(world)) == 5
    assert (await state(world)).due_at is None
    # What was paid for and not stored is the batch in flight, at the most.
    lost = 2 if where == "insert_vectors" else 0
    assert len(server.texts) <= 5 + lost


async def test_a_claim_that_another_took_over_does_nothing_more(
    world: World, embedder: Embedder, server: EmbeddingsServer
) -> None:
    await watched(world)
    await collected(world, "A bridge.")
    async with world.engine.begin() as connection:
        first = await states.claim_due(connection, world.now(), item_embedding.LEASE)
    assert first is not None
    world.ahead = item_embedding.LEASE + timedelta(seconds=1)
    await work(world)
    await job(world).take_turn(USER, first.attempt)
    assert len(server.requests) == 1
    assert (await state(world)).due_at is None


async def test_what_is_stored_while_the_last_batch_is_made_is_not_forgotten(
    world: World, embedder: Embedder, server: EmbeddingsServer
) -> None:
    async def meanwhile(server: EmbeddingsServer, body: Any) -> Any:
        if len(server.requests) == 1:
            await collected(world, "A car.", first=1)
        return await honest(server, body)

    server.mind = meanwhile
    await watched(world)
    await collected(world, "A bridge.")
    await work(world)
    assert len(await embedded(world)) == 2


async def test_an_item_that_changes_while_it_is_embedded_gets_the_vector_of_its_new_text(
    world: World, embedder: Embedder, server: EmbeddingsServer
) -> None:
    async def meanwhile(server: EmbeddingsServer, body: Any) -> Any:
        if len(server.requests) == 1:
            await collected(world, "A car.")
        return await honest(server, body)

    server.mind = meanwhile
    await watched(world)
    await collected(world, "A bridge.")
    await work(world)
    assert await embedded(world) == {"A car.": MODEL}
    assert server.texts == ["A bridge.", "A car."]


async def test_an_item_that_goes_while_it_is_embedded_leaves_nothing(
    world: World, embedder: Embedder, server: EmbeddingsServer
) -> None:
    async def meanwhile(server: EmbeddingsServer, body: Any) -> Any:
        await world.tell("DELETE FROM items")
        return await honest(server, body)

    server.mind = meanwhile
    await watched(world)
    await collected(world, "A bridge.")
    await work(world)
    assert await world.ask("SELECT 1 FROM embeddings") == []
    assert (await state(world)).due_at is None


async def test_vectors_go_with_their_items(
    world: World, embedder: Embedder, server: EmbeddingsServer
) -> None:
    await watched(world)
    await collected(world, "A bridge.")
    await work(world)
    world.ahead = world.policy.raw_retention + timedelta(hours=1)
    assert (await retention.enforce(world.engine, world.policy, world.now()))["items"] == 1
    assert await world.ask("SELECT 1 FROM embeddings") == []


async def test_who_does_not_watch_is_not_embedded(
    world: World, embedder: Embedder, server: EmbeddingsServer
) -> None:
    await watched(world)
    await collected(world, "A bridge.")
    await world.unwatch()
    assert await work(world) == 0
    await world.watch()
    assert await work(world) == 1


async def test_a_user_with_very_many_items_lets_others_have_their_turn(
    world: World, embedder: Embedder, server: EmbeddingsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_embedding, "BATCH", 1)
    monkeypatch.setattr(item_embedding, "TURN", 2)
    await watched(world, "user_1")
    await collected(world, *(f"Text {n}." for n in range(5)), user="user_1")
    await watched(world, "user_2")
    await collected(world, "A car.", user="user_2")
    await work(world)
    assert server.texts.index("A car.") == 2
    assert len(server.texts) == 6


async def test_a_fault_of_our_own_is_about_one_user_and_tried_again(
    world: World, embedder: Embedder, server: EmbeddingsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store.reuse_vectors

    async def fails_for_one(connection: Any, user_id: str, *more: Any) -> Any:
        if user_id == "user_1":
            raise ValueError("what nobody thought of")
        return await real(connection, user_id, *more)

    for user in ("user_1", "user_2"):
        await watched(world, user)
        await collected(world, "A bridge.", user=user)
    monkeypatch.setattr(store, "reuse_vectors", fails_for_one)
    assert await work(world) == 2
    assert len(await embedded(world, "user_2")) == 1
    monkeypatch.setattr(store, "reuse_vectors", real)
    assert await work(world) == 0
    world.ahead = timedelta(minutes=6)
    assert await work(world) == 1
    assert len(await embedded(world, "user_1")) == 1


async def test_a_worker_that_stops_hands_over_at_once(
    world: World, embedder: Embedder, server: EmbeddingsServer
) -> None:
    server.mind = FAULTS["timeout"][0]
    await watched(world)
    await collected(world, "A bridge.")
    working = asyncio.create_task(work(world))
    while not server.requests:
        await asyncio.sleep(0.01)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    server.mind = honest
    assert await work(world) == 1
    assert len(await embedded(world)) == 1
    assert (await usage(world))[1] == 0


async def test_a_claim_is_kept_while_the_model_takes_its_time(
    world: World, embedder: Embedder, server: EmbeddingsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(server: EmbeddingsServer, body: Any) -> Any:
        await asyncio.sleep(1.5)
        return await honest(server, body)

    monkeypatch.setattr(item_embedding, "LEASE", timedelta(seconds=0.6))
    server.mind = slow
    await watched(world)
    await collected(world, "A bridge.")
    working = asyncio.create_task(work(world))
    while not server.requests:
        await asyncio.sleep(0.01)
    await asyncio.sleep(1)
    assert await work(world) == 0
    assert await working == 1
    assert len(server.requests) == 1


async def test_two_workers_share_the_users_and_embed_each_text_once(
    world: World, embedder: Embedder, server: EmbeddingsServer
) -> None:
    for number in range(6):
        await watched(world, f"user_{number}")
        await collected(world, f"Text {number}.", user=f"user_{number}")
    done = await asyncio.gather(*(work(world) for _ in range(3)))
    assert sum(done) == 6
    assert sorted(server.texts) == [f"Text {number}." for number in range(6)]


async def test_the_tags_of_a_sync_do_not_depend_on_vectors(
    world: World, embedder: Embedder, server: EmbeddingsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no vectors today")

    await watched(world)
    monkeypatch.setattr(states, "mark_due", fails)
    await collected(world, "A bridge.")
    (run, *_) = await world.ask("SELECT status FROM sync_runs ORDER BY queued_at DESC")
    assert run.status == "partial"
    monkeypatch.undo()
    await collected(world)
    assert await work(world) == 1


async def test_a_digest_sees_by_meaning_who_tells_the_same(
    world: World, embedder: Embedder, server: EmbeddingsServer
) -> None:
    said = (
        "Car maker Acme Motors is to shed 400 positions at its plant in Dresden by summer.",
        "Hundreds face dismissal: Acme Motors told staff in Dresden that 400 roles will go.",
    )

    async def alike(server: EmbeddingsServer, body: Any) -> Any:
        return server.answer([[1.0, 0.0] for _ in body["input"]])

    await watched(world)
    await collected(world, *said)
    digester = Digester(engine=world.engine, summariser=OfflineSummariser(), llm_daily_tokens=LIMIT)
    today = period("daily", None, "UTC", world.now())
    spender = Spender(credits_available=True)
    by_words = await digester.get_summary(USER, today, spender, world.now())
    assert len(by_words.content["highlights"]) == 2
    server.mind = alike
    await work(world)
    digester = replace(digester, embedding_model=MODEL)
    by_meaning = await digester.get_summary(USER, today, spender, world.now(), anew=True)
    (highlight,) = by_meaning.content["highlights"]
    assert len(highlight["items"]) == 2
    digester = replace(digester, embedding_model="another")
    without = await digester.get_summary(USER, today, spender, world.now(), anew=True)
    assert len(without.content["highlights"]) == 2


@pytest.mark.parametrize("vector", [[1.0, 1e-300], [1e300, 1.0], [3e-45, 0.0], [1] * 16_000])
async def test_vectors_with_odd_numbers_are_stored(
    world: World, embedder: Embedder, server: EmbeddingsServer, vector: list[float]
) -> None:
    async def odd(server: EmbeddingsServer, _body: Any) -> Any:
        return server.answer([vector])

    server.mind = odd
    await watched(world)
    await collected(world, "A bridge.")
    await work(world)
    (row,) = await world.ask("SELECT dimensions, vector_norm(vector) AS length FROM embeddings")
    assert (row.dimensions, row.length) == (len(vector), pytest.approx(1.0))

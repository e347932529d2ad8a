"""What is past its time goes, wholly; nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.feed import connecting, preferring, retention
from distill_grpc.feed.budgets import PostgresBudgets, spending_for
from distill_grpc.feed.store import (
    digest_mails,
    embedding_states,
    embeddings,
    llm_usage,
    tags,
    tokens,
    turns,
)
from distill_grpc.sources.base import Page
from distill_grpc.sources.budgets import Budget, SlidingWindow
from tests.integration.feed.pushed import SECRET, Pushed, PushedSource
from tests.integration.feed.scripted import items
from tests.integration.feed.world import World, caller

BUDGET = Budget(name="scripted.requests", strategy=SlidingWindow(limit=9, seconds=60))
WEEK = timedelta(days=7)
# Every table of ours that says whose a row is.
OWNED = """
SELECT c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE a.attname IN ('user_id', 'spender') AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
ORDER BY 1
"""


async def enforce(world: World) -> dict[str, int]:
    return await retention.enforce(world.engine, world.policy, world.now())


async def filled(world: World, user: str) -> None:
    """A user with something in every table."""
    if not isinstance(world.source, PushedSource):
        world.sources = {"scripted": PushedSource(parts=("a",))}
    world.source.plays(Page(part="a", items=items("a", range(4), world.now())))
    await world.sync(await world.watch(user), user)
    await world.connect(user, credentials={"webhook_secret": SECRET})
    pushed = Pushed(world)
    await pushed.deliver(pushed.key(await pushed.endpoint(user=user)))
    await world.sync(user=user, trigger="request", types=("content/summary/daily",))
    async with world.engine.begin() as connection:
        await preferring.update(
            connection, caller(user), {}, known_sources=tuple(world.sources), now=world.now()
        )
        today = world.now().date()
        await digest_mails.insert_mail(
            connection, user, period="daily", day=today, tz="UTC", now=world.now()
        )
        assert await llm_usage.reserve(connection, user, today, 10, 100)
        assert await turns.claim(connection, user, "work", uuid4(), timedelta(days=40))
        await llm_usage.insert_remembered(connection, user, {"key": ["said"]}, world.now())
        await tags.upsert_vocabulary(connection, user, [], world.now())
        await embedding_states.mark_due(connection, user, "a model", world.now())
        await embed(connection, user)
        await tokens.upsert_tokens(connection, user, "scripted", sealed=b"-", good_until=None)
    with spending_for(user):
        await PostgresBudgets(world.engine).reserve(BUDGET, user)


async def embed(connection: AsyncConnection, user: str) -> None:
    """Every item of a user gets a vector."""
    rows = await embeddings.list_pending(
        connection, user, "a model", None, characters=100, limit=100
    )
    texts = [embeddings.Text(row.id, row.id.bytes, row.content_hash, "") for row in rows]
    made: dict[bytes, Sequence[float] | None] = {text.text_hash: [1.0] for text in texts}
    await embeddings.insert_vectors(connection, user, "a model", texts, made)


async def rows_of(world: World, user: str) -> dict[str, int]:
    counts = {}
    for (table,) in await world.ask(OWNED):
        column = "spender" if table == "platform_budgets" else "user_id"
        found = await world.ask(f"SELECT count(*) FROM {table} WHERE {column} = :user", user=user)
        counts[table] = int(found[0][0])
    return counts


async def test_a_user_who_left_is_deleted_from_every_table_and_nobody_else_is(
    world: World,
) -> None:
    await filled(world, "user_1")
    await filled(world, "user_2")
    before = await rows_of(world, "user_1")
    assert len(before) == 19
    assert all(before.values()), "every table must have something to delete"
    await world.unwatch("user_1")
    world.ahead = WEEK - timedelta(minutes=1)
    assert (await enforce(world))["users"] == 0
    assert await rows_of(world, "user_1") == before
    others = await rows_of(world, "user_2")
    await world.tell(
        "UPDATE watches SET purge_at = now() - interval '1 second' WHERE user_id = 'user_1'"
    )
    assert (await enforce(world))["users"] == 1
    assert not any((await rows_of(world, "user_1")).values())
    assert await rows_of(world, "user_2") == others
    assert "user_1" not in str(
        await world.ask("SELECT args FROM procrastinate_jobs WHERE status <> 'todo'")
    )


async def test_who_comes_back_in_time_keeps_everything(world: World) -> None:
    await filled(world, "user_1")
    await world.unwatch("user_1")
    world.ahead = WEEK - timedelta(hours=1)
    await world.watch("user_1")
    await world.tell("UPDATE items SET collected_at = now() + interval '7 days'")
    world.ahead = WEEK + timedelta(hours=1)
    assert (await enforce(world))["users"] == 0
    assert len(await world.stored()) == 4


async def test_items_runs_and_summaries_go_at_their_own_times(world: World) -> None:
    await filled(world, "user_1")
    world.ahead = WEEK - timedelta(minutes=1)
    assert not any((await enforce(world)).values())
    world.ahead = WEEK + timedelta(minutes=1)
    gone = await enforce(world)
    assert (gone["items"], gone["summaries"], gone["users"]) == (4, 0, 0)
    assert (gone["llm_memory"], gone["digest_mails"], gone["llm_usage"]) == (1, 0, 0)
    assert gone["sync_runs"] == 2
    assert await world.ask("SELECT 1 FROM sync_run_sources") == []
    world.ahead = timedelta(days=30, minutes=1)
    gone = await enforce(world)
    assert (gone["summaries"], gone["digest_mails"]) == (1, 1)
    assert (await world.watched()).unwatched_at is None


@pytest.mark.parametrize("batch", [1, 3, 5, 100])
async def test_any_number_goes_in_batches_of_any_size(
    world: World, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(retention, "BATCH", batch)
    monkeypatch.setattr(retention, "USERS", batch)
    world.source.plays(Page(part="a", items=items("a", range(15), world.now())))
    for user in ("user_1", "user_2", "user_3"):
        await world.sync(await world.watch(user), user)
    await world.unwatch("user_1")
    await world.unwatch("user_2")
    world.ahead = WEEK + timedelta(minutes=1)
    gone = {name: count for name, count in (await enforce(world)).items() if count}
    assert gone == {"items": 45, "sync_runs": 3, "users": 2}


async def test_workers_that_tidy_up_at_the_same_time_do_not_disturb_each_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 20)
    world.source.plays(Page(part="a", items=items("a", range(50), world.now())))
    for n in range(4):
        await world.sync(await world.watch(f"user_{n}"), f"user_{n}")
        await world.unwatch(f"user_{n}")
    world.ahead = WEEK + timedelta(minutes=1)
    await asyncio.gather(*(enforce(world) for _ in range(4)))
    await enforce(world)
    for n in range(4):
        assert not any((await rows_of(world, f"user_{n}")).values())


async def test_tidying_up_does_not_wait_for_a_page_that_is_being_stored(world: World) -> None:
    await filled(world, "user_1")
    world.ahead = WEEK + timedelta(minutes=1)
    async with world.engine.begin() as storing:
        await storing.execute(
            text("UPDATE items SET content = 'changed' WHERE platform_id = 'a-1'")
        )
        async with asyncio.timeout(14):
            assert (await enforce(world))["items"] == 3
    assert (await enforce(world))["items"] == 1


async def test_a_disconnected_account_leaves_its_items_and_nothing_else(world: World) -> None:
    await filled(world, "user_1")
    async with world.engine.begin() as connection:
        await connecting.disconnect(connection, "user_1", "scripted", now=world.now())
    left = await rows_of(world, "user_1")
    assert (left["connections"], left["connection_parts"]) == (0, 0)
    assert left["items"] == 4

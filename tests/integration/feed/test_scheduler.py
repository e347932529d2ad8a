"""Ticks: who is due gets exactly one run, whoever asks and however often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc.db.engine import create_engine
from distill_grpc.feed import syncing
from distill_grpc.feed.store import state
from tests.integration.feed.world import World

USERS = [f"user_{n}" for n in range(30)]


@pytest.fixture
async def machines(database_url: str) -> AsyncIterator[list[AsyncEngine]]:
    """Pools of several workers."""
    engines = [create_engine(database_url, pool_size=2) for _ in range(4)]
    yield engines
    await asyncio.gather(*(engine.dispose() for engine in engines))


async def tick(world: World, engine: AsyncEngine) -> int:
    async with engine.begin() as connection:
        return await syncing.enqueue_due(connection, world.queue, world.now())


async def settle(world: World) -> None:
    """Ends all runs without a worker, and empties the queue."""
    await world.tell("UPDATE sync_runs SET status = 'completed', finished_at = now()")
    await world.tell("DELETE FROM procrastinate_jobs")


async def watched(world: World, users: list[str]) -> None:
    for user in users:
        await world.watch(user)
    await settle(world)


async def test_ticks_at_the_same_time_give_each_due_user_one_run(
    world: World, machines: list[AsyncEngine]
) -> None:
    await watched(world, USERS)
    world.ahead = timedelta(minutes=31)
    counts = await asyncio.gather(*(tick(world, engine) for engine in machines for _ in range(2)))
    assert sum(counts) == len(USERS)
    queued = await world.ask(
        "SELECT user_id FROM sync_runs WHERE status = 'queued' ORDER BY queued_at"
    )
    assert sorted(row.user_id for row in queued) == sorted(USERS)
    jobs = await world.jobs()
    assert len(set(jobs)) == len(jobs) == len(USERS)
    for row in await world.ask("SELECT next_sync_at FROM watches"):
        assert row.next_sync_at > world.now() + timedelta(minutes=29)


async def test_nobody_is_due_twice(world: World, machines: list[AsyncEngine]) -> None:
    await watched(world, USERS[:3])
    world.ahead = timedelta(minutes=31)
    assert await tick(world, machines[0]) == 3
    assert await tick(world, machines[1]) == 0
    await settle(world)
    assert await tick(world, machines[1]) == 0
    world.ahead *= 2
    assert await tick(world, machines[2]) == 3


async def test_who_is_not_due_or_left_gets_no_run(world: World) -> None:
    await watched(world, USERS[:3])
    await world.unwatch(USERS[0])
    world.ahead = timedelta(minutes=29)
    assert await tick(world, world.engine) == 0
    world.ahead = timedelta(days=100)
    assert await tick(world, world.engine) == 2


async def test_due_ness_survives_that_no_worker_lived_for_days(
    world: World, database_url: str
) -> None:
    await watched(world, USERS[:3])
    world.ahead = timedelta(days=3)
    fresh = create_engine(database_url)
    assert await tick(world, fresh) == 3  # once, not once for each cycle that was missed
    assert await tick(world, fresh) == 0
    await fresh.dispose()


async def test_a_user_whose_run_still_goes_on_gets_no_second_one(world: World) -> None:
    await world.watch()
    world.ahead = timedelta(hours=1)
    assert await tick(world, world.engine) == 0
    assert len(await world.ask("SELECT 1 FROM sync_runs")) == 1


async def test_every_tick_notes_the_cycle(world: World) -> None:
    await tick(world, world.engine)
    async with world.engine.connect() as connection:
        noted = await state.get_instant(connection, state.LAST_SYNC_CYCLE)
    assert noted is not None
    assert world.now() - noted < timedelta(seconds=10)


async def abandoned(world: World, engine: AsyncEngine) -> int:
    async with engine.begin() as connection:
        return await syncing.enqueue_abandoned(connection, world.queue)


async def test_runs_that_nobody_works_on_are_enqueued_once_more(
    world: World, machines: list[AsyncEngine]
) -> None:
    for user in USERS[:6]:
        await world.watch(user)
    assert await abandoned(world, world.engine) == 0
    await world.tell("DELETE FROM procrastinate_jobs")  # the queue forgot them
    await world.tell(
        "UPDATE sync_runs SET queued_at = now() - interval '6 minutes' WHERE user_id IN ('user_0', 'user_1')"
    )
    await world.tell(
        "UPDATE sync_runs SET status = 'running', attempt = 1, lease_until = now() - interval '7 s'"
        " WHERE user_id IN ('user_2', 'user_3')"
    )
    await world.tell(
        "UPDATE sync_runs SET status = 'running', attempt = 1, lease_until = now() + interval '5 s'"
        " WHERE user_id = 'user_4'"
    )
    counts = await asyncio.gather(*(abandoned(world, engine) for engine in machines))
    assert sum(counts) == 4
    jobs = await world.ask("SELECT args->>'user_id' AS user FROM procrastinate_jobs ORDER BY 1")
    assert [job.user for job in jobs] == ["user_0", "user_1", "user_2", "user_3"]
    assert await abandoned(world, world.engine) == 0
    run = await world.ask("SELECT status, attempt FROM sync_runs WHERE user_id = 'user_2'")
    assert (run[0].status, run[0].attempt) == ("queued", 1)


async def test_a_run_that_lost_its_job_is_found_although_others_wait_in_the_queue(
    world: World,
) -> None:
    for user in ("user_0", "user_1", "user_2"):
        await world.watch(user)
    await world.tell(
        "DELETE FROM procrastinate_jobs WHERE args->>'user_id' = 'user_0'"
    )  # its handler failed before it could claim the run
    await world.tell(
        "UPDATE sync_runs SET queued_at = now() - interval '2 minutes' WHERE user_id = 'user_0'"
    )
    await world.tell(
        "UPDATE sync_runs SET queued_at = now() - interval '1 minute' WHERE user_id <> 'user_0'"
    )
    assert await abandoned(world, world.engine) == 1  # the others have waited long, but have jobs
    jobs = await world.ask("SELECT args->>'user_id' AS user FROM procrastinate_jobs ORDER BY 1")
    assert [job.user for job in jobs] == ["user_0", "user_1", "user_2"]
    assert await abandoned(world, world.engine) == 0

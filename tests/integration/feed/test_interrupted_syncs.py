"""Runs whose worker dies, freezes, is stopped, or whose user changes something meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from distill_grpc.db.engine import create_engine
from distill_grpc.feed import connecting, syncing
from distill_grpc.feed.collecting import Collector
from distill_grpc.sources.base import FetchRequest, Page, PlatformError
from tests.integration.feed.scripted import Step, items, paged
from tests.integration.feed.waiting import until
from tests.integration.feed.world import USER, World

PAGES = 5
SIZE = 3
WAITING = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
ALL = sorted(f"a-{n}" for n in range(PAGES * SIZE))


class Halted:
    """A sync that stands still after some pages of its first fetch, until `go_on` is set."""

    def __init__(self, world: World, after: int) -> None:
        self.go_on = asyncio.Event()
        self.reached = asyncio.Event()
        rest = paged("a", PAGES, SIZE, world.now())

        def script(request: FetchRequest) -> Iterable[Step]:
            pages = rest(request)
            if len(world.source.requests) > 1:
                return pages
            return [*pages[:after], self._arrive, self.go_on, *pages[after:]]

        world.source.script = script

    async def _arrive(self) -> None:
        self.reached.set()


async def begin(world: World, after: int, run_id: UUID) -> tuple[Halted, asyncio.Task[None]]:
    """A worker that has read some pages and stands still."""
    halted = Halted(world, after)
    task = asyncio.create_task(world.collector().run(USER, str(run_id)))
    async with asyncio.timeout(30):
        await halted.reached.wait()
    return halted, task


@pytest.mark.parametrize("after", range(PAGES + 1))
async def test_a_worker_that_dies_between_pages_loses_and_repeats_nothing(
    world: World, after: int
) -> None:
    run_id = await world.watch()
    halted, frozen = await begin(world, after, run_id)
    assert len(await world.stored()) == after * SIZE
    await world.end_lease()
    run = await world.sync(run_id)
    assert (run.status, run.attempt) == ("completed", 2)
    assert await world.stored() == ALL
    if 0 < after < PAGES:
        assert world.source.requests[1].cursors == {"a": after - 1}
    report = (await world.report(run_id))["scripted"]
    assert (report.items_new, report.items_updated) == (PAGES * SIZE, 0)
    # The dead one was only frozen: it comes back, and may write nothing.
    before = await world.ask("SELECT *, xmin::text FROM items ORDER BY id")
    watch = await world.watched()
    halted.go_on.set()
    await frozen
    assert await world.ask("SELECT *, xmin::text FROM items ORDER BY id") == before
    assert await world.watched() == watch
    assert await world.run(run_id) == run


async def test_nobody_else_claims_a_run_while_its_worker_lives(world: World) -> None:
    world.policy = replace(world.policy, lease=timedelta(seconds=1.5))
    run_id = await world.watch()
    halted, working = await begin(world, 2, run_id)
    for _ in range(8):
        await asyncio.sleep(0.25)
        await world.collector().run(USER, str(run_id))
    assert (await world.run(run_id)).attempt == 1
    halted.go_on.set()
    await working
    assert (await world.run(run_id)).status == "completed"
    assert len(world.source.requests) == 1


async def test_a_frozen_worker_notices_by_itself_that_its_run_is_in_other_hands(
    world: World,
) -> None:
    world.policy = replace(world.policy, lease=timedelta(milliseconds=400))
    run_id = await world.watch()
    _, frozen = await begin(world, 2, run_id)
    await world.tell("UPDATE sync_runs SET attempt = attempt + 1")
    async with asyncio.timeout(30):
        await frozen
    assert not frozen.cancelled()


async def test_a_heartbeat_outlives_a_database_that_is_busy(
    world: World, database_url: str
) -> None:
    world.policy = replace(world.policy, lease=timedelta(milliseconds=800))
    engine = create_engine(database_url, pool_size=1, pool_timeout=0.05)
    collector = world.collector(engine)
    run_id = await world.watch()
    halted = Halted(world, 2)
    working = asyncio.create_task(collector.run(USER, str(run_id)))
    await halted.reached.wait()
    async with engine.connect():
        await asyncio.sleep(0.3)  # the heartbeat in between finds no connection

    async def extended() -> bool:
        return bool(
            (await world.ask("SELECT lease_until > now() + interval '0.7 s' AS is FROM sync_runs"))[
                0
            ][0]
        )

    await until(extended)
    halted.go_on.set()
    await working
    assert (await world.run(run_id)).status == "completed"
    await engine.dispose()


async def test_a_worker_that_is_stopped_hands_its_run_over_at_once(world: World) -> None:
    run_id = await world.watch()
    _, working = await begin(world, 2, run_id)
    queued_before = await world.jobs()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    run = await world.run(run_id)
    assert (run.status, run.worker, run.lease_until) == ("queued", None, None)
    assert await world.jobs() == [*queued_before, str(run_id)]
    run = await world.sync(run_id)
    assert (run.status, run.attempt) == ("completed", 2)
    assert await world.stored() == ALL


async def test_a_worker_stopped_while_it_stores_a_page_stores_it_wholly_or_not(
    world: World,
) -> None:
    run_id = await world.watch()
    halted, working = await begin(world, 2, run_id)
    async with world.engine.connect() as other:
        await other.execute(text("SELECT * FROM connections FOR UPDATE"))
        halted.go_on.set()
        await until(lambda: _waits_for_a_lock(world))
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
    assert len(await world.stored()) == 2 * SIZE
    run = await world.sync(run_id)
    assert (run.status, run.attempt) == ("completed", 2)
    assert await world.stored() == ALL


async def test_a_database_connection_that_breaks_costs_an_attempt_and_nothing_else(
    world: World, database_url: str
) -> None:
    engine = create_engine(database_url)
    run_id = await world.watch()
    halted = Halted(world, 2)
    working = asyncio.create_task(world.collector(engine).run(USER, str(run_id)))
    await halted.reached.wait()
    async with world.engine.connect() as other:
        await other.execute(text("SELECT * FROM connections FOR UPDATE"))
        halted.go_on.set()
        await until(lambda: _waits_for_a_lock(world))
        await other.execute(text(f"SELECT pg_terminate_backend(pid) {WAITING}"))
        with pytest.raises(DBAPIError):
            await working
    await engine.dispose()
    assert (await world.connection()).failures == 0  # it was not the platform's fault
    await world.tell("UPDATE sync_runs SET lease_until = now() - interval '7 seconds'")
    async with world.engine.begin() as connection:
        assert await syncing.enqueue_abandoned(connection, world.queue) == 1
    run = await world.sync(run_id)
    assert (run.status, run.attempt) == ("completed", 2)
    assert await world.stored() == ALL


async def test_parts_that_a_dead_worker_had_read_are_not_read_again(world: World) -> None:
    world.source.named = ("a", "b", "c")
    at = world.now()
    halt = asyncio.Event()
    a = Page(part="a", items=items("a", range(2), at))
    b = Page(part="b", failure=PlatformError("feed away"))
    c = Page(part="c", items=items("c", range(2), at))
    world.source.plays(a, b, halt)
    run_id = await world.watch()
    dead = asyncio.create_task(world.collector().run(USER, str(run_id)))

    async def both() -> bool:
        return bool((await world.part("b")).failures == 1)

    await until(both)
    await world.end_lease()
    world.source.plays(a, b, c)
    run = await world.sync(run_id)
    assert world.source.requests[-1].skip == {"a", "b"}
    assert run.status == "partial"
    report = (await world.report(run_id))["scripted"]
    assert (report.parts_total, report.parts_done, report.parts_failed) == (3, 3, 1)
    told = "1 of 3 parts failed, such as b: feed away"
    assert (report.error_message, report.items_new) == (told, 4)
    assert (await world.part("b")).failures == 1
    halt.set()
    await dead


async def test_a_worker_that_dies_before_it_concludes_leaves_nothing_undone(world: World) -> None:
    run_id = await world.watch()
    _, dead = await begin(world, PAGES, run_id)
    await world.end_lease()
    run = await world.sync(run_id)
    assert run.status == "completed"
    assert (await world.connection()).last_success_at is not None
    assert len(world.source.requests) == 1
    dead.cancel()
    await asyncio.gather(dead, return_exceptions=True)


async def test_a_run_that_kills_its_workers_is_given_up(world: World) -> None:
    run_id = await world.watch()
    _, dead = await begin(world, 1, run_id)
    await world.tell("UPDATE sync_runs SET attempt = :most", most=world.policy.max_attempts)
    await world.end_lease()
    run = await world.sync(run_id)
    assert run.status == "failed"
    assert (await world.report(run_id))["scripted"].status == "failed"
    watch = await world.watched()
    assert watch.last_sync_status == "failed"
    assert watch.next_sync_at > world.now() + timedelta(minutes=20)
    assert len(world.source.requests) == 1
    dead.cancel()
    await asyncio.gather(dead, return_exceptions=True)


async def test_a_run_that_is_over_is_not_run_again(world: World) -> None:
    run = await world.sync(await world.watch())
    await world.collector().run(USER, str(run.id))
    assert await world.run(run.id) == run
    assert len(world.source.requests) == 1


async def test_nothing_is_stored_after_unwatch_was_answered(world: World) -> None:
    run_id = await world.watch()
    halted, working = await begin(world, 2, run_id)
    await world.unwatch()
    halted.go_on.set()
    await working
    assert len(await world.stored()) == 2 * SIZE
    assert (await world.run(run_id)).status == "skipped"
    assert (await world.report(run_id))["scripted"].status == "skipped"
    assert (await world.watched()).next_sync_at is None


async def test_watching_again_brings_back_what_there_was_and_reads_on(world: World) -> None:
    run_id = await world.watch()
    halted, working = await begin(world, 2, run_id)
    await world.unwatch()
    again = await world.watch()
    halted.go_on.set()
    await working
    run = await world.sync(again)
    assert run.status == "completed"
    assert await world.stored() == ALL


def _put(world: World) -> Any:
    return world.connect(settings={"changed": True})


async def _delete(world: World) -> None:
    async with world.engine.begin() as connection:
        await connecting.disconnect(connection, USER, "scripted", now=world.now())


@pytest.mark.parametrize("change", [_put, _delete])
async def test_a_connection_that_is_changed_meanwhile_is_read_no_further_but_soon_again(
    world: World, change: Callable[[World], Any]
) -> None:
    run_id = await world.watch()
    halted, working = await begin(world, 2, run_id)
    await change(world)
    halted.go_on.set()
    await working
    assert len(await world.stored()) == 2 * SIZE
    assert (await world.run(run_id)).status == "completed"
    assert (await world.report(run_id))["scripted"].status == "skipped"
    assert await _due_at_once(world)


async def test_a_connection_that_is_added_meanwhile_is_read_soon(world: World) -> None:
    run_id = await world.watch()
    world.add_source("added")
    halted, working = await begin(world, 2, run_id)
    await world.connect(source="added")
    assert not await _due_at_once(world)  # the user has a run already; the wish must survive it
    halted.go_on.set()
    await working
    assert await _due_at_once(world)


async def test_a_connection_that_is_changed_after_its_turn_is_read_soon(world: World) -> None:
    world.add_source("other")
    run_id = await world.watch()
    halted, working = await begin(world, 2, run_id)

    async def done() -> bool:
        other = (await world.report(run_id)).get("other")
        return other is not None and str(other.status) == "completed"

    await until(done)
    await world.connect(source="other", settings={"changed": True})
    await _due_at_once(world)
    halted.go_on.set()
    await working
    assert await _due_at_once(world)


async def test_a_collector_needs_no_watch_to_be_safe(world: World) -> None:
    run_id = await world.watch()
    await world.tell("DELETE FROM watches")
    run = await world.sync(run_id)
    assert run.status == "completed"
    assert await world.stored() == []


async def _due_at_once(world: World) -> bool:
    async with world.engine.begin() as connection:
        return await syncing.enqueue_due(connection, world.queue, world.now()) == 1


async def _waits_for_a_lock(world: World) -> bool:
    return bool(await world.ask(f"SELECT 1 {WAITING}"))


def test_workers_have_names_of_their_own(world: World) -> None:
    workers: list[Collector] = [world.collector(), world.collector()]
    assert workers[0].worker != workers[1].worker

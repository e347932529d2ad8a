"""Many users at once, several workers, and users who change their minds meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress

from distill_grpc.db.engine import create_engine
from distill_grpc.errors import DistillError
from distill_grpc.feed import connecting, syncing
from distill_grpc.jobs.queue import JobQueue
from distill_grpc.sources.base import FetchRequest
from tests.integration.feed.scripted import Step, paged
from tests.integration.feed.waiting import until
from tests.integration.feed.world import World

USERS = [f"user_{n}" for n in range(20)]
PAGES, SIZE = 4, 5
ALL = sorted(f"a-{n}" for n in range(PAGES * SIZE))


class Ledger:
    """A platform's view: who reads it right now, and whether anybody ever did so twice at once."""

    def __init__(self, world: World) -> None:
        self.reading: Counter[str] = Counter()
        self.overlaps = 0
        self._rest = paged("a", PAGES, SIZE, world.now())
        for source in world.sources.values():
            source.script = self.script

    def script(self, request: FetchRequest) -> Iterable[Step]:
        who = f"{request.credentials['user']} at {request.credentials['source']}"
        self.reading[who] += 1
        self.overlaps += self.reading[who] > 1
        try:
            for page in self._rest(request):
                yield lambda: asyncio.sleep(random.uniform(0, 0.01))
                yield page
        finally:
            self.reading[who] -= 1


@asynccontextmanager
async def workers(world: World, database_url: str, number: int) -> AsyncIterator[None]:
    """Workers that share nothing but the database."""
    stop = asyncio.Event()
    engines = [create_engine(database_url, pool_timeout=30) for _ in range(number)]

    async def work(pool: int) -> None:
        queue = JobQueue(database_url)
        queue.handle(syncing.SYNC_JOB, world.collector(engines[pool]).run)
        await queue.work(stop, concurrency=8)

    working = [asyncio.create_task(work(n)) for n in range(number)]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*working)
        await asyncio.gather(*(engine.dispose() for engine in engines))


async def connected(world: World, user: str) -> None:
    for name in world.sources:
        await world.connect(user, name, credentials={"user": user, "source": name})


async def idle(world: World) -> bool:
    return not await world.ask("SELECT 1 FROM sync_runs WHERE status IN ('queued', 'running')")


async def deadlocks(world: World) -> int:
    await world.ask("SELECT pg_stat_force_next_flush()")
    rows = await world.ask(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    return int(rows[0][0])


async def test_many_users_sync_at_once_and_everybody_gets_everything_once(
    world: World, database_url: str
) -> None:
    world.add_source("second")
    ledger = Ledger(world)
    for user in USERS:
        await world.watch(user)
        await connected(world, user)
    async with workers(world, database_url, 2):
        await until(lambda: idle(world), timeout=60)
    runs = await world.ask("SELECT status, attempt, worker FROM sync_runs")
    assert {(run.status, run.attempt) for run in runs} == {("completed", 1)}
    assert len({run.worker for run in runs}) == 2
    assert ledger.overlaps == 0
    for user in USERS:
        assert await world.stored(user) == sorted(ALL * 2)
    assert await deadlocks(world) == 0


async def test_requests_at_the_same_time_make_one_run(world: World) -> None:
    await world.sync(await world.watch())

    made = await asyncio.gather(*(world.request() for _ in range(20)), return_exceptions=True)
    refused = [error for error in made if isinstance(error, DistillError)]
    assert len(refused) == 19
    assert {error.code for error in refused} == {"sync_in_progress"}
    assert all(error.details["job_id"] for error in refused)
    assert len(await world.ask("SELECT 1 FROM sync_runs WHERE status = 'queued'")) == 1


async def test_first_watches_at_the_same_time_make_one_watch_and_one_run(world: World) -> None:
    await world.connect()
    results = await asyncio.gather(*(world.watch() for _ in range(8)))
    assert len(set(results)) == 1
    assert len(await world.ask("SELECT 1 FROM sync_runs")) == 1
    assert len(await world.jobs()) == 1


async def test_users_who_change_their_minds_while_workers_work_break_nothing(
    world: World, database_url: str
) -> None:
    world.add_source("second")
    Ledger(world)
    users = USERS[:6]
    chance = random.Random(11)
    for user in users:
        await world.watch(user)
        await connected(world, user)

    async def disconnect(user: str) -> None:
        async with world.engine.begin() as connection:
            await connecting.disconnect(connection, user, "second", now=world.now())

    async def tick(_user: str) -> None:
        async with world.engine.begin() as connection:
            await syncing.enqueue_due(connection, world.queue, world.now())

    async def connect(user: str) -> None:
        await connected(world, user)

    request = world.request
    actions: list[Callable[[str], Awaitable[object]]] = [
        world.watch,
        world.unwatch,
        connect,
        disconnect,
        request,
        request,
        tick,
    ]

    async def live(user: str) -> None:
        for _ in range(25):
            with suppress(DistillError, AssertionError):  # not watching, in progress, no active run
                await chance.choice(actions)(user)
            await asyncio.sleep(chance.uniform(0, 0.02))

    async with workers(world, database_url, 2):
        async with asyncio.TaskGroup() as group:
            # Two of each user, so that a user's own calls meet each other too.
            for user in users * 2:
                group.create_task(live(user))
        await until(lambda: idle(world), timeout=40)
        for user in users:
            await connected(world, user)
            with suppress(AssertionError):
                await world.watch(user)
            with suppress(DistillError):
                await world.request(user)
        await until(lambda: idle(world), timeout=40)
    assert await deadlocks(world) == 0
    for user in users:
        assert await world.stored(user) == sorted(ALL * 2)
    attempts = await world.ask("SELECT DISTINCT attempt FROM sync_runs WHERE status <> 'skipped'")
    assert [row.attempt for row in attempts] == [1]

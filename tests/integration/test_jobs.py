"""Jobs: enqueued with what makes them necessary, run, recovered from the dead, stopped in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.jobs import given_up
from distill_grpc.jobs import queue as jobs
from distill_grpc.jobs.queue import GIVEN_UP, JobQueue
from tests.integration.feed.waiting import until


class Handler:
    """Notes what it is called with, and in which log context."""

    def __init__(self, work: Callable[[], Awaitable[object]] | None = None) -> None:
        self.calls: list[dict[str, Any]] = []
        self.contexts: list[dict[str, Any]] = []
        self.ended: list[str] = []
        self._work = work

    async def __call__(self, **arguments: Any) -> None:
        self.calls.append(arguments)
        self.contexts.append(structlog.contextvars.get_contextvars())
        try:
            if self._work is not None:
                await self._work()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("well")

    async def called(self, times: int = 1, timeout: float = 30) -> None:
        async def enough() -> bool:
            return len(self.calls) >= times

        await until(enough, timeout=timeout)


@asynccontextmanager
async def worker(
    database_url: str, handler: Handler, *, grace: float = 5.0, retries: int = 0
) -> AsyncIterator[JobQueue]:
    queue = JobQueue(database_url)
    queue.handle("noted", handler, retries=retries)
    stop = asyncio.Event()
    working = asyncio.create_task(queue.work(stop, concurrency=4, grace=grace))
    try:
        yield queue
    finally:
        stop.set()
        async with asyncio.timeout(40):
            await working


async def enqueue(engine: AsyncEngine, queue: JobQueue, *arguments: dict[str, Any]) -> None:
    async with engine.begin() as connection:
        await queue.enqueue(connection, "noted", arguments)


async def count(engine: AsyncEngine, where: str = "true") -> int:
    async with engine.connect() as connection:
        query = text(f"SELECT count(*) FROM procrastinate_jobs WHERE {where}")
        return int((await connection.execute(query)).scalar_one())


async def test_a_job_is_enqueued_with_its_transaction_or_not_at_all(
    engine: AsyncEngine, database_url: str
) -> None:
    queue = JobQueue(database_url)
    async with engine.connect() as connection:
        await queue.enqueue(connection, "noted", [{"n": 1}])
        assert await count(engine) == 0  # not before the commit
        await connection.rollback()
    assert await count(engine) == 0
    await enqueue(engine, queue, {"n": 1}, {"n": 2})
    assert await count(engine, "status = 'todo'") == 2
    await enqueue(engine, queue)
    assert await count(engine) == 2


async def test_committed_jobs_run_and_leave_nothing_behind(
    engine: AsyncEngine, database_url: str
) -> None:
    handler = Handler()
    async with worker(database_url, handler) as queue:
        await enqueue(engine, queue, *({"n": n} for n in range(20)))
        await handler.called(20)
    assert sorted(call["n"] for call in handler.calls) == list(range(20))
    assert await count(engine) == 0


async def test_a_job_that_was_enqueued_without_a_worker_runs_once_there_is_one(
    engine: AsyncEngine, database_url: str
) -> None:
    await enqueue(engine, JobQueue(database_url), {"n": 1})
    handler = Handler()
    async with worker(database_url, handler):
        await handler.called()


async def test_the_request_id_goes_along_into_the_jobs_log_lines(
    engine: AsyncEngine, database_url: str
) -> None:
    handler = Handler()
    async with worker(database_url, handler) as queue:
        with structlog.contextvars.bound_contextvars(request_id="req-1"):
            await enqueue(engine, queue, {"n": 1})
        await handler.called()
        await enqueue(engine, queue, {"n": 2})
        await handler.called(2)
    assert handler.calls == [{"n": 1}, {"n": 2}]
    assert handler.contexts[0]["request_id"] == "req-1"
    assert handler.contexts[0]["job"]
    assert handler.contexts[1]["request_id"] is None


async def test_a_job_that_fails_does_not_stop_the_worker(
    engine: AsyncEngine, database_url: str
) -> None:
    async def fails() -> None:
        raise RuntimeError("a fault")

    handler = Handler(fails)
    async with worker(database_url, handler) as queue:
        for n in range(3):
            await enqueue(engine, queue, {"n": n})
        await handler.called(3)
    assert await count(engine) == 0


async def test_a_job_that_used_up_its_attempts_is_kept_and_can_be_tried_again(
    engine: AsyncEngine, database_url: str
) -> None:
    broken = True

    async def fails() -> None:
        if broken:
            raise RuntimeError("a fault")

    handler = Handler(fails)
    before = _given_up()
    async with worker(database_url, handler, retries=1) as queue:
        await enqueue(engine, queue, {"n": 1})
        await until(lambda: _counts(engine, "status = 'failed'", 1))
        assert len(handler.calls) == 2
        assert _given_up() == before + 1
        async with engine.connect() as connection:
            (job,) = await given_up.list_given_up(connection)
        assert (job.name, job.arguments["n"], job.attempts) == ("noted", 1, 2)
        assert job.failed_at is not None
        async with engine.begin() as connection:
            assert await given_up.retry(connection, [job.id + 1]) == set()
        broken = False
        async with engine.begin() as connection:
            assert await given_up.retry(connection) == {job.id}
        await handler.called(3)
        await until(lambda: _counts(engine, "true", 0))


async def test_given_up_jobs_are_forgotten_after_a_week(
    engine: AsyncEngine, database_url: str
) -> None:
    async def fails() -> None:
        raise RuntimeError("a fault")

    async with worker(database_url, Handler(fails), retries=1) as queue:
        await enqueue(engine, queue, {"n": 1})
        await until(lambda: _counts(engine, "status = 'failed'", 1))
        await enqueue(engine, queue, {"n": 2})
        now = clock.utc_now()
        async with engine.begin() as connection:
            assert await given_up.forget(connection, now + given_up.KEPT / 2) == 0
            assert await given_up.forget(connection, now + given_up.KEPT) == 1
        assert await count(engine) == 1  # the one that is still tried


def _given_up() -> float:
    return GIVEN_UP.labels("noted")._value.get()


async def _counts(engine: AsyncEngine, where: str, wanted: int) -> bool:
    return await count(engine, where) == wanted


async def dead_worker(database_url: str, job: str, *, silent_for: float) -> None:
    """What a worker leaves behind that was killed while it did a job."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        cursor = await connection.execute(
            "INSERT INTO procrastinate_workers (last_heartbeat)"
            " VALUES (now() - make_interval(secs => %s)) RETURNING id",
            [silent_for],
        )
        (worker_id,) = await cursor.fetchone() or (None,)
        await connection.execute(
            "UPDATE procrastinate_jobs SET status = 'doing', worker_id = %s WHERE args->>'n' = %s",
            [worker_id, job],
        )


async def test_jobs_of_dead_workers_are_given_to_others(
    engine: AsyncEngine, database_url: str
) -> None:
    queue = JobQueue(database_url)
    await enqueue(engine, queue, {"n": 1}, {"n": 2}, {"n": 3})
    await dead_worker(database_url, "1", silent_for=jobs.STALLED + 1)
    await dead_worker(database_url, "2", silent_for=jobs.STALLED - 5)
    handler = Handler()
    async with worker(database_url, handler) as queue:
        await handler.called(1)
        assert await queue.recover() == 1
        await handler.called(2)
    assert sorted(call["n"] for call in handler.calls) == [1, 3]
    assert await count(engine, "status = 'doing'") == 1  # the one that is only slow


async def test_workers_that_recover_at_the_same_time_do_not_disturb_each_other(
    engine: AsyncEngine, database_url: str
) -> None:
    handler = Handler()
    async with worker(database_url, handler) as one, worker(database_url, handler) as two:
        await until(lambda: _registered(engine, 2))
        for n in range(10):
            async with engine.begin() as connection:
                await connection.execute(
                    text(
                        "INSERT INTO procrastinate_jobs (queue_name, task_name, args, status)"
                        " VALUES ('default', 'noted', jsonb_build_object('n', :n ::int), 'doing')"
                    ),
                    {"n": n},
                )
        recovered = await asyncio.gather(one.recover(), two.recover(), one.recover())
        await handler.called(10)
        await asyncio.sleep(0.1)
    assert sum(recovered) >= 10
    assert {call["n"] for call in handler.calls} == set(range(10))


async def _registered(engine: AsyncEngine, workers: int) -> bool:
    async with engine.connect() as connection:
        query = text("SELECT count(*) FROM procrastinate_workers")
        return bool((await connection.execute(query)).scalar_one() == workers)


async def test_a_worker_that_stops_lets_jobs_end_within_the_grace(
    engine: AsyncEngine, database_url: str
) -> None:
    handler = Handler(lambda: asyncio.sleep(0.5))
    async with worker(database_url, handler) as queue:
        await enqueue(engine, queue, {"n": 1})
        await handler.called()
    assert handler.ended == ["well"]
    assert await count(engine) == 0
    assert await _registered(engine, 0)


async def test_a_worker_that_stops_ends_jobs_that_outlast_the_grace(
    engine: AsyncEngine, database_url: str
) -> None:
    handler = Handler(lambda: asyncio.sleep(60))
    async with worker(database_url, handler, grace=0.3) as queue:
        await enqueue(engine, queue, {"n": 1})
        await handler.called()
        begun = time.monotonic()
    assert time.monotonic() - begun < 20
    assert handler.ended == ["cancelled"]
    assert await count(engine) == 0


async def test_a_job_with_retries_outlives_the_worker_that_stops(
    engine: AsyncEngine, database_url: str
) -> None:
    async def runs_on() -> None:
        if len(handler.calls) == 1:
            await asyncio.sleep(60)

    handler = Handler(runs_on)
    async with worker(database_url, handler, grace=0.3, retries=1) as queue:
        await enqueue(engine, queue, {"n": 1})
        await handler.called()
    assert handler.ended == ["cancelled"]
    assert await count(engine, "status = 'todo'") == 1
    async with worker(database_url, handler, retries=1):
        await until(lambda: _counts(engine, "true", 0))
    assert handler.ended == ["cancelled", "well"]


async def test_a_worker_that_stops_takes_no_new_jobs(
    engine: AsyncEngine, database_url: str
) -> None:
    handler = Handler(lambda: asyncio.sleep(0.3))
    async with worker(database_url, handler) as queue:
        await enqueue(engine, queue, *({"n": n} for n in range(20)))
        await handler.called()
    assert len(handler.calls) < 20
    assert await count(engine, "status = 'todo'") == 20 - len(handler.calls)


async def test_a_worker_works_on_after_the_database_threw_it_out(
    engine: AsyncEngine, database_url: str
) -> None:
    handler = Handler()
    async with worker(database_url, handler) as queue:
        await enqueue(engine, queue, {"n": 0})
        await handler.called()
        for n in range(1, 4):
            await _throw_out(database_url)
            await enqueue(engine, queue, {"n": n})
            await handler.called(n + 1)
    assert [call["n"] for call in handler.calls] == [0, 1, 2, 3]


async def test_a_worker_whose_registration_was_lost_begins_anew(
    engine: AsyncEngine, database_url: str
) -> None:
    handler = Handler()
    async with worker(database_url, handler) as queue:
        await until(lambda: _registered(engine, 1))
        async with engine.begin() as connection:
            await connection.execute(text("DELETE FROM procrastinate_workers"))
        await enqueue(engine, queue, {"n": 1})
        await handler.called()


async def test_a_worker_that_is_cancelled_leaves_no_worker_running(
    engine: AsyncEngine, database_url: str
) -> None:
    queue = JobQueue(database_url)
    handler = Handler()
    queue.handle("noted", handler)
    working = asyncio.create_task(queue.work(asyncio.Event(), concurrency=1))
    await until(lambda: _registered(engine, 1))
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert await _registered(engine, 0)


async def _throw_out(database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'distill-jobs'"
        )

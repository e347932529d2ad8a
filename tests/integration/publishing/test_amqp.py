"""Jobs on a real RabbitMQ: confirmed, done, tried again, dead, and there after it was killed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc.jobs.amqp import DEAD, AmqpJobs, BrokerAway
from distill_grpc.publishing.relaying import Relay
from tests.integration.feed.waiting import until
from tests.integration.publishing import platform
from tests.servers.rabbitmq import RabbitMQ

Job = dict[str, Any]
_numbers = itertools.count(1)
NOWHERE: AsyncConnection = None  # type: ignore[assignment]  # a broker needs none


class Handler:
    """Notes its jobs; does `work` with each."""

    def __init__(self, work: Callable[[Job], Awaitable[None]] | None = None) -> None:
        self.jobs: list[Job] = []
        self.request_ids: list[Any] = []
        self._work = work

    async def __call__(self, **job: Any) -> None:
        self.jobs.append(job)
        self.request_ids.append(structlog.contextvars.get_contextvars().get("request_id"))
        if self._work is not None:
            await self._work(job)

    async def called(self, times: int) -> None:
        async def enough() -> bool:
            return len(self.jobs) >= times

        await until(enough, timeout=60)


@pytest.fixture
def name() -> str:
    """A job that no other test knows."""
    return f"job-{next(_numbers)}"


@asynccontextmanager
async def worker(
    broker: RabbitMQ, name: str, handler: Handler, *, waits: tuple[int, ...] = (1,)
) -> AsyncIterator[AmqpJobs]:
    jobs = AmqpJobs(broker.url, waits=waits)
    jobs.handle(name, handler)
    stop = asyncio.Event()
    working = asyncio.create_task(jobs.work(stop, concurrency=4, grace=2.0))
    try:
        yield jobs
    finally:
        stop.set()
        async with asyncio.timeout(20):
            await working


async def dead(broker: RabbitMQ, name: str) -> list[bytes]:
    """Takes what is dead, and waits for the first."""
    connection = await aio_pika.connect(broker.url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(DEAD, passive=True)
        found: list[bytes] = []

        async def there() -> bool:
            message = await queue.get(fail=False)
            if message is not None:
                await message.ack()
                found.append(message.body)
            return any(name.encode() in body for body in found)

        await until(there, timeout=20)
    return found


async def test_jobs_are_done_with_the_request_id_of_who_made_them(
    broker: RabbitMQ, name: str
) -> None:
    handler = Handler()
    jobs = [{"n": number, "request_id": f"req-{number}"} for number in range(20)]
    async with worker(broker, name, handler) as queue:
        await queue.enqueue(NOWHERE, name, jobs)
        await handler.called(20)
    assert sorted(job["n"] for job in handler.jobs) == list(range(20))
    assert set(handler.request_ids) == {f"req-{number}" for number in range(20)}


async def test_a_job_that_fails_is_tried_again_and_dead_in_the_end(
    broker: RabbitMQ, name: str
) -> None:
    async def fail(job: Job) -> None:
        if job["name"] == name or len(handler.jobs) < 3:
            raise RuntimeError("not yet")

    handler = Handler(fail)
    async with worker(broker, name, handler, waits=(1, 1)) as queue:
        await queue.enqueue(NOWHERE, name, [{"name": name}])
        await handler.called(3)
        assert await dead(broker, name)
        await asyncio.sleep(1.5)
    assert len(handler.jobs) == 3


async def test_what_is_no_job_is_dead_at_once(broker: RabbitMQ, name: str) -> None:
    handler = Handler()
    async with worker(broker, name, handler) as queue:
        await queue.enqueue(NOWHERE, name, [{"n": 1}])
        await handler.called(1)
        connection = await aio_pika.connect(broker.url)
        async with connection:
            channel = await connection.channel()
            message = aio_pika.Message(f"no JSON {name}".encode())
            await channel.default_exchange.publish(message, routing_key=f"distill.{name}")
        assert await dead(broker, name)
    assert handler.jobs == [{"n": 1}]


async def test_a_job_of_a_worker_that_goes_is_done_by_the_next(broker: RabbitMQ, name: str) -> None:
    async def hang(_job: Job) -> None:
        await asyncio.sleep(60)

    hanging, next_one = Handler(hang), Handler()
    async with worker(broker, name, hanging) as queue:
        await queue.enqueue(NOWHERE, name, [{"n": 1}])
        await hanging.called(1)
    async with worker(broker, name, next_one):
        await next_one.called(1)
    assert next_one.jobs == [{"n": 1}]


async def test_confirmed_jobs_outlive_the_broker_and_workers_come_back(
    broker: RabbitMQ, name: str
) -> None:
    publisher, handler = AmqpJobs(broker.url, waits=(1,)), Handler()
    await publisher.enqueue(NOWHERE, name, [])
    await asyncio.sleep(4)  # the broker takes some seconds to write a new queue's name down
    await publisher.enqueue(NOWHERE, name, [{"n": number} for number in range(50)])
    broker.kill()
    with pytest.raises(BrokerAway):
        await publisher.enqueue(NOWHERE, name, [{"n": 50}])
    async with worker(broker, name, handler):
        await asyncio.to_thread(broker.start)
        await handler.called(50)
        broker.kill()
        await asyncio.to_thread(broker.start)
        await publisher.enqueue(NOWHERE, name, [{"n": 51}])

        async def again() -> bool:
            return {"n": 51} in handler.jobs

        await until(again, timeout=60)
    await publisher.close()
    assert {job["n"] for job in handler.jobs} == {*range(50), 51}


async def test_the_outbox_waits_while_the_broker_is_away_and_is_handed_on_once(
    engine: AsyncEngine, broker: RabbitMQ
) -> None:
    creator = (await platform.accounts(engine, 1, "creator"))[0]
    post_id = await platform.publish(engine, creator)
    away = AmqpJobs("amqp://guest:guest@127.0.0.1:1/")
    with pytest.raises(BrokerAway):
        await Relay(engine, away).hand_on()
    waiting = "SELECT count(*) AS n FROM outbox WHERE handed_on_at IS NULL"
    assert (await platform.rows(engine, waiting))[0].n == 1
    handler = Handler()
    async with worker(broker, "send_new_post_notifications", handler) as queue:
        relays = [Relay(engine, queue) for _ in range(3)]
        handed = await asyncio.gather(*(relay.hand_on() for relay in relays))
        await handler.called(1)
    assert sorted(handed) == [0, 0, 1]
    assert [job["post_id"] for job in handler.jobs] == [str(post_id)]


async def test_a_broker_is_asked_whether_it_is_there(broker: RabbitMQ) -> None:
    await AmqpJobs(broker.url).greet()
    with pytest.raises(BrokerAway):
        await AmqpJobs("amqp://guest:guest@127.0.0.1:1/").greet()

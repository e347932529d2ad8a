"""Jobs on RabbitMQ, for fleets: durable quorum queues, publisher confirms, manual acknowledgements.

A job has a queue of its name. One that fails waits in a queue for its next attempt, longer each
time, and ends in `distill.dead` after the last one; so does what is no job. A job may run more than
once, as with `JobQueue`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import aio_pika
import orjson
import structlog
from aio_pika.abc import (
    AbstractChannel,
    AbstractConnection,
    AbstractIncomingMessage,
    TimeoutType,
)
from aio_pika.exceptions import AMQPError
from aiormq.exceptions import AMQPError as LowerError
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.jobs.queue import Handler

log = structlog.get_logger()

DEAD = "distill.dead"
# Seconds before each further attempt.
WAITS = (1, 5, 30, 120, 600, 3600)
# How often a job may be lost with its worker before it is taken for the reason.
MOST_LOST = 50
PREFETCH = 8
# Seconds: for a connection, and for the broker's word on one message.
CONNECT, CONFIRM = 10.0, 10.0
GREETING = 5.0  # of a broker that is only looked after
SETUP = 10.0  # to declare and consume
HEARTBEAT = 10
RESTART = 1.0
_ATTEMPT = "x-attempt"
# What a broker that is away, closes or refuses makes of a call.
_AWAY = (AMQPError, LowerError, OSError, TimeoutError, asyncio.TimeoutError)


class BrokerAway(Exception):  # noqa: N818 -- an outcome
    """The broker did not take a job."""


class AmqpJobs:
    """Names of jobs and their handlers; publishes, and runs a worker."""

    def __init__(self, url: str, *, waits: Sequence[int] = WAITS) -> None:
        self._url = url
        self._waits = tuple(waits)
        self._handlers: dict[str, Handler] = {}
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._declared: set[str] = set()
        self._lock = asyncio.Lock()

    def handle(self, name: str, handler: Handler, *, retries: int = 0) -> None:  # noqa: ARG002 -- the seam's
        """Says what does the jobs of that name: `handler(**arguments)`.

        All are tried again alike, after `waits`.
        """
        self._handlers[name] = handler

    async def enqueue(
        self,
        connection: AsyncConnection,  # noqa: ARG002 -- a broker takes part in no transaction
        name: str,
        jobs: Sequence[Mapping[str, Any]],
    ) -> None:
        """Publishes jobs of one name and waits until the broker has them; raises `BrokerAway`."""
        try:
            async with self._lock, asyncio.timeout(CONNECT + CONFIRM):
                channel = await self._publishing()
                if name not in self._declared:
                    await self._declare(channel, name)
                    self._declared.add(name)
                await asyncio.gather(
                    *(_publish(channel.default_exchange, _queue(name), job) for job in jobs)
                )
        except _AWAY as error:
            await self.close()
            raise BrokerAway(type(error).__name__) from None

    async def work(self, stop: asyncio.Event, *, concurrency: int, grace: float = 8.0) -> None:
        """Runs jobs until `stop` is set; jobs in flight then get `grace` seconds.

        A connection that is lost is made anew; what was not acknowledged comes again.
        """
        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                try:
                    await self._work_once(stopped, concurrency, grace)
                except _AWAY as error:
                    log.warning("broker_away", error=type(error).__name__)
                await asyncio.wait({stopped}, timeout=RESTART)
        finally:
            stopped.cancel()
            await self.close()

    async def greet(self) -> None:
        """Raises `BrokerAway` where the broker takes no connection soon."""
        try:
            async with asyncio.timeout(GREETING):
                connection = await self._connect("distill-health")
        except _AWAY as error:
            raise BrokerAway(type(error).__name__) from None
        await _close(connection)

    async def close(self) -> None:
        """Ends the connection for publishing."""
        connection, self._connection = self._connection, None
        self._channel = None
        self._declared.clear()
        if connection is not None:
            await _close(connection)

    async def _publishing(self) -> AbstractChannel:
        if self._channel is None or self._channel.is_closed:
            await self.close()
            self._connection = await self._connect("distill-relay")
            self._channel = await self._connection.channel(on_return_raises=True)
        return self._channel

    async def _connect(self, name: str) -> AbstractConnection:
        return await aio_pika.connect(
            self._url,
            timeout=CONNECT,
            heartbeat=HEARTBEAT,
            client_properties={"connection_name": name},
            connection_class=_Connection,
        )

    async def _declare(self, channel: AbstractChannel, name: str) -> None:
        """The queue of a job, those in which it waits, and that of the dead."""
        quorum: dict[str, Any] = {"x-queue-type": "quorum"}
        await channel.declare_queue(DEAD, durable=True, arguments=quorum)
        await channel.declare_queue(
            _queue(name),
            durable=True,
            arguments={
                **quorum,
                "x-delivery-limit": MOST_LOST,
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": DEAD,
            },
        )
        for seconds in self._waits:
            # What has waited goes by its routing key, which is the queue it came from.
            exchange = await channel.declare_exchange(_waiting(seconds), "fanout", durable=True)
            queue = await channel.declare_queue(
                _waiting(seconds),
                durable=True,
                arguments={
                    **quorum,
                    "x-message-ttl": seconds * 1000,
                    "x-dead-letter-exchange": "",
                    "x-dead-letter-strategy": "at-least-once",
                    "x-overflow": "reject-publish",
                },
            )
            await queue.bind(exchange)

    async def _work_once(self, stopped: asyncio.Task[Any], concurrency: int, grace: float) -> None:
        connection = await self._connect("distill-worker")
        running: set[asyncio.Task[None]] = set()
        lost = asyncio.get_running_loop().create_future()

        def lose(*_: object) -> None:
            if not lost.done():
                lost.set_result(None)

        connection.close_callbacks.add(lose)
        try:
            # A broker that has just come back may leave a call without an answer.
            async with asyncio.timeout(SETUP):
                channel = await connection.channel(on_return_raises=True)
                channel.close_callbacks.add(lose)
                await channel.set_qos(prefetch_count=min(concurrency, PREFETCH))
                tags = []
                for name, handler in self._handlers.items():
                    await self._declare(channel, name)
                    queue = await channel.get_queue(_queue(name))

                    async def take(
                        message: AbstractIncomingMessage,
                        name: str = name,
                        handler: Handler = handler,
                    ) -> None:
                        task = asyncio.create_task(self._run(channel, name, handler, message))
                        running.add(task)
                        task.add_done_callback(running.discard)

                    tags.append((queue, await queue.consume(take)))
            log.info("broker_connected", queues=len(tags))
            await asyncio.wait({stopped, lost}, return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                raise AMQPError("the connection was lost")
            for queue, tag in tags:
                await queue.cancel(tag)
            if running:
                await asyncio.wait(running, timeout=grace)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await _close(connection)

    async def _run(
        self,
        channel: AbstractChannel,
        name: str,
        handler: Handler,
        message: AbstractIncomingMessage,
    ) -> None:
        """Does one job; it is acknowledged when it was done, or waits or is dead."""
        arguments = _read(message.body)
        if arguments is None:
            log.error("job_unreadable", name=name)
            await message.reject(requeue=False)
            return
        with structlog.contextvars.bound_contextvars(
            request_id=arguments.pop("request_id", None), job=name
        ):
            try:
                await handler(**arguments)
            except Exception as error:
                log.exception("job_failed", error=type(error).__name__)
                await self._try_later(channel, name, message)
            else:
                await _settle(message.ack())

    async def _try_later(
        self, channel: AbstractChannel, name: str, message: AbstractIncomingMessage
    ) -> None:
        attempt = int(str(message.headers.get(_ATTEMPT, 0)))
        if attempt >= len(self._waits):
            log.error("job_given_up", name=name)
            await _settle(message.reject(requeue=False))
            return
        try:
            exchange = await channel.get_exchange(_waiting(self._waits[attempt]), ensure=False)
            again = aio_pika.Message(
                message.body,
                content_type="application/json",
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                headers={_ATTEMPT: attempt + 1},
                correlation_id=message.correlation_id,
            )
            await exchange.publish(again, routing_key=_queue(name), timeout=CONFIRM)
        except _AWAY:
            return  # not acknowledged: it comes again with the next connection
        await _settle(message.ack())


async def _publish(
    exchange: aio_pika.abc.AbstractExchange, key: str, job: Mapping[str, Any]
) -> None:
    message = aio_pika.Message(
        orjson.dumps(dict(job)),
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        correlation_id=job.get("request_id"),
    )
    await exchange.publish(message, routing_key=key, timeout=CONFIRM)


async def _settle(word: Any) -> None:
    """Says what became of a message; where nobody listens any more, it comes again."""
    try:
        await word
    except _AWAY as error:
        log.warning("job_not_settled", error=type(error).__name__)


class _Connection(aio_pika.Connection):
    """One that is closed where it cannot connect; left to its destructor it might find no event loop."""

    async def connect(self, timeout: TimeoutType = None) -> None:
        """Connects, or closes."""
        try:
            await super().connect(timeout)
        except BaseException:
            await self.close()
            raise


async def _close(connection: AbstractConnection) -> None:
    try:
        async with asyncio.timeout(5.0):
            await connection.close()
    except _AWAY:
        await connection.close()  # the broker did not say goodbye; now nothing waits for it


def _read(body: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _queue(name: str) -> str:
    return f"distill.{name}"


def _waiting(seconds: int) -> str:
    return f"distill.wait.{seconds}"

"""Jobs on PostgreSQL, by procrastinate.

Only work that is due lies in the queue: what is due later is a column of our own tables, which a
tick reads. A job may run more than once (its worker may die after the work and before the receipt),
so every handler must find its own work done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

import procrastinate
import structlog
from procrastinate.job_context import JobContext
from procrastinate.jobs import Job
from prometheus_client import Counter
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.db.driver import BoundedConnection
from distill_grpc.db.engine import driver_connection

log = structlog.get_logger()

Handler = Callable[..., Awaitable[None]]

GIVEN_UP = Counter("distill_jobs_given_up", "Jobs that failed after their last attempt.", ["job"])

# Seconds. A worker that has not been heard of for STALLED is taken for dead, and its jobs are given
# to others; together with RECOVERY, work resumes well within half a minute.
HEARTBEAT = 3.0
STALLED = 12.0
RECOVERY = 4.0
# Before a worker that ended by itself begins anew.
RESTART = 1.0


_OLDEST_WAITING = (
    "SELECT args FROM procrastinate_jobs WHERE status = 'todo' AND task_name = %s"
    " ORDER BY id LIMIT 1"
)


class _QueueConnection(BoundedConnection):
    """The queue's statements are tiny, and its heartbeat must not wait for one that hangs."""

    answer_within = 8.0


class JobQueue:
    """Names of jobs and their handlers; enqueues, and runs a worker."""

    def __init__(self, database_url: str) -> None:
        self._connector = procrastinate.PsycopgConnector(
            conninfo=make_url(database_url)
            .set(drivername="postgresql")
            .render_as_string(hide_password=False),
            min_size=1,
            max_size=4,
            timeout=10,
            connection_class=_QueueConnection,
            kwargs={
                "connect_timeout": 5,
                "keepalives_idle": 10,
                "keepalives_interval": 3,
                "keepalives_count": 3,
                "tcp_user_timeout": 20_000,
                "application_name": "distill-jobs",
            },
        )
        self._app = procrastinate.App(connector=self._connector)

    def handle(self, name: str, handler: Handler, *, retries: int = 0) -> None:
        """Says what does the jobs of that name: `handler(**arguments)`.

        One that fails is tried again so often, after 2, 4, 8, … seconds, and then kept among those
        of `given_up`. Without retries it is forgotten, as where its worker stops: a tick finds what is
        still to be done.
        """

        async def run(context: JobContext, /, **arguments: Any) -> None:
            with structlog.contextvars.bound_contextvars(
                request_id=arguments.pop("request_id", None), job=context.job.id
            ):
                try:
                    await handler(**arguments)
                except asyncio.CancelledError:  # the worker stops
                    if retries:
                        raise
                except Exception as error:
                    if context.job.attempts < retries:
                        raise
                    log.exception("job_failed", name=name, error=type(error).__name__)
                    if retries:
                        GIVEN_UP.labels(name).inc()
                        raise

        retry = procrastinate.RetryStrategy(max_attempts=retries, exponential_wait=2)
        self._app.task(name=name, pass_context=True, retry=retry if retries else False)(run)

    async def enqueue(
        self, connection: AsyncConnection, name: str, jobs: Sequence[Mapping[str, Any]]
    ) -> None:
        """Enqueues jobs of one name inside the transaction of `connection`.

        The request id of the caller goes along, so that the job's log lines carry it too; a job that
        names one keeps it.
        """
        if not jobs:
            return
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        deferrer = self._app.configure_task(name, connection=await driver_connection(connection))
        await deferrer.batch_defer_async(*({"request_id": request_id, **job} for job in jobs))

    async def oldest_waiting(
        self, connection: AsyncConnection, name: str
    ) -> Mapping[str, Any] | None:
        """The arguments of the job of that name that has waited longest; None where none waits."""
        driver = await driver_connection(connection)
        found = await driver.execute(_OLDEST_WAITING, [name])
        row = await found.fetchone()
        return None if row is None else cast("Mapping[str, Any]", row[0])

    async def work(self, stop: asyncio.Event, *, concurrency: int, grace: float = 6.0) -> None:
        """Runs jobs until `stop` is set; jobs in flight then get `grace` seconds.

        A worker that ends by itself, as it does where the database goes away, is started anew.
        """
        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                await self._work_once(stopped, concurrency, grace)
                await asyncio.wait({stopped}, timeout=RESTART)
        finally:
            stopped.cancel()

    async def _work_once(self, stopped: asyncio.Task[Any], concurrency: int, grace: float) -> None:
        worker = asyncio.create_task(self._run_worker(concurrency, grace))
        try:
            await asyncio.wait({worker, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            worker.cancel()  # procrastinate takes this as the order to stop gracefully
            await asyncio.wait({worker})
        if not stopped.done():
            error = None if worker.cancelled() else worker.exception()
            log.error("worker_ended", why=type(error).__name__ if error else "", exc_info=error)

    async def _run_worker(self, concurrency: int, grace: float) -> None:
        # On connections of its own: where the last worker failed, the last ones may be dead.
        async with self._app.open_async():
            await self._app.run_worker_async(
                name="distill",
                concurrency=concurrency,
                install_signal_handlers=False,
                shutdown_graceful_timeout=grace,
                delete_jobs="successful",
                # The database tells of new jobs; what it told while one was fetched is found by polling.
                fetch_job_polling_interval=0.5,
                update_heartbeat_interval=HEARTBEAT,
                # Workers that start do not forget the dead before `recover` saw their jobs.
                stalled_worker_timeout=10 * STALLED,
            )

    async def recover(self) -> int:
        """Gives the jobs of dead workers back to the queue; returns how many."""
        try:
            stalled: list[Job] = list(
                await self._app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED)
            )
        except procrastinate.exceptions.AppNotOpen:
            return 0  # between a worker that ended and the next; another tick will do
        recovered = 0
        for job in stalled:
            try:
                await self._app.job_manager.retry_job(job)
            except procrastinate.exceptions.ConnectorException:
                continue  # another worker was quicker, or the next tick tries again
            log.warning("job_recovered", job=job.id, name=job.task_name)
            recovered += 1
        return recovered

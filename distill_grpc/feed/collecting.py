"""One sync run: claimed under a lease, read source by source, committed page by page.

Every page is stored with its cursor in one transaction that first proves that the run is still
ours. A worker that was frozen or cut off therefore writes nothing late, and one that dies repeats
at most one page, which the items' keys make invisible.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from prometheus_client import Counter, Histogram
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc import clock
from distill_grpc.feed import scheduling
from distill_grpc.feed.budgets import spending_for
from distill_grpc.feed.outcomes import Verdict
from distill_grpc.feed.policy import Policy
from distill_grpc.feed.pushed_parts import PushedParts
from distill_grpc.feed.pushing import SPACING, Pushing
from distill_grpc.feed.source_run import ConnectionChanged, LeaseLost, SourceRun
from distill_grpc.feed.store import connections, runs, watches
from distill_grpc.feed.tokens import TokenKeeper
from distill_grpc.sources.base import Source

log = structlog.get_logger()

RUNS = Counter("distill_sync_runs_total", "Sync runs that ended, by status.", ["status"])
RUN_SECONDS = Histogram(
    "distill_sync_run_seconds",
    "Time from a run's start to its end.",
    buckets=(0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900),
)

# What a source can end with, from the best to the worst.
_GOOD = {"completed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """Runs syncs."""

    engine: AsyncEngine
    sources: Mapping[str, Source]
    policy: Policy
    worker: str
    tokens: TokenKeeper
    # Enqueues a run once more, in the transaction of the connection.
    enqueue_again: Callable[[AsyncConnection, str, UUID], Awaitable[None]]
    # Enriches the items of a user that a run collected.
    enrich: Callable[[str], Awaitable[None]]
    # Makes the summaries that a run asked for by its types.
    make_summaries: Callable[[str, tuple[str, ...]], Awaitable[None]]
    now: Callable[[], datetime] = clock.utc_now
    pushing: Pushing | None = None

    async def run(self, user_id: str, run_id: str) -> None:
        """The job `feed.sync`: does nothing where the run is over or in other hands."""
        async with self.engine.begin() as connection:
            run = await runs.claim_run(
                connection, user_id, UUID(run_id), worker=self.worker, lease=self.policy.lease
            )
        if run is None:
            log.info("sync_not_ours", run_id=run_id)
            return
        if run.attempt > self.policy.max_attempts:
            log.error("sync_given_up", run_id=run_id, attempts=run.attempt - 1)
            await self._finish(run, [Verdict("failed")], None)
            return
        try:
            async with self._kept(run):
                own = await self._connections(run)
                verdicts = await self._read_sources(run, own)
                verdicts += await self._enrich(run)
                verdicts += await self._make_summaries(run)
            await self._finish(run, verdicts, own)
        except LeaseLost:
            log.warning("sync_lease_lost", run_id=run_id, attempt=run.attempt)
        except asyncio.CancelledError:
            # The worker stops: hand the rest over at once instead of letting the lease run out.
            await asyncio.shield(self._release(run))
            raise

    async def _connections(self, run: Row[Any]) -> dict[str, Row[Any]]:
        async with self.engine.connect() as connection:
            own = await connections.list_connections(connection, run.user_id)
        return {row.source: row for row in own if row.source in self.sources}

    async def _read_sources(self, run: Row[Any], own: Mapping[str, Row[Any]]) -> list[Verdict]:
        async with self.engine.connect() as connection:
            watch = await watches.get_watch(connection, run.user_id)
        if watch is None or not _collects(run.types):
            return []

        async def read(row: Row[Any]) -> Verdict:
            source_run = SourceRun(
                engine=self.engine,
                source=self.sources[row.source],
                policy=self.policy,
                run=run,
                watch=watch,
                connection=row,
                tokens=self.tokens,
                now=self.now,
                pushed=PushedParts(run.user_id, row.source, self.pushing),
            )
            try:
                with spending_for(run.user_id):
                    return await source_run.read()
            except ConnectionChanged:
                # The user changed or removed the connection; the next run reads it as it is now.
                return Verdict("skipped", changed=True)

        async with _first_error_of(asyncio.TaskGroup()) as group:
            tasks = [group.create_task(read(row)) for row in own.values()]
        return [task.result() for task in tasks]

    async def _enrich(self, run: Row[Any]) -> list[Verdict]:
        if not _collects(run.types):
            return []
        try:
            await self.enrich(run.user_id)
        except Exception:
            # What was collected stays, and the next run goes on with it.
            log.exception("items_not_enriched", user_id=run.user_id)
            return [Verdict("partial")]
        return []

    async def _make_summaries(self, run: Row[Any]) -> list[Verdict]:
        wanted = tuple(t for t in run.types if t.startswith("content/summary/"))
        if not wanted:
            return []
        try:
            await self.make_summaries(run.user_id, wanted)
        except Exception:
            # What was collected stays good without them.
            log.exception("summaries_not_made", user_id=run.user_id)
            return [Verdict("failed")]
        return [Verdict("completed")]

    async def _finish(
        self, run: Row[Any], verdicts: list[Verdict], own: Mapping[str, Row[Any]] | None
    ) -> None:
        status = run_status(verdicts)
        now = self.now()
        async with self.engine.begin() as connection:
            # Everybody locks the watch first, then the run, then connections.
            watch = await watches.get_watch(connection, run.user_id, lock=True)
            if not await runs.lock_held_run(connection, run.user_id, run.id, run.attempt):
                raise LeaseLost
            await runs.finish_run(connection, run.user_id, run.id, status=status, now=now)
            if watch is not None and watch.unwatched_at is None:
                next_sync = watch.next_sync_at
                if _collects(run.types):  # summaries alone make nothing later
                    next_sync = await self._next_sync(
                        connection, watch, verdicts, own, began=run.started_at, now=now
                    )
                await watches.update_watch(
                    connection,
                    run.user_id,
                    last_sync_at=clock.whole_seconds(now),
                    last_sync_status=status,
                    next_sync_at=next_sync,
                )
        RUNS.labels(status).inc()
        RUN_SECONDS.observe((now - run.started_at).total_seconds())
        log.info("sync_finished", user_id=run.user_id, status=status, attempt=run.attempt)

    async def _next_sync(
        self,
        connection: AsyncConnection,
        watch: Row[Any],
        verdicts: list[Verdict],
        own: Mapping[str, Row[Any]] | None,
        *,
        began: datetime,
        now: datetime,
    ) -> datetime:
        there = await connections.list_connections(connection, watch.user_id)
        ours = [row for row in there if row.source in self.sources]
        if own is not None:
            read = {source: row.revision for source, row in own.items()}
            if any(row.revision != read.get(row.source) for row in ours):
                return clock.whole_seconds(now)  # the user changed or added one meanwhile
        if any(verdict.changed for verdict in verdicts):
            return clock.whole_seconds(now)
        parts = await connections.list_parts(connection, watch.user_id)
        if _is_pushed(ours, parts, now):
            return clock.whole_seconds(now + SPACING)  # something was pushed while it was read
        waits = [_latest(row.next_attempt_at, row.retry_at) for row in parts if not row.permanent]
        due = scheduling.schedule_next(
            timedelta(seconds=watch.sync_interval),
            waits,
            now,
            jitter=random.uniform(-1, 1),
            named=[
                max(row.retry_at, row.next_attempt_at or now)
                for row in (*ours, *parts)
                # What was told before this run did not keep it from being read.
                if row.retry_at is not None and row.retry_at > began and not row.permanent
            ],
        )
        return clock.seconds_up(due)

    async def _release(self, run: Row[Any]) -> None:
        async with self.engine.begin() as connection:
            if await runs.release_run(connection, run.user_id, run.id, run.attempt):
                await self.enqueue_again(connection, run.user_id, run.id)
                log.info("sync_handed_over", user_id=run.user_id)

    @contextlib.asynccontextmanager
    async def _kept(self, run: Row[Any]) -> AsyncIterator[None]:
        """Keeps the lease alive in the background; losing it cancels what is inside."""
        inside = asyncio.current_task()
        lost = False

        async def beat() -> None:
            nonlocal lost
            while True:
                await asyncio.sleep(self.policy.lease.total_seconds() / 4)
                try:
                    async with self.engine.begin() as connection:
                        kept = await runs.extend_lease(
                            connection, run.user_id, run.id, run.attempt, self.policy.lease
                        )
                except Exception as error:  # the lease leaves time for more than one attempt
                    log.warning("lease_not_extended", why=type(error).__name__)
                    continue
                if not kept:
                    lost = True
                    if inside is not None:
                        inside.cancel()
                    return

        beating = asyncio.create_task(beat())
        try:
            yield
        except asyncio.CancelledError:
            if lost and inside is not None and inside.uncancel() == 0:
                raise LeaseLost from None
            raise
        finally:
            beating.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await beating
        if lost:
            raise LeaseLost


def run_status(verdicts: list[Verdict]) -> str:
    """The status of a run: `completed` where all went well, `failed` where nothing did."""
    counted = [verdict.status for verdict in verdicts if not verdict.changed]
    if all(status in _GOOD for status in counted):
        return "completed"
    return "partial" if _GOOD & set(counted) or "partial" in counted else "failed"


def _collects(types: list[str]) -> bool:
    return not types or any(not t.startswith("content/summary/") for t in types)


def _is_pushed(accounts: list[Row[Any]], parts: Sequence[Row[Any]], now: datetime) -> bool:
    """Whether something was pushed that may be read at once."""
    open_accounts = {
        row.source
        for row in accounts
        if not row.permanent and _is_past(row.next_attempt_at, now) and _is_past(row.retry_at, now)
    }
    return any(
        row.pushed_at is not None
        and not row.permanent
        and row.source in open_accounts
        and _is_past(row.retry_at, now)
        for row in parts
    )


def _is_past(instant: datetime | None, now: datetime) -> bool:
    return instant is None or instant <= now


def _latest(*instants: datetime | None) -> datetime | None:
    return max((instant for instant in instants if instant is not None), default=None)


@contextlib.asynccontextmanager
async def _first_error_of(group: asyncio.TaskGroup) -> AsyncIterator[asyncio.TaskGroup]:
    """A task group that raises its first error itself instead of a group of errors."""
    try:
        async with group:
            yield group
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None

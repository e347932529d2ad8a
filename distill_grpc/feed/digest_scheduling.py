"""Digests at the user's hour, of days and weeks: due-ness is a column, a tick enqueues, a job makes.

A period stays due until its digest is stored; a claim only moves the next look at it away. So a job that
is lost is enqueued again, and one that comes twice finds the period done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed import periods, preferring
from distill_grpc.feed.digesting import Digester, Spender
from distill_grpc.feed.periods import following
from distill_grpc.feed.store import digest_mails, preferences
from distill_grpc.jobs.queue import JobQueue

log = structlog.get_logger()

DIGEST_JOB = "feed.digest"
BATCH = 200
# A job that has not stored its digest by then is taken for lost.
LEASE = timedelta(minutes=4)
# Until the sync that covers the end of the period, as long as it does not take more than PATIENCE.
LOOK_AGAIN, PATIENCE = timedelta(minutes=5), timedelta(hours=2)


async def enqueue_due(connection: AsyncConnection, queue: JobQueue, now: datetime) -> int:
    """Enqueues the digests that are due and whose data are there; returns how many."""
    jobs = []
    for kind in preferences.SCHEDULES:
        for row in await preferences.list_due(connection, kind, now, BATCH):
            first = latest_due(kind, row, now)
            ready = _is_ready(kind, row, first, now)
            again = now + (LEASE if ready else LOOK_AGAIN)
            await _schedule(connection, row.user_id, kind, first, again)
            if ready:
                day = first.isoformat()
                jobs.append({"user_id": row.user_id, "day": day, "period": kind})
    await queue.enqueue(connection, DIGEST_JOB, jobs)
    return len(jobs)


def latest_due(kind: str, row: Row[Any], now: datetime) -> date:
    """The newest period that is due: after a long stop those before it are not made up for."""
    first: date = row.due_date
    while preferring.due_at(kind, after := following(kind, first), row.digest_hour, row.tz) <= now:
        first = after
    return first


def _is_ready(kind: str, row: Row[Any], first: date, now: datetime) -> bool:
    """True where a sync ended after the period did, or none came for too long."""
    end = preferring.end_of(kind, first, row.tz)
    if row.last_sync_at is not None and row.last_sync_at >= end:
        return True
    return now >= preferring.due_at(kind, first, row.digest_hour, row.tz) + PATIENCE


async def _schedule(
    connection: AsyncConnection, user_id: str, kind: str, first: date, at: datetime
) -> None:
    columns = preferences.SCHEDULES[kind]
    changes: dict[str, Any] = {columns.date: first, columns.due: at}
    await preferences.update_preferences(connection, user_id, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestMaker:
    """Makes the digests that are due."""

    engine: AsyncEngine
    digester: Digester
    now: Callable[[], datetime] = clock.utc_now

    async def run(self, user_id: str, day: str, period: str = "daily") -> None:
        """The job `feed.digest`: does nothing where the period is done or the schedule another one.

        `day` is the period's date.
        """
        due = date.fromisoformat(day)
        async with self.engine.connect() as connection:
            row = await preferences.get_preferences(connection, user_id)
        if row is None or not _is_due(row, period, due):
            log.info("digest_not_due", day=day, period=period)
            return
        made = await self._make(row, period, day)
        async with self.engine.begin() as connection:
            current = await preferences.get_preferences(connection, user_id, lock=True)
            if current is None or not _is_due(current, period, due):
                return  # another worker was quicker, or the user changed the schedule
            if made and current.mail:
                # The zone that it was made in: the user may have moved meanwhile.
                await digest_mails.insert_mail(
                    connection, user_id, period=period, day=due, tz=row.tz, now=self.now()
                )
            after = following(period, due)
            at = preferring.due_at(period, after, current.digest_hour, current.tz)
            await _schedule(connection, user_id, period, after, at)

    async def _make(self, row: Row[Any], kind: str, day: str) -> bool:
        """True where there is a digest now; False where there was nothing to digest."""
        now = self.now()
        wanted = periods.period(kind, day, row.tz, now)
        spender = Spender(credits_available=row.credits_available, waits=False)
        try:
            await self.digester.get_summary(row.user_id, wanted, spender, now)
        except DistillError as error:
            if error.reason not in {ErrorReason.SUMMARY_UNAVAILABLE, ErrorReason.NOT_WATCHING}:
                raise
            return False
        return True


def _is_due(row: Row[Any], kind: str, first: date) -> bool:
    columns = preferences.SCHEDULES[kind]
    return getattr(row, columns.date) == first and getattr(row, columns.due) is not None

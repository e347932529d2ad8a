"""Digests at the user's hour: due-ness is a column, a tick enqueues, a job makes.

A day stays due until its digest is stored; a claim only moves the next look at it away. So a job that is
lost is enqueued again, and one that comes twice finds the day done.
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
from distill_grpc.feed import preferring
from distill_grpc.feed.digesting import Digester, Spender
from distill_grpc.feed.periods import period
from distill_grpc.feed.store import digest_mails, preferences
from distill_grpc.jobs.queue import JobQueue

log = structlog.get_logger()

DIGEST_JOB = "feed.digest"
BATCH = 200
# A job that has not stored its digest by then is taken for lost.
LEASE = timedelta(minutes=4)
# Until the sync that covers the end of the day, as long as it does not take more than PATIENCE.
LOOK_AGAIN, PATIENCE = timedelta(minutes=5), timedelta(hours=2)


async def enqueue_due(connection: AsyncConnection, queue: JobQueue, now: datetime) -> int:
    """Enqueues the digests that are due and whose data are there; returns how many."""
    jobs = []
    for row in await preferences.list_due(connection, now, BATCH):
        day = latest_due(row, now)
        ready = _is_ready(row, day, now)
        await preferences.update_preferences(
            connection,
            row.user_id,
            digest_date=day,
            next_digest_at=now + (LEASE if ready else LOOK_AGAIN),
        )
        if ready:
            jobs.append({"user_id": row.user_id, "day": day.isoformat()})
    await queue.enqueue(connection, DIGEST_JOB, jobs)
    return len(jobs)


def latest_due(row: Row[Any], now: datetime) -> date:
    """The newest day that is due: after a long stop the days before it are not made up for."""
    day: date = row.digest_date
    while preferring.due_at(day + timedelta(days=1), row.digest_hour, row.tz) <= now:
        day += timedelta(days=1)
    return day


def _is_ready(row: Row[Any], day: date, now: datetime) -> bool:
    """True where a sync ended after the day did, or none came for too long."""
    if row.last_sync_at is not None and row.last_sync_at >= preferring.end_of(day, row.tz):
        return True
    return now >= preferring.due_at(day, row.digest_hour, row.tz) + PATIENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestMaker:
    """Makes the digests that are due."""

    engine: AsyncEngine
    digester: Digester
    now: Callable[[], datetime] = clock.utc_now

    async def run(self, user_id: str, day: str) -> None:
        """The job `feed.digest`: does nothing where the day is done or the schedule another one."""
        due = date.fromisoformat(day)
        async with self.engine.connect() as connection:
            row = await preferences.get_preferences(connection, user_id)
        if row is None or row.digest_date != due:
            log.info("digest_not_due", day=day)
            return
        made = await self._make(row)
        async with self.engine.begin() as connection:
            now = self.now()
            current = await preferences.get_preferences(connection, user_id, lock=True)
            if current is None or current.digest_date != due or current.digest_hour is None:
                return  # another worker was quicker, or the user changed the schedule
            if made and current.mail:
                await digest_mails.insert_mail(connection, user_id, due, current.tz, now)
            following = due + timedelta(days=1)
            await preferences.update_preferences(
                connection,
                user_id,
                digest_date=following,
                next_digest_at=preferring.due_at(following, current.digest_hour, current.tz),
            )

    async def _make(self, row: Row[Any]) -> bool:
        """True where there is a digest now; False where there was nothing to digest."""
        now = self.now()
        wanted = period(row.digest_date.isoformat(), None, row.tz, now)
        spender = Spender(credits_available=row.credits_available, waits=False)
        try:
            await self.digester.get_summary(row.user_id, wanted, spender, now)
        except DistillError as error:
            if error.reason not in {ErrorReason.SUMMARY_UNAVAILABLE, ErrorReason.NOT_WATCHING}:
                raise
            return False
        return True

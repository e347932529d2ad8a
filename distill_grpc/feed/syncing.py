"""Syncs on demand and on schedule: who gets a run, and when (seed 002, POST /sync)."""

from __future__ import annotations

import base64
import binascii
import statistics
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc import clock
from distill_grpc.auth import Caller
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed.policy import Policy
from distill_grpc.feed.store import connections, runs, state, watches
from distill_grpc.jobs.queue import JobQueue

SYNC_JOB = "feed.sync"
# Taken for a user who has no finished run yet.
FIRST_ESTIMATE = timedelta(seconds=30)
SHORTEST_ESTIMATE = timedelta(seconds=2)
# Due watches that one tick takes on.
BATCH = 200
# Runs that nobody works on although they should be worked on are enqueued again after this long.
ABANDONED_RUNNING = timedelta(seconds=6)
ABANDONED_QUEUED = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Queued:
    """The run that a request made."""

    run_id: UUID
    estimated_completion: datetime


def job_id(run_id: UUID) -> str:
    """A run's id as the API shows it, such as `sync_4dsqv5…`."""
    return "sync_" + base64.b32encode(run_id.bytes).decode().rstrip("=").lower()


def parse_job_id(text: str) -> UUID | None:
    """The run's id, or None where the text is none."""
    head, _, tail = text.partition("_")
    try:
        raw = base64.b32decode(tail.upper() + "======")
    except (binascii.Error, ValueError):
        return None
    return UUID(bytes=raw) if head == "sync" and len(raw) == 16 else None


async def request_sync(
    connection: AsyncConnection,
    queue: JobQueue,
    caller: Caller,
    *,
    sources: Collection[str],
    types: Sequence[str],
    force: bool,
    policy: Policy,
    now: datetime,
) -> Queued:
    """Queues a run for the user who asks.

    Raises INSUFFICIENT_CREDITS, NOT_WATCHING, NO_PLATFORM_AUTH, SYNC_IN_PROGRESS, and RATE_LIMITED
    where the last run ended just now (unless forced) or every platform asked to wait.
    """
    if not caller.credits_available:
        raise DistillError(ErrorReason.INSUFFICIENT_CREDITS)
    watch = await watches.get_watch(connection, caller.user_id, lock=True)
    if watch is None or watch.unwatched_at is not None:
        raise DistillError(ErrorReason.NOT_WATCHING)
    active = await runs.get_active(connection, caller.user_id)
    if active is not None:
        raise _in_progress(active)
    open_at = await _platforms_open_at(connection, caller.user_id, sources, now)
    allowed_at = None
    if watch.last_sync_at is not None and not force:
        allowed_at = watch.last_sync_at + policy.sync_min_interval
    if open_at is not None:
        raise DistillError(
            ErrorReason.RATE_LIMITED,
            "Platform API rate limit active",
            retry_after=max(open_at, allowed_at or open_at),
        )
    if allowed_at is not None and now < allowed_at:
        raise DistillError(
            ErrorReason.RATE_LIMITED,
            "The last sync ended just now; `force` syncs all the same.",
            retry_after=allowed_at,
        )
    return await enqueue(
        connection,
        queue,
        caller.user_id,
        uuid.uuid4(),
        trigger="request",
        types=types,
        force=force,
        now=now,
    )


async def enqueue(
    connection: AsyncConnection,
    queue: JobQueue,
    user_id: str,
    run_id: UUID,
    *,
    trigger: str,
    now: datetime,
    types: Sequence[str] = (),
    force: bool = False,
) -> Queued:
    """Makes a run and its job in the caller's transaction; raises SYNC_IN_PROGRESS."""
    durations = await runs.list_durations(connection, user_id)
    estimate = now + _estimate(durations)
    made = await runs.insert_run(
        connection,
        user_id=user_id,
        id=run_id,
        trigger=trigger,
        force=force,
        types=list(types),
        queued_at=now,
        estimated_completion=estimate,
    )
    if not made:
        active = await runs.get_active(connection, user_id)
        raise _in_progress(active) if active else DistillError(ErrorReason.SYNC_IN_PROGRESS)
    await queue.enqueue(connection, SYNC_JOB, [_job(user_id, run_id)])
    return Queued(run_id, estimate)


async def enqueue_due(connection: AsyncConnection, queue: JobQueue, now: datetime) -> int:
    """Gives every due watch a run; returns how many. Safe from many workers at once."""
    jobs = []
    for user_id, interval in await watches.list_due(connection, now, BATCH):
        # Due again after the usual time even if this run should never report back.
        await watches.update_watch(
            connection, user_id, next_sync_at=now + timedelta(seconds=interval)
        )
        durations = await runs.list_durations(connection, user_id)
        run_id = uuid.uuid4()
        if await runs.insert_run(
            connection,
            user_id=user_id,
            id=run_id,
            trigger="schedule",
            force=False,
            types=[],
            queued_at=now,
            estimated_completion=now + _estimate(durations),
        ):
            jobs.append(_job(user_id, run_id))
    await queue.enqueue(connection, SYNC_JOB, jobs)
    await state.set_instant(connection, state.LAST_SYNC_CYCLE, clock.whole_seconds(now))
    return len(jobs)


async def enqueue_abandoned(connection: AsyncConnection, queue: JobQueue) -> int:
    """Enqueues runs again that no living job works on; returns how many.

    A job is gone where it failed before it could claim its run, as it does when the database goes
    away then. Jobs are taken in their order, so a run that was queued before the one whose job waits
    longest has lost its own.
    """
    oldest = await queue.oldest_waiting(connection, SYNC_JOB)
    waiting = None
    if oldest is not None:
        waiting = await runs.get_run(connection, oldest["user_id"], UUID(oldest["run_id"]))
    abandoned = await runs.list_abandoned(
        connection,
        running=ABANDONED_RUNNING,
        queued=ABANDONED_QUEUED,
        queued_before=waiting.queued_at if waiting is not None else None,
        limit=BATCH,
    )
    for user_id, run_id in abandoned:
        await runs.touch_queued(connection, user_id, run_id)
    await queue.enqueue(connection, SYNC_JOB, [_job(*run) for run in abandoned])
    return len(abandoned)


async def get_run(
    connection: AsyncConnection, user_id: str, text: str
) -> tuple[Row[Any], Sequence[Row[Any]]]:
    """A run of the user and how each source of it goes; raises NOT_FOUND."""
    run_id = parse_job_id(text)
    run = await runs.get_run(connection, user_id, run_id) if run_id else None
    if run is None:
        raise DistillError(ErrorReason.NOT_FOUND, "There is no sync with this id.")
    return run, await runs.list_sources(connection, user_id, run.id)


async def _platforms_open_at(
    connection: AsyncConnection, user_id: str, sources: Collection[str], now: datetime
) -> datetime | None:
    """When the first platform may be asked; None: now. Raises NO_PLATFORM_AUTH where there is none."""
    own = [
        row
        for row in await connections.list_connections(connection, user_id)
        if row.source in sources
    ]
    if not own:
        raise DistillError(ErrorReason.NO_PLATFORM_AUTH)
    waits = [row.retry_at for row in own if row.retry_at is not None and row.retry_at > now]
    return min(waits) if len(waits) == len(own) else None


def _in_progress(active: Row[Any]) -> DistillError:
    return DistillError(
        ErrorReason.SYNC_IN_PROGRESS, details={"job_id": job_id(active.id), "status": active.status}
    )


def _estimate(durations: Sequence[timedelta]) -> timedelta:
    if not durations:
        return FIRST_ESTIMATE
    typical = statistics.median(duration.total_seconds() for duration in durations)
    return max(SHORTEST_ESTIMATE, timedelta(seconds=round(typical)))


def _job(user_id: str, run_id: UUID) -> dict[str, str]:
    return {"user_id": user_id, "run_id": str(run_id)}

"""Watch and unwatch: who is monitored (seed 002, POST /watch and /unwatch)."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc import clock
from distill_grpc.auth import Caller
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed import syncing
from distill_grpc.feed.policy import Policy
from distill_grpc.feed.store import connections, runs, watches
from distill_grpc.jobs.queue import JobQueue


@dataclass(frozen=True, slots=True)
class Watched:
    """The watch after the call. `new` where this call began it and queued the first sync."""

    new: bool
    since: datetime
    last_sync: datetime | None
    next_sync: datetime


@dataclass(frozen=True, slots=True)
class Unwatched:
    """The watch that ended."""

    duration: timedelta
    retention: timedelta


async def watch(
    connection: AsyncConnection,
    queue: JobQueue,
    caller: Caller,
    *,
    sources: Collection[str],
    backfill_days: int | None,
    default_backfill_days: int,
    sync_frequency: timedelta | None,
    policy: Policy,
    now: datetime,
) -> Watched:
    """Begins a watch and queues its first sync; an active one takes over the options named.

    Raises INSUFFICIENT_CREDITS, and NO_PLATFORM_AUTH where none of `sources` is connected.
    """
    if not caller.credits_available:
        raise DistillError(ErrorReason.INSUFFICIENT_CREDITS)
    now = clock.whole_seconds(now)
    row = await watches.get_watch(connection, caller.user_id, lock=True)
    if row is not None and row.unwatched_at is None:
        return await _change(connection, row, backfill_days, sync_frequency, now)
    interval = sync_frequency or policy.sync_frequency
    values: dict[str, Any] = {
        "email": caller.email,
        "since": now,
        "unwatched_at": None,
        "purge_at": None,
        "backfill_days": backfill_days or default_backfill_days,
        "sync_interval": int(interval.total_seconds()),
        "next_sync_at": now + interval,
    }
    if row is not None:
        await watches.update_watch(connection, caller.user_id, **values)
    elif not await watches.insert_watch(connection, user_id=caller.user_id, **values):
        # Another call of the same user was first.
        row = await watches.get_watch(connection, caller.user_id, lock=True)
        assert row is not None  # noqa: S101 -- the conflict showed it
        return await _change(connection, row, backfill_days, sync_frequency, now)
    # The watch is ours from here on; only who has it touches the connections.
    await _require_connection(connection, caller.user_id, sources, policy, now)
    await syncing.enqueue(connection, queue, caller.user_id, uuid.uuid4(), trigger="watch", now=now)
    return Watched(
        new=True,
        since=now,
        last_sync=row.last_sync_at if row is not None else None,
        next_sync=now + interval,
    )


async def unwatch(
    connection: AsyncConnection, user_id: str, *, policy: Policy, now: datetime
) -> Unwatched | None:
    """Ends a watch and whatever sync runs for it; None where there was none."""
    now = clock.whole_seconds(now)
    row = await watches.get_watch(connection, user_id, lock=True)
    if row is None or row.unwatched_at is not None:
        return None
    await watches.update_watch(
        connection,
        user_id,
        unwatched_at=now,
        purge_at=now + policy.raw_retention,
        next_sync_at=None,
    )
    await runs.cancel_active(connection, user_id, now)
    return Unwatched(duration=now - row.since, retention=policy.raw_retention)


async def require_watch(connection: AsyncConnection, user_id: str) -> Row[Any]:
    """The user's active watch; raises NOT_WATCHING where there is none."""
    row = await watches.get_watch(connection, user_id)
    if row is None or row.unwatched_at is not None:
        raise DistillError(ErrorReason.NOT_WATCHING)
    return row


async def _change(
    connection: AsyncConnection,
    row: Row[Any],
    backfill_days: int | None,
    sync_frequency: timedelta | None,
    now: datetime,
) -> Watched:
    next_sync: datetime = row.next_sync_at
    changes: dict[str, Any] = {}
    if backfill_days is not None:
        changes["backfill_days"] = backfill_days
    if sync_frequency is not None and int(sync_frequency.total_seconds()) != row.sync_interval:
        next_sync = min(next_sync, now + sync_frequency)
        changes["sync_interval"] = int(sync_frequency.total_seconds())
        changes["next_sync_at"] = next_sync
        if changes["sync_interval"] < row.sync_interval:
            # The pauses were made for the longer interval.
            await connections.end_pauses(connection, row.user_id)
    if changes:
        await watches.update_watch(connection, row.user_id, **changes)
    return Watched(new=False, since=row.since, last_sync=row.last_sync_at, next_sync=next_sync)


async def _require_connection(
    connection: AsyncConnection,
    user_id: str,
    sources: Collection[str],
    policy: Policy,
    now: datetime,
) -> None:
    if await connections.has_connection(connection, user_id, sources):
        return
    if not policy.connects_by_itself:
        raise DistillError(ErrorReason.NO_PLATFORM_AUTH)
    for source in sources:
        await connections.upsert_connection(
            connection,
            user_id=user_id,
            source=source,
            settings={},
            credentials=None,
            account=None,
            connected_at=now,
        )

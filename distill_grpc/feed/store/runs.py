"""Sync runs: at most one active a user, claimed under a lease, fenced by an attempt number.

Leases are measured by the database's clock, so that workers need not agree on the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import CursorResult, Row, and_, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.feed.models import Connection, SyncRun, SyncRunSource

runs = SyncRun.__table__
run_sources = SyncRunSource.__table__
ACTIVE = ("queued", "running")
_DB_NOW = func.clock_timestamp()


async def insert_run(connection: AsyncConnection, **values: Any) -> bool:
    """Queues a run; False where the user has an active one already."""
    statement = (
        insert(SyncRun)
        .values(status="queued", attempt=0, **values)
        .on_conflict_do_nothing(
            index_elements=["user_id"], index_where=text("status IN ('queued', 'running')")
        )
        .returning(SyncRun.id)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def get_run(connection: AsyncConnection, user_id: str, run_id: UUID) -> Row[Any] | None:
    """One run of the user."""
    query = select(runs).where(SyncRun.user_id == user_id, SyncRun.id == run_id)
    return (await connection.execute(query)).one_or_none()


async def get_active(connection: AsyncConnection, user_id: str) -> Row[Any] | None:
    """The user's queued or running run."""
    query = select(runs).where(SyncRun.user_id == user_id, SyncRun.status.in_(ACTIVE))
    return (await connection.execute(query)).one_or_none()


async def list_durations(
    connection: AsyncConnection, user_id: str, limit: int = 10
) -> list[timedelta]:
    """How long the user's last finished runs took."""
    query = (
        select(SyncRun.started_at, SyncRun.finished_at)
        .where(
            SyncRun.user_id == user_id,
            SyncRun.finished_at.is_not(None),
            SyncRun.started_at.is_not(None),
        )
        .order_by(SyncRun.queued_at.desc())
        .limit(limit)
    )
    return [end - begin for begin, end in await connection.execute(query) if begin and end]


async def claim_run(
    connection: AsyncConnection, user_id: str, run_id: UUID, *, worker: str, lease: timedelta
) -> Row[Any] | None:
    """Takes a run that nobody holds, under the next attempt number; None where it is held or over."""
    statement = (
        update(SyncRun)
        .where(
            SyncRun.user_id == user_id,
            SyncRun.id == run_id,
            or_(
                SyncRun.status == "queued",
                and_(SyncRun.status == "running", SyncRun.lease_until < _DB_NOW),
            ),
        )
        .values(
            status="running",
            attempt=SyncRun.attempt + 1,
            worker=worker,
            lease_until=_DB_NOW + lease,
            started_at=func.coalesce(SyncRun.started_at, _DB_NOW),
        )
        .returning(runs)
    )
    claimed: Row[Any] | None = (await connection.execute(statement)).one_or_none()
    return claimed


async def extend_lease(
    connection: AsyncConnection, user_id: str, run_id: UUID, attempt: int, lease: timedelta
) -> bool:
    """Keeps a run that is held; False where it was lost."""
    result: CursorResult[Any] = await connection.execute(
        update(SyncRun).where(*_held(user_id, run_id, attempt)).values(lease_until=_DB_NOW + lease)
    )
    return result.rowcount == 1


async def lock_held_run(
    connection: AsyncConnection, user_id: str, run_id: UUID, attempt: int
) -> bool:
    """Locks the run for this transaction; False where it was lost, and nothing may be written."""
    query = select(SyncRun.id).where(*_held(user_id, run_id, attempt)).with_for_update()
    return (await connection.execute(query)).one_or_none() is not None


async def lock_revision(
    connection: AsyncConnection, user_id: str, source: str, revision: int
) -> bool:
    """Holds a connection in its revision; False where the user changed or removed it meanwhile."""
    query = (
        select(Connection.revision)
        .where(
            Connection.user_id == user_id,
            Connection.source == source,
            Connection.revision == revision,
        )
        .with_for_update(key_share=True)
    )
    return (await connection.execute(query)).one_or_none() is not None


async def release_run(
    connection: AsyncConnection, user_id: str, run_id: UUID, attempt: int
) -> bool:
    """Gives a held run back to the queue at once."""
    result: CursorResult[Any] = await connection.execute(
        update(SyncRun)
        .where(*_held(user_id, run_id, attempt))
        .values(status="queued", lease_until=None, worker=None)
    )
    return result.rowcount == 1


async def finish_run(
    connection: AsyncConnection, user_id: str, run_id: UUID, *, status: str, now: datetime
) -> None:
    """Ends a run that this transaction has locked, and the sources of it that have no end yet."""
    await connection.execute(
        update(SyncRun)
        .where(SyncRun.user_id == user_id, SyncRun.id == run_id)
        .values(status=status, finished_at=now, lease_until=None)
    )
    left = "failed" if status == "failed" else "skipped"
    await _settle_sources(connection, user_id, run_id, left)


async def cancel_active(connection: AsyncConnection, user_id: str, now: datetime) -> None:
    """Ends whatever run the user has; its worker can write nothing after this commits."""
    ended = await connection.execute(
        update(SyncRun)
        .where(SyncRun.user_id == user_id, SyncRun.status.in_(ACTIVE))
        .values(status="skipped", finished_at=now, lease_until=None)
        .returning(SyncRun.id)
    )
    for run_id in ended.scalars().all():
        await _settle_sources(connection, user_id, run_id, "skipped")


async def list_abandoned(
    connection: AsyncConnection,
    *,
    running: timedelta,
    queued: timedelta,
    queued_before: datetime | None,
    limit: int,
) -> Sequence[tuple[str, UUID]]:
    """Active runs that no job will pick up any more: the lease ran out, or the queue forgot them.

    `running` and `queued` are how long ago that must be; `queued` counts from `queued_before` where
    it is given, else from now.
    """
    since = _DB_NOW if queued_before is None else func.least(_DB_NOW, queued_before)
    query = (
        select(SyncRun.user_id, SyncRun.id)
        .where(
            or_(
                and_(SyncRun.status == "running", SyncRun.lease_until < _DB_NOW - running),
                and_(SyncRun.status == "queued", SyncRun.queued_at < since - queued),
            )
        )
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [(user_id, run_id) for user_id, run_id in await connection.execute(query)]


async def touch_queued(connection: AsyncConnection, user_id: str, run_id: UUID) -> None:
    """Says that a run was enqueued again just now."""
    await connection.execute(
        update(SyncRun)
        .where(SyncRun.user_id == user_id, SyncRun.id == run_id)
        .values(status="queued", queued_at=_DB_NOW, lease_until=None)
    )


async def upsert_source(
    connection: AsyncConnection, user_id: str, run_id: UUID, source: str, **values: Any
) -> None:
    """Stores how one source of a run goes; columns that are not named stay as they are."""
    defaults: dict[str, Any] = {
        "status": "queued",
        "items_new": 0,
        "items_updated": 0,
        "items_deleted": 0,
        "parts_total": 0,
        "parts_done": 0,
        "parts_failed": 0,
    }
    statement = insert(SyncRunSource).values(
        user_id=user_id, run_id=run_id, source=source, **(defaults | values)
    )
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["user_id", "run_id", "source"],
            set_={name: statement.excluded[name] for name in values},
        )
    )


async def add_progress(
    connection: AsyncConnection, user_id: str, run_id: UUID, source: str, **counts: int
) -> None:
    """Adds to the counters of one source of a run."""
    columns = SyncRunSource.__table__.c
    await connection.execute(
        update(SyncRunSource)
        .where(
            SyncRunSource.user_id == user_id,
            SyncRunSource.run_id == run_id,
            SyncRunSource.source == source,
        )
        .values({name: columns[name] + count for name, count in counts.items()})
    )


async def list_sources(
    connection: AsyncConnection, user_id: str, run_id: UUID
) -> Sequence[Row[Any]]:
    """How each source of a run goes."""
    query = (
        select(run_sources)
        .where(SyncRunSource.user_id == user_id, SyncRunSource.run_id == run_id)
        .order_by(SyncRunSource.source)
    )
    return (await connection.execute(query)).all()


async def delete_finished_before(connection: AsyncConnection, before: datetime, limit: int) -> int:
    """Deletes old finished runs; returns how many."""
    old = (
        select(SyncRun.user_id, SyncRun.id).where(SyncRun.finished_at < before).limit(limit)
    ).subquery()
    result: CursorResult[Any] = await connection.execute(
        delete(SyncRun).where(SyncRun.user_id == old.c.user_id, SyncRun.id == old.c.id)
    )
    return result.rowcount


async def delete_of_user(connection: AsyncConnection, user_id: str) -> None:
    """Deletes all runs of a user."""
    await connection.execute(delete(SyncRun).where(SyncRun.user_id == user_id))


async def _settle_sources(
    connection: AsyncConnection, user_id: str, run_id: UUID, status: str
) -> None:
    await connection.execute(
        update(SyncRunSource)
        .where(
            SyncRunSource.user_id == user_id,
            SyncRunSource.run_id == run_id,
            SyncRunSource.status.in_(ACTIVE),
        )
        .values(status=status)
    )


def _held(user_id: str, run_id: UUID, attempt: int) -> tuple[Any, ...]:
    return (
        SyncRun.user_id == user_id,
        SyncRun.id == run_id,
        SyncRun.status == "running",
        SyncRun.attempt == attempt,
    )

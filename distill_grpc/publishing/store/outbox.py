"""The outbox: jobs that a committed change has made necessary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.publishing.models import OutboxEntry

_entries = OutboxEntry.__table__


async def insert_entry(
    connection: AsyncConnection, job: str, key: str, payload: Mapping[str, Any], now: datetime
) -> None:
    """Notes a job down, once for each key, in the transaction that makes it necessary."""
    await connection.execute(
        insert(OutboxEntry)
        .values(job=job, key=key, payload=dict(payload), created_at=now)
        .on_conflict_do_nothing()
    )


async def lock_waiting(connection: AsyncConnection, limit: int) -> Sequence[Row[Any]]:
    """Entries that wait, oldest first; locked, those that others hand on left out."""
    query = (
        select(_entries)
        .where(OutboxEntry.handed_on_at.is_(None))
        .order_by(OutboxEntry.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return (await connection.execute(query)).all()


async def mark_handed_on(
    connection: AsyncConnection, entries: Sequence[Row[Any]], now: datetime
) -> None:
    """Notes that these have been handed on."""
    keys = [(entry.job, entry.key) for entry in entries]
    await connection.execute(
        update(OutboxEntry)
        .where(tuple_(OutboxEntry.job, OutboxEntry.key).in_(keys))
        .values(handed_on_at=now)
    )


async def delete_handed_on(connection: AsyncConnection, job: str, before: datetime) -> int:
    """Forgets entries of a job that were handed on before then; returns how many."""
    statement = delete(OutboxEntry).where(OutboxEntry.job == job, OutboxEntry.handed_on_at < before)
    return (await connection.execute(statement)).rowcount

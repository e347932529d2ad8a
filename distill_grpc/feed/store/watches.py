"""Watches: who is monitored, and when the next sync is due."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.feed.models import Watch

watches = Watch.__table__


async def get_watch(
    connection: AsyncConnection, user_id: str, *, lock: bool = False
) -> Row[Any] | None:
    """The user's row, ended watches included; locked against others where `lock` is set."""
    query = select(watches).where(Watch.user_id == user_id)
    found = await connection.execute(query.with_for_update() if lock else query)
    return found.one_or_none()


async def insert_watch(connection: AsyncConnection, **values: Any) -> bool:
    """Inserts a watch; False where there is a row already, which then stays as it is."""
    statement = insert(Watch).values(**values).on_conflict_do_nothing().returning(Watch.user_id)
    return (await connection.execute(statement)).one_or_none() is not None


async def update_watch(connection: AsyncConnection, user_id: str, **values: Any) -> None:
    """Changes columns of a user's watch."""
    await connection.execute(update(Watch).where(Watch.user_id == user_id).values(**values))


async def make_due(connection: AsyncConnection, user_id: str, now: datetime) -> None:
    """Makes an active watch due now."""
    await connection.execute(
        update(Watch)
        .where(Watch.user_id == user_id, Watch.unwatched_at.is_(None))
        .values(next_sync_at=now)
    )


async def list_due(connection: AsyncConnection, now: datetime, limit: int) -> list[tuple[str, int]]:
    """Active watches that are due, longest overdue first; locked, those of other ticks left out."""
    query = (
        select(Watch.user_id, Watch.sync_interval)
        .where(Watch.unwatched_at.is_(None), Watch.next_sync_at <= now)
        .order_by(Watch.next_sync_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [(user_id, interval) for user_id, interval in await connection.execute(query)]


async def list_purgeable(connection: AsyncConnection, now: datetime, limit: int) -> list[str]:
    """Users who left so long ago that everything of theirs goes."""
    query = (
        select(Watch.user_id)
        .where(Watch.unwatched_at.is_not(None), Watch.purge_at <= now)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list((await connection.execute(query)).scalars())


async def delete_watch(connection: AsyncConnection, user_id: str) -> None:
    """Deletes a user's row."""
    await connection.execute(delete(Watch).where(Watch.user_id == user_id))


async def count_active(connection: AsyncConnection) -> int:
    """Users being watched."""
    query = select(func.count()).select_from(Watch).where(Watch.unwatched_at.is_(None))
    return int((await connection.execute(query)).scalar_one())

"""Preferences, and whose digest is due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.feed.models import Preferences, Watch

preferences = Preferences.__table__


class Schedule(NamedTuple):
    """The columns that say which period is digested next, and when."""

    date: str
    due: str


SCHEDULES: Mapping[str, Schedule] = {
    "daily": Schedule("digest_date", "next_digest_at"),
    "weekly": Schedule("weekly_date", "next_weekly_at"),
}


async def get_preferences(
    connection: AsyncConnection, user_id: str, *, lock: bool = False
) -> Row[Any] | None:
    """The user's row; None where they gave none. Locked against others where `lock` is set."""
    query = select(preferences).where(Preferences.user_id == user_id)
    found = await connection.execute(query.with_for_update() if lock else query)
    return found.one_or_none()


async def upsert_preferences(connection: AsyncConnection, user_id: str, **values: Any) -> Row[Any]:
    """Stores columns of the user's row and returns it; others keep what they are."""
    statement = insert(Preferences).values(user_id=user_id, **values)
    changed = {name: statement.excluded[name] for name in values}
    stored = statement.on_conflict_do_update(index_elements=["user_id"], set_=changed)
    row: Row[Any] = (await connection.execute(stored.returning(preferences))).one()
    return row


async def update_preferences(connection: AsyncConnection, user_id: str, **values: Any) -> bool:
    """Changes columns of a user's row; False where there is none."""
    changed = await connection.execute(
        update(Preferences)
        .where(Preferences.user_id == user_id)
        .values(**values)
        .returning(Preferences.user_id)
    )
    return changed.one_or_none() is not None


async def get_by_feed(connection: AsyncConnection, feed_hash: bytes) -> Row[Any] | None:
    """The preferences of the watched user whose feed has a token of that hash."""
    query = (
        select(preferences)
        .join(Watch, Watch.user_id == Preferences.user_id)
        .where(Preferences.feed_hash == feed_hash, Watch.unwatched_at.is_(None))
    )
    return (await connection.execute(query)).one_or_none()


async def list_due(
    connection: AsyncConnection, kind: str, now: datetime, limit: int
) -> Sequence[Row[Any]]:
    """Watched users whose digest of a kind is due, longest overdue first.

    Each with its `last_sync_at`, and as `due_date` the period's date. Their rows are locked; those of
    other ticks are left out.
    """
    columns = SCHEDULES[kind]
    due = preferences.c[columns.due]
    query = (
        select(preferences, Watch.last_sync_at, preferences.c[columns.date].label("due_date"))
        .join(Watch, Watch.user_id == Preferences.user_id)
        .where(due <= now, Watch.unwatched_at.is_(None))
        .order_by(due)
        .limit(limit)
        .with_for_update(of=preferences, skip_locked=True)
    )
    return (await connection.execute(query)).all()


async def delete_of_user(connection: AsyncConnection, user_id: str) -> None:
    """Deletes a user's preferences."""
    await connection.execute(delete(Preferences).where(Preferences.user_id == user_id))

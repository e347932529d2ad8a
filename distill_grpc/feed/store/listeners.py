"""Who listens to which account: a lease on the connection, by the database's clock."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, exists, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.feed.models import Connection, Watch

# An account that a user wants listened to, and a revision of it.
Account = tuple[str, str, int]

_WATCHED = exists().where(Watch.user_id == Connection.user_id, Watch.unwatched_at.is_(None))


def _is_wanted() -> ColumnElement[bool]:
    return Connection.settings.contains({"idle": True}) & ~Connection.permanent & _WATCHED


async def claim(
    connection: AsyncConnection,
    listener: UUID,
    sources: Collection[str],
    *,
    lease: timedelta,
    limit: int,
) -> Sequence[Row[Any]]:
    """Accounts that nobody listens to, longest first; from now on `listener` does."""
    free = (
        select(Connection.user_id, Connection.source)
        .where(
            _is_wanted(),
            Connection.source.in_(sources),
            or_(
                Connection.listened_until.is_(None),
                Connection.listened_until < func.clock_timestamp(),
            ),
        )
        .order_by(Connection.listened_until.asc().nulls_first())
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    claimed = (
        update(Connection)
        .where(tuple_(Connection.user_id, Connection.source).in_(free))
        .values(listener=listener, listened_until=func.clock_timestamp() + lease)
        .returning(*Connection.__table__.c)
    )
    return (await connection.execute(claimed)).all()


async def keep(
    connection: AsyncConnection,
    listener: UUID,
    accounts: Collection[Account],
    *,
    lease: timedelta,
) -> set[Account]:
    """Extends the lease of these; returns those that are still the listener's and still wanted."""
    kept = (
        update(Connection)
        .where(
            _is_wanted(),
            Connection.listener == listener,
            tuple_(Connection.user_id, Connection.source, Connection.revision).in_(list(accounts)),
        )
        .values(listened_until=func.clock_timestamp() + lease)
        .returning(Connection.user_id, Connection.source, Connection.revision)
    )
    return {(row.user_id, row.source, row.revision) for row in await connection.execute(kept)}


async def release(
    connection: AsyncConnection, listener: UUID, user_id: str, source: str, *, pause: timedelta
) -> None:
    """Lets go of an account, which nobody listens to for so long."""
    await connection.execute(
        update(Connection)
        .where(
            Connection.user_id == user_id,
            Connection.source == source,
            Connection.listener == listener,
        )
        .values(listener=None, listened_until=func.clock_timestamp() + pause)
    )

"""Turns: who does a piece of work at the moment. Leases count by the database's clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import CursorResult, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.feed.models import Turn

_NOW = func.clock_timestamp()


async def claim(
    connection: AsyncConnection, user_id: str, work: str, holder: UUID, lease: timedelta
) -> bool:
    """Takes the turn where nobody has it, or its holder's lease has ended; True where it was taken."""
    until = _NOW + literal(lease)
    statement = insert(Turn).values(user_id=user_id, work=work, holder=holder, lease_until=until)
    taken = await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["user_id", "work"],
            set_={"holder": statement.excluded.holder, "lease_until": until},
            where=Turn.lease_until < _NOW,
        ).returning(Turn.user_id)
    )
    return taken.one_or_none() is not None


async def extend(
    connection: AsyncConnection, user_id: str, work: str, holder: UUID, lease: timedelta
) -> None:
    """Puts the end of a lease off, where the turn is still the holder's."""
    await connection.execute(
        update(Turn)
        .where(Turn.user_id == user_id, Turn.work == work, Turn.holder == holder)
        .values(lease_until=_NOW + literal(lease))
    )


async def release(connection: AsyncConnection, user_id: str, work: str, holder: UUID) -> bool:
    """Ends a turn; False where it was not the holder's any more."""
    ended = await connection.execute(
        delete(Turn)
        .where(Turn.user_id == user_id, Turn.work == work, Turn.holder == holder)
        .returning(Turn.user_id)
    )
    return ended.one_or_none() is not None


async def delete_ended_before(connection: AsyncConnection, before: datetime, limit: int) -> int:
    """Deletes what dead holders left; returns how many."""
    old = select(Turn.user_id, Turn.work).where(Turn.lease_until < before).limit(limit).subquery()
    result: CursorResult[Any] = await connection.execute(
        delete(Turn).where(Turn.user_id == old.c.user_id, Turn.work == old.c.work)
    )
    return result.rowcount


async def delete_of_user(connection: AsyncConnection, user_id: str) -> None:
    """Deletes a user's turns."""
    await connection.execute(delete(Turn).where(Turn.user_id == user_id))

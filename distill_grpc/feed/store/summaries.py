"""Summaries that were made, one a period and time zone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import CursorResult, Row, delete, func, select
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.feed.models import Summary

summaries = Summary.__table__


async def get_summary(
    connection: AsyncConnection, user_id: str, period: str, day: date, tz: str
) -> Row[Any] | None:
    """The summary of a period, where one is kept."""
    query = select(summaries).where(
        Summary.user_id == user_id,
        Summary.period == period,
        Summary.date == day,
        Summary.tz == tz,
    )
    return (await connection.execute(query)).one_or_none()


async def upsert_summary(connection: AsyncConnection, *, replace: bool, **values: Any) -> None:
    """Keeps a summary, with `replace` also in the place of an older one of the same period."""
    statement = insert(Summary).values(**values)
    if not replace:
        await connection.execute(statement.on_conflict_do_nothing())
        return
    key = ["user_id", "period", "date", "tz"]
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=key,
            set_={name: statement.excluded[name] for name in values if name not in key},
        )
    )


async def list_dates(
    connection: AsyncConnection, user_id: str, limit: int = 60
) -> Sequence[tuple[str, date]]:
    """(period, date) of the kept summaries, newest first."""
    query = (
        select(Summary.period, Summary.date)
        .where(Summary.user_id == user_id)
        .group_by(Summary.period, Summary.date)
        .order_by(Summary.date.desc(), Summary.period)
        .limit(limit)
    )
    return [(period, day) for period, day in await connection.execute(query)]


async def list_kept(
    connection: AsyncConnection, user_id: str, period: str, tz: str, limit: int
) -> Sequence[Row[Any]]:
    """Kept summaries of a kind, newest first; of one date that of the time zone, else the one made last."""
    latest = (
        select(summaries)
        .where(Summary.user_id == user_id, Summary.period == period)
        .ext(distinct_on(Summary.date))
        .order_by(Summary.date.desc(), (Summary.tz == tz).desc(), Summary.generated_at.desc())
        .limit(limit)
    )
    return (await connection.execute(latest)).all()


async def count_summaries(connection: AsyncConnection, user_id: str) -> int:
    """Summaries kept for a user."""
    query = select(func.count()).select_from(Summary).where(Summary.user_id == user_id)
    return int((await connection.execute(query)).scalar_one())


async def delete_generated_before(connection: AsyncConnection, before: datetime, limit: int) -> int:
    """Deletes old summaries; returns how many."""
    table = Summary.__table__.c
    old = (
        select(table.user_id, table.period, table.date, table.tz)
        .where(Summary.generated_at < before)
        .limit(limit)
    ).subquery()
    result: CursorResult[Any] = await connection.execute(
        delete(Summary).where(
            Summary.user_id == old.c.user_id,
            Summary.period == old.c.period,
            Summary.date == old.c.date,
            Summary.tz == old.c.tz,
        )
    )
    return result.rowcount


async def delete_of_user(connection: AsyncConnection, user_id: str) -> None:
    """Deletes all summaries of a user."""
    await connection.execute(delete(Summary).where(Summary.user_id == user_id))

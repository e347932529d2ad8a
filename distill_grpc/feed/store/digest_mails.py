"""Mails of digests on their way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import CursorResult, Row, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.feed.models import DigestMail

mails = DigestMail.__table__


async def insert_mail(
    connection: AsyncConnection, user_id: str, *, period: str, day: date, tz: str, now: datetime
) -> None:
    """Queues the mail of a digest, unless it was queued before."""
    statement = insert(DigestMail).values(
        user_id=user_id,
        period=period,
        date=day,
        tz=tz,
        status="waiting",
        attempts=0,
        next_attempt_at=now,
        created_at=now,
    )
    await connection.execute(statement.on_conflict_do_nothing())


async def claim_due(
    connection: AsyncConnection, now: datetime, lease: timedelta, limit: int
) -> Sequence[Row[Any]]:
    """Mails that are due, claimed: nobody else gets them until the lease ends."""
    due = (
        select(DigestMail.user_id, DigestMail.period, DigestMail.date, DigestMail.tz)
        .where(DigestMail.status == "waiting", DigestMail.next_attempt_at <= now)
        .order_by(DigestMail.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).subquery()
    claimed = await connection.execute(
        update(DigestMail)
        .where(
            DigestMail.user_id == due.c.user_id,
            DigestMail.period == due.c.period,
            DigestMail.date == due.c.date,
            DigestMail.tz == due.c.tz,
        )
        .values(attempts=DigestMail.attempts + 1, next_attempt_at=now + lease)
        .returning(mails)
    )
    rows: Sequence[Row[Any]] = claimed.all()
    return rows


async def update_mail(connection: AsyncConnection, mail: Row[Any], **values: Any) -> None:
    """Notes what came of an attempt, given as it was claimed, unless a later one has begun."""
    await connection.execute(
        update(DigestMail)
        .where(
            DigestMail.user_id == mail.user_id,
            DigestMail.period == mail.period,
            DigestMail.date == mail.date,
            DigestMail.tz == mail.tz,
            DigestMail.attempts == mail.attempts,
            DigestMail.status == "waiting",
        )
        .values(**values)
    )


async def delete_created_before(connection: AsyncConnection, before: datetime, limit: int) -> int:
    """Deletes old mails; returns how many."""
    old = (
        select(DigestMail.user_id, DigestMail.period, DigestMail.date, DigestMail.tz)
        .where(DigestMail.created_at < before)
        .limit(limit)
    ).subquery()
    result: CursorResult[Any] = await connection.execute(
        delete(DigestMail).where(
            DigestMail.user_id == old.c.user_id,
            DigestMail.period == old.c.period,
            DigestMail.date == old.c.date,
            DigestMail.tz == old.c.tz,
        )
    )
    return result.rowcount


async def delete_of_user(connection: AsyncConnection, user_id: str) -> None:
    """Deletes all mails of a user."""
    await connection.execute(delete(DigestMail).where(DigestMail.user_id == user_id))

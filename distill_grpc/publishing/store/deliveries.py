"""Deliveries: whom a post's mail goes to, and what becomes of it.

Times are the database's, so that workers whose clocks differ agree about leases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Executable, Row, exists, func, literal, select, tuple_, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.publishing.models import (
    Announcement,
    Delivery,
    Post,
    Subscription,
    Suppression,
    User,
)

PENDING = "pending"
_NOBODY = UUID(int=0)


async def insert_announcement(
    connection: AsyncConnection, post_id: UUID, request_id: str | None
) -> Row[Any]:
    """The announcement of a post, made where there was none."""
    values = {"post_id": post_id, "request_id": request_id, "created_at": func.now()}
    await connection.execute(
        postgresql.insert(Announcement).values(**values).on_conflict_do_nothing()
    )
    query = select(Announcement.__table__).where(Announcement.post_id == post_id)
    return (await connection.execute(query)).one()


async def insert_deliveries(
    connection: AsyncConnection,
    post_id: UUID,
    creator_id: UUID,
    *,
    subscribed_before: datetime,
    after: UUID | None,
    limit: int,
) -> UUID | None:
    """Deliveries for the next subscribers in the order of their ids; where to go on, None at the end.

    Those who have one already keep it.
    """
    chosen = (
        select(Subscription.subscriber_id)
        .where(
            Subscription.creator_id == creator_id,
            Subscription.status == "active",
            Subscription.subscribed_at <= subscribed_before,
            Subscription.subscriber_id > (after or _NOBODY),
        )
        .order_by(Subscription.subscriber_id)
        .limit(limit)
        .cte("chosen")
    )
    inserted = (
        postgresql.insert(Delivery)
        .from_select(
            ["post_id", "subscriber_id", "status", "claim", "failures", "due_at", "created_at"],
            select(
                literal(post_id),
                chosen.c.subscriber_id,
                literal(PENDING),
                literal(0),
                literal(0),
                func.now(),
                func.now(),
            ),
        )
        .on_conflict_do_nothing()
        .cte("inserted")
    )
    # The newest of the chosen, by their order: PostgreSQL 15 knows no max(uuid).
    query = (
        select(chosen.c.subscriber_id, func.count().over().label("found"))
        .add_cte(inserted)
        .order_by(chosen.c.subscriber_id.desc())
        .limit(1)
    )
    last = (await connection.execute(query)).one_or_none()
    return None if last is None or last.found < limit else last.subscriber_id


async def mark_fanned_out(connection: AsyncConnection, post_id: UUID) -> None:
    """Notes that every subscriber of a post has a delivery."""
    await connection.execute(
        update(Announcement).where(Announcement.post_id == post_id).values(fanned_out_at=func.now())
    )


async def claim_due(
    connection: AsyncConnection, lease: timedelta, limit: int
) -> Sequence[Row[Any]]:
    """Takes up deliveries that are due: nobody else does before the lease ends."""
    due = (
        select(Delivery.post_id, Delivery.subscriber_id)
        .where(Delivery.status == PENDING, Delivery.due_at <= func.now())
        .order_by(Delivery.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    statement: Executable = (
        update(Delivery)
        .where(tuple_(Delivery.post_id, Delivery.subscriber_id).in_(due))
        .values(claim=Delivery.claim + 1, due_at=func.now() + lease)
        .returning(
            Delivery.post_id,
            Delivery.subscriber_id,
            Delivery.claim,
            Delivery.failures,
            Delivery.created_at,
        )
    )
    return (await connection.execute(statement)).all()


async def get_recipients(
    connection: AsyncConnection, post_id: UUID, subscriber_ids: Sequence[UUID]
) -> Mapping[UUID, Row[Any]]:
    """Where to each subscriber's mail goes, and whether it may go out at all."""
    query: Executable = (
        select(
            User.id,
            User.email,
            User.email_key,
            Subscription.id.label("subscription_id"),
            (Subscription.status == "active").label("is_active"),
            exists().where(Suppression.email_key == User.email_key).label("is_suppressed"),
        )
        .select_from(Post)
        .join(Subscription, Subscription.creator_id == Post.creator_id)
        .join(User, User.id == Subscription.subscriber_id)
        .where(Post.id == post_id, User.id.in_(subscriber_ids))
    )
    return {row.id: row for row in await connection.execute(query)}


async def get_announced(connection: AsyncConnection, post_id: UUID) -> Row[Any]:
    """What the mails about a post tell."""
    query: Executable = (
        select(
            Post.id,
            Post.creator_id,
            Post.title,
            Post.content_html,
            Post.published_at,
            User.username,
            Announcement.request_id,
        )
        .join(User, User.id == Post.creator_id)
        .join(Announcement, Announcement.post_id == Post.id)
        .where(Post.id == post_id)
    )
    return (await connection.execute(query)).one()


async def finish(
    connection: AsyncConnection, claimed: Row[Any], *, status: str, error: str | None = None
) -> bool:
    """Notes what became of a delivery; False where another worker has taken it up since."""
    values = {"status": status, "finished_at": func.now(), "error": error}
    return await _update(connection, claimed, values)


async def put_off(
    connection: AsyncConnection,
    claimed: Row[Any],
    wait: timedelta,
    *,
    failures: int,
    error: str | None = None,
) -> bool:
    """Lets a delivery wait; False where another worker has taken it up since."""
    values = {"due_at": func.now() + wait, "failures": failures, "error": error}
    return await _update(connection, claimed, values)


async def _update(
    connection: AsyncConnection, claimed: Row[Any], values: Mapping[str, Any]
) -> bool:
    statement = (
        update(Delivery)
        .where(
            Delivery.post_id == claimed.post_id,
            Delivery.subscriber_id == claimed.subscriber_id,
            Delivery.status == PENDING,
            Delivery.claim == claimed.claim,
        )
        .values(**values)
    )
    return (await connection.execute(statement)).rowcount == 1


async def insert_suppression(connection: AsyncConnection, email_key: str, reason: str) -> None:
    """Keeps mail from an address."""
    values = {"email_key": email_key, "reason": reason, "created_at": func.now()}
    await connection.execute(
        postgresql.insert(Suppression).values(**values).on_conflict_do_nothing()
    )


async def count_by_status(connection: AsyncConnection, creator_id: UUID) -> Mapping[str, int]:
    """How many deliveries of a creator's posts there are, by status."""
    query = (
        select(Delivery.status, func.count().label("number"))
        .join(Post, Post.id == Delivery.post_id)
        .where(Post.creator_id == creator_id)
        .group_by(Delivery.status)
    )
    return {row.status: row.number for row in await connection.execute(query)}

"""Subscriptions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.publishing.models import Subscription

_subscriptions = Subscription.__table__


async def insert_subscription(connection: AsyncConnection, **values: Any) -> Row[Any] | None:
    """Inserts a subscription; None where the pair has one, whatever its state."""
    statement = (
        insert(Subscription)
        .values(**values)
        .on_conflict_do_nothing(index_elements=["subscriber_id", "creator_id"])
        .returning(*_subscriptions.c)
    )
    return (await connection.execute(statement)).one_or_none()


async def get_subscription(
    connection: AsyncConnection, subscriber_id: UUID, creator_id: UUID
) -> Row[Any] | None:
    """The subscription of a pair, locked against other changes."""
    query = (
        select(_subscriptions)
        .where(Subscription.subscriber_id == subscriber_id, Subscription.creator_id == creator_id)
        .with_for_update()
    )
    return (await connection.execute(query)).one_or_none()


async def update_subscription(
    connection: AsyncConnection,
    subscriber_id: UUID,
    creator_id: UUID,
    **values: str | datetime | None,
) -> Row[Any]:
    """Changes columns of a subscription."""
    statement = (
        update(Subscription)
        .where(Subscription.subscriber_id == subscriber_id, Subscription.creator_id == creator_id)
        .values(**values)
        .returning(*_subscriptions.c)
    )
    return (await connection.execute(statement)).one()


async def list_subscriptions(
    connection: AsyncConnection, subscriber_id: UUID, *, limit: int, offset: int
) -> Sequence[Row[Any]]:
    """A part of somebody's subscriptions, the last begun first."""
    query = (
        select(_subscriptions)
        .where(Subscription.subscriber_id == subscriber_id)
        .order_by(Subscription.subscribed_at.desc(), Subscription.id.desc())
        .limit(limit)
        .offset(offset)
    )
    return (await connection.execute(query)).all()

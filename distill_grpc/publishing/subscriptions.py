"""Subscriptions: one for each pair of reader and creator, which begins and ends as often as wanted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.auth import Caller
from distill_grpc.errors import DistillError, ErrorReason, invalid_argument
from distill_grpc.publishing import accounts
from distill_grpc.publishing.ids import new_id
from distill_grpc.publishing.store import subscriptions as store

ACTIVE, CANCELLED = "active", "cancelled"


async def subscribe(
    connection: AsyncConnection, caller: Caller, creator_id: UUID, *, now: datetime
) -> tuple[Row[Any], bool]:
    """The subscription, which holds now, and whether it is new. Raises NOT_FOUND for no creator."""
    subscriber = await accounts.require(connection, caller)
    if subscriber.id == creator_id:
        raise invalid_argument({"creator_id": "must be somebody else than yourself"})
    creator = await accounts.require_creator(connection, creator_id)
    new = await store.insert_subscription(
        connection,
        subscriber_id=subscriber.id,
        creator_id=creator.id,
        id=new_id(now),
        status=ACTIVE,
        subscribed_at=now,
    )
    if new is not None:
        return new, True
    known = await _known(connection, subscriber.id, creator.id)
    if known.status == ACTIVE:
        return known, False
    again = await store.update_subscription(
        connection,
        subscriber.id,
        creator.id,
        status=ACTIVE,
        subscribed_at=now,
        cancelled_at=None,
    )
    return again, False


async def unsubscribe(
    connection: AsyncConnection, caller: Caller, creator_id: UUID, *, now: datetime
) -> Row[Any]:
    """The subscription, which has ended; raises NOT_FOUND where there never was one."""
    subscriber = await accounts.require(connection, caller)
    known = await _known(connection, subscriber.id, creator_id)
    if known.status == CANCELLED:
        return known
    return await store.update_subscription(
        connection, subscriber.id, creator_id, status=CANCELLED, cancelled_at=now
    )


async def list_own(
    connection: AsyncConnection, caller: Caller, user_id: UUID, *, limit: int, offset: int
) -> Sequence[Row[Any]]:
    """A part of the caller's own subscriptions; raises FORBIDDEN for anybody else's."""
    subscriber = await accounts.require(connection, caller)
    if subscriber.id != user_id:  # before anything is looked for: who may not, learns nothing
        raise DistillError(ErrorReason.FORBIDDEN, "You can see your own subscriptions only.")
    return await store.list_subscriptions(connection, user_id, limit=limit, offset=offset)


async def _known(connection: AsyncConnection, subscriber_id: UUID, creator_id: UUID) -> Row[Any]:
    known = await store.get_subscription(connection, subscriber_id, creator_id)
    if known is None:
        raise DistillError(ErrorReason.NOT_FOUND, "You have never subscribed to this creator.")
    return known

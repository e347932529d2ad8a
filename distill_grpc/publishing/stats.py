"""A creator's figures, day by day (UTC)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.auth import Caller
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.publishing import accounts
from distill_grpc.publishing.store import analytics, deliveries

# What an answer can hold (int32); more is shown as this.
MOST = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day."""

    date: date
    views: int
    readers: int
    subscribed: int
    unsubscribed: int
    subscribers: int  # at its end


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """All of it."""

    views: int
    subscribers: int
    days: Sequence[Day]
    deliveries: Mapping[str, int]  # by status


async def of_creator(
    connection: AsyncConnection, caller: Caller, creator_id: UUID, *, days: int, now: datetime
) -> Stats:
    """The caller's own figures; raises FORBIDDEN for anybody else's.

    A subscription that was ended and begun again counts from its last beginning.
    """
    creator = await accounts.require(connection, caller, creator=True)
    if creator.id != creator_id:  # before anything is looked for: who may not, learns nothing
        raise DistillError(ErrorReason.FORBIDDEN, "You can see your own figures only.")
    today = now.astimezone(UTC).date()
    first = today - timedelta(days=days - 1)
    since = datetime.combine(first, time(), UTC)
    read = await analytics.sum_days(connection, creator_id, first)
    begun = await analytics.count_begun(connection, creator_id, since)
    ended = await analytics.count_ended(connection, creator_id, since)
    subscribers = await analytics.count_subscribers(connection, creator_id)
    return Stats(
        views=min(await analytics.sum_views(connection, creator_id), MOST),
        subscribers=subscribers,
        days=[
            Day(
                date=day,
                views=min(int(read[day].views), MOST) if day in read else 0,
                readers=min(int(read[day].readers), MOST) if day in read else 0,
                subscribed=begun.get(day, 0),
                unsubscribed=ended.get(day, 0),
                subscribers=held,
            )
            for day, held in _held(first, today, subscribers, begun, ended)
        ],
        deliveries=await deliveries.count_by_status(connection, creator_id),
    )


def _held(
    first: date, last: date, now: int, begun: Mapping[date, int], ended: Mapping[date, int]
) -> list[tuple[date, int]]:
    """How many subscriptions held at the end of each day, counted back from now."""
    held: list[tuple[date, int]] = []
    day, number = last, now
    while day >= first:
        held.append((day, number))
        number += ended.get(day, 0) - begun.get(day, 0)
        day -= timedelta(days=1)
    return held[::-1]

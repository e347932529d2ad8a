"""What is counted about posts: events, and the sums that are made of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from sqlalchemy import Date, Executable, Row, cast, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.db.engine import driver_connection
from distill_grpc.publishing.models import (
    AnalyticsEvent,
    Post,
    PostDay,
    PostReader,
    PostTotal,
    Subscription,
)

# Batches go as one array a column: a statement with a parameter for each value took seven times as long.
_EVENTS = """
INSERT INTO analytics_events (id, event_type, post_id, reader, at)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::uuid[], %s::bytea[], %s::timestamptz[])
ON CONFLICT DO NOTHING RETURNING id
"""
# In one order everywhere, so that two workers cannot wait for each other.
_READERS = """
INSERT INTO post_readers (post_id, day, reader)
SELECT * FROM unnest(%s::uuid[], %s::date[], %s::bytea[]) ORDER BY 1, 2, 3
ON CONFLICT DO NOTHING RETURNING post_id, day
"""
_DAYS = """
INSERT INTO post_days (post_id, day, views, readers)
SELECT * FROM unnest(%s::uuid[], %s::date[], %s::bigint[], %s::bigint[]) ORDER BY 1, 2
ON CONFLICT (post_id, day) DO UPDATE SET
  views = post_days.views + excluded.views, readers = post_days.readers + excluded.readers
"""
_TOTALS = """
INSERT INTO post_totals (post_id, views)
SELECT post_id, sum(views) FROM unnest(%s::uuid[], %s::bigint[]) AS counted(post_id, views)
GROUP BY 1 ORDER BY 1
ON CONFLICT (post_id) DO UPDATE SET views = post_totals.views + excluded.views
"""


class Event(NamedTuple):
    """A row of `analytics_events`."""

    id: UUID
    event_type: str
    post_id: UUID
    reader: bytes | None
    at: datetime


async def insert_events(connection: AsyncConnection, events: Sequence[Event]) -> set[UUID]:
    """Keeps events; returns the ids of those that were not there yet."""
    return {row[0] for row in await _fetch(connection, _EVENTS, _columns(events, 5))}


async def list_known(connection: AsyncConnection, post_ids: Collection[UUID]) -> set[UUID]:
    """Which of these are published posts."""
    statement = "SELECT id FROM posts WHERE id = ANY(%s) AND status = 'published'"
    return {row[0] for row in await _fetch(connection, statement, [list(post_ids)])}


async def insert_readers(
    connection: AsyncConnection, readers: Collection[tuple[UUID, date, bytes]]
) -> list[tuple[UUID, date]]:
    """Keeps who read what on which day; returns post and day of each that was not there yet."""
    rows = await _fetch(connection, _READERS, _columns(readers, 3))
    return [(row[0], row[1]) for row in rows]


async def add_to_days(
    connection: AsyncConnection, counts: Mapping[tuple[UUID, date], tuple[int, int]]
) -> None:
    """Adds views and readers to days of posts, and the views to the posts' totals."""
    days = [(post, day, views, readers) for (post, day), (views, readers) in counts.items()]
    posts, _, views, _ = columns = _columns(days, 4)
    driver = await driver_connection(connection)
    await driver.execute(_DAYS, columns)
    await driver.execute(_TOTALS, [posts, views])


def _columns(rows: Iterable[tuple[Any, ...]], count: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(count)]


async def _fetch(
    connection: AsyncConnection, statement: LiteralString, columns: Sequence[list[Any]]
) -> list[tuple[Any, ...]]:
    driver = await driver_connection(connection)
    async with driver.cursor(binary=True) as cursor:
        await cursor.execute(statement, columns)
        return await cursor.fetchall()


async def delete_old(connection: AsyncConnection, *, events: datetime, readers: date) -> None:
    """Forgets events before an instant, and readers of days before a day; the sums stay."""
    await connection.execute(delete(AnalyticsEvent).where(AnalyticsEvent.at < events))
    await connection.execute(delete(PostReader).where(PostReader.day < readers))


async def sum_days(
    connection: AsyncConnection, creator_id: UUID, first: date
) -> Mapping[date, Row[Any]]:
    """Views and readers of all posts of a creator, by day."""
    query: Executable = (
        select(
            PostDay.day,
            func.sum(PostDay.views).label("views"),
            func.sum(PostDay.readers).label("readers"),
        )
        .join(Post, Post.id == PostDay.post_id)
        .where(Post.creator_id == creator_id, PostDay.day >= first)
        .group_by(PostDay.day)
    )
    return {row.day: row for row in await connection.execute(query)}


async def sum_views(connection: AsyncConnection, creator_id: UUID) -> int:
    """Views of all posts of a creator at all times."""
    query = (
        select(func.coalesce(func.sum(PostTotal.views), 0))
        .join(Post, Post.id == PostTotal.post_id)
        .where(Post.creator_id == creator_id)
    )
    return int((await connection.execute(query)).scalar_one())


async def count_subscribers(connection: AsyncConnection, creator_id: UUID) -> int:
    """Subscriptions to a creator that hold."""
    query = select(func.count()).where(
        Subscription.creator_id == creator_id, Subscription.status == "active"
    )
    return int((await connection.execute(query)).scalar_one())


async def count_begun(
    connection: AsyncConnection, creator_id: UUID, first: datetime
) -> Mapping[date, int]:
    """How many of today's subscriptions, ended ones included, began on each day."""
    return await _by_day(connection, creator_id, Subscription.subscribed_at, first)


async def count_ended(
    connection: AsyncConnection, creator_id: UUID, first: datetime
) -> Mapping[date, int]:
    """How many of them ended on each day."""
    return await _by_day(connection, creator_id, Subscription.cancelled_at, first)


async def _by_day(
    connection: AsyncConnection, creator_id: UUID, column: Any, first: datetime
) -> Mapping[date, int]:
    day = cast(column, Date)  # the session's time zone is UTC
    query = (
        select(day.label("day"), func.count().label("number"))
        .where(Subscription.creator_id == creator_id, column >= first)
        .group_by(day)
    )
    return {row.day: row.number for row in await connection.execute(query)}

"""What is counted about posts: events, and the sums that are made of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Date, Executable, Row, cast, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.publishing.models import (
    AnalyticsEvent,
    Post,
    PostDay,
    PostReader,
    PostTotal,
    Subscription,
)


async def insert_events(
    connection: AsyncConnection, events: Sequence[Mapping[str, Any]]
) -> set[UUID]:
    """Keeps events; returns the ids of those that were not there yet."""
    statement = (
        insert(AnalyticsEvent)
        .values(list(events))
        .on_conflict_do_nothing()
        .returning(AnalyticsEvent.id)
    )
    return set((await connection.execute(statement)).scalars())


async def list_known(connection: AsyncConnection, post_ids: Collection[UUID]) -> set[UUID]:
    """Which of these are published posts."""
    query = select(Post.id).where(Post.id.in_(post_ids), Post.status == "published")
    return set((await connection.execute(query)).scalars())


async def insert_readers(
    connection: AsyncConnection, readers: Collection[tuple[UUID, date, bytes]]
) -> list[tuple[UUID, date]]:
    """Keeps who read what on which day; returns post and day of each that was not there yet."""
    if not readers:
        return []
    # In one order everywhere, so that two workers cannot wait for each other.
    values = [{"post_id": p, "day": d, "reader": r} for p, d, r in sorted(readers)]
    statement = (
        insert(PostReader)
        .values(values)
        .on_conflict_do_nothing()
        .returning(PostReader.post_id, PostReader.day)
    )
    return [(row.post_id, row.day) for row in await connection.execute(statement)]


async def add_to_days(
    connection: AsyncConnection, counts: Mapping[tuple[UUID, date], tuple[int, int]]
) -> None:
    """Adds views and readers to days of posts, and the views to the posts' totals."""
    days = [
        {"post_id": post, "day": day, "views": views, "readers": readers}
        for (post, day), (views, readers) in sorted(counts.items())
    ]
    statement = insert(PostDay).values(days)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["post_id", "day"],
            set_={
                "views": PostDay.views + statement.excluded.views,
                "readers": PostDay.readers + statement.excluded.readers,
            },
        )
    )
    totals: dict[UUID, int] = {}
    for (post, _day), (views, _readers) in sorted(counts.items()):
        totals[post] = totals.get(post, 0) + views
    total = insert(PostTotal).values([{"post_id": p, "views": v} for p, v in totals.items()])
    await connection.execute(
        total.on_conflict_do_update(
            index_elements=["post_id"], set_={"views": PostTotal.views + total.excluded.views}
        )
    )


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

"""Items: stored page by page, counted, and deleted. Lists of them stand in `item_lists.py`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import CursorResult, Row, delete, exists, func, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.db.engine import driver_connection
from distill_grpc.feed.models import Item, Preferences


class UpsertCounts(NamedTuple):
    """What an upsert did; the rest was there already, unchanged."""

    new: int
    updated: int


# The anti-join keeps unchanged items away from the insert: a generated search vector is computed
# before a conflict is noticed, so that DO NOTHING alone would still pay for it.
_UPSERT: LiteralString = """
WITH page AS (
  SELECT * FROM jsonb_to_recordset(%(items)s::jsonb) AS page(
    id uuid, platform_id text, published_at timestamptz, content text, title text, author text,
    url text, kind text, thread_id text, language text, metrics jsonb, ai_tags text[], raw jsonb,
    backdated boolean, content_hash text, stored_bytes int)
), changed AS (
  SELECT page.* FROM page
  LEFT JOIN items known ON known.user_id = %(user_id)s AND known.id = page.id
  WHERE known.id IS NULL OR known.content_hash <> decode(page.content_hash, 'hex')
)
INSERT INTO items (user_id, id, source, platform_id, published_at, collected_at, updated_at,
  content, title, author, url, kind, thread_id, language, metrics, ai_tags, raw, backdated,
  content_hash, stored_bytes)
SELECT %(user_id)s, id, %(source)s, platform_id, published_at, %(now)s, %(now)s, content, title,
  author, url, kind, thread_id, language, metrics, ai_tags, raw, backdated,
  decode(content_hash, 'hex'), stored_bytes
FROM changed ORDER BY id
ON CONFLICT (user_id, id) DO UPDATE SET
  updated_at = excluded.updated_at, content = excluded.content, title = excluded.title,
  author = excluded.author, url = excluded.url, kind = excluded.kind,
  thread_id = excluded.thread_id, language = excluded.language, metrics = excluded.metrics,
  ai_tags = excluded.ai_tags, raw = excluded.raw, content_hash = excluded.content_hash,
  stored_bytes = excluded.stored_bytes, source_tags = NULL, tag_revision = NULL
WHERE items.content_hash <> excluded.content_hash
RETURNING xmax = 0
"""


async def upsert_items(
    connection: AsyncConnection,
    user_id: str,
    source: str,
    rows: Sequence[dict[str, Any]],
    now: datetime,
) -> UpsertCounts:
    """Stores a page in one statement. `rows` have the columns of `_UPSERT`, ids all different."""
    if not rows:
        return UpsertCounts(0, 0)
    driver = await driver_connection(connection)
    async with driver.cursor() as cursor:
        await cursor.execute(
            _UPSERT,
            {
                "items": orjson.dumps(rows).decode(),
                "user_id": user_id,
                "source": source,
                "now": now,
            },
        )
        inserted = [row[0] for row in await cursor.fetchall()]
    new = sum(inserted)
    return UpsertCounts(new, len(inserted) - new)


async def delete_items(connection: AsyncConnection, user_id: str, ids: Collection[UUID]) -> int:
    """Deletes items of a user; returns how many were there."""
    if not ids:
        return 0
    result: CursorResult[Any] = await connection.execute(
        delete(Item).where(Item.user_id == user_id, Item.id.in_(ids))
    )
    return result.rowcount


async def list_for_digest(
    connection: AsyncConnection, user_id: str, start: datetime, end: datetime, limit: int
) -> Sequence[Row[Any]]:
    """Items published from `start` until before `end`, newest first; late finds left out."""
    query = (
        select(
            Item.id,
            Item.source,
            Item.platform_id,
            Item.author,
            Item.title,
            Item.content,
            Item.url,
            Item.published_at,
            Item.metrics,
            Item.language,
            Item.ai_tags,
        )
        .where(
            Item.user_id == user_id,
            Item.published_at >= start,
            Item.published_at < end,
            Item.backdated.is_(False),
        )
        .order_by(Item.published_at.desc(), Item.id.desc())
        .limit(limit)
    )
    return (await connection.execute(query)).all()


async def get_last_change(
    connection: AsyncConnection, user_id: str, start: datetime, end: datetime
) -> datetime | None:
    """When an item of a period was last stored or changed; None where there are no items."""
    query = select(func.max(Item.updated_at)).where(
        Item.user_id == user_id,
        Item.published_at >= start,
        Item.published_at < end,
        Item.backdated.is_(False),
    )
    return (await connection.execute(query)).scalar_one()


async def get_statistics(connection: AsyncConnection, user_id: str, recent_since: datetime) -> Any:
    """(total, recent, stored_bytes, oldest, newest) of a user's items."""
    query = select(
        func.count().label("total"),
        func.count().filter(Item.published_at >= recent_since).label("recent"),
        func.coalesce(func.sum(Item.stored_bytes), 0).label("stored_bytes"),
        func.min(Item.published_at).label("oldest"),
        func.max(Item.published_at).label("newest"),
    ).where(Item.user_id == user_id)
    row: Any = (await connection.execute(query)).one()
    return row


async def count_by_source(connection: AsyncConnection, user_id: str) -> dict[str, int]:
    """A user's items by source."""
    query = select(Item.source, func.count()).where(Item.user_id == user_id).group_by(Item.source)
    rows = await connection.execute(query)
    return {str(source): int(count) for source, count in rows}


async def delete_collected_before(
    connection: AsyncConnection, before: datetime, grace: timedelta, limit: int
) -> int:
    """Deletes old items; returns how many.

    Items of a week that is still to be digested get the grace, and no more.
    """
    # The date is one of the user's time zone, which is never more than a day from UTC.
    awaited = exists().where(
        Preferences.user_id == Item.user_id,
        Preferences.next_weekly_at.is_not(None),
        Item.published_at >= Preferences.weekly_date - 1,
    )
    old = (
        select(Item.user_id, Item.id)
        .where(
            Item.collected_at < before,
            or_(Item.collected_at < before - grace, not_(awaited)),
        )
        .limit(limit)
        .with_for_update(skip_locked=True)  # never waits for a page that is being stored
    ).subquery()
    result: CursorResult[Any] = await connection.execute(
        delete(Item).where(Item.user_id == old.c.user_id, Item.id == old.c.id)
    )
    return result.rowcount


async def delete_of_user(connection: AsyncConnection, user_id: str, limit: int) -> int:
    """Deletes items of a user; returns how many."""
    some = select(Item.id).where(Item.user_id == user_id).limit(limit).scalar_subquery()
    result: CursorResult[Any] = await connection.execute(
        delete(Item).where(Item.user_id == user_id, Item.id.in_(some))
    )
    return result.rowcount

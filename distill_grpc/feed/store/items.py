"""Items: the hot statements run as prepared SQL on the driver's connection, in binary.

Entities of an ORM cost several times as much on these paths (see `bench/`), so rows stay rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

import orjson
from psycopg import AsyncCursor
from sqlalchemy import CursorResult, Row, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.db.engine import driver_connection
from distill_grpc.feed.models import Item


class ItemRow(NamedTuple):
    """An item as lists read it. `published` is seconds since 1970; JSON stays text until needed."""

    id: UUID
    source: str
    platform_id: str
    published: int
    content: str
    title: str
    author: str
    url: str
    kind: str
    thread_id: str
    metrics: str
    ai_tags: list[str]
    raw: str | None
    rank: float


class UpsertCounts(NamedTuple):
    """What an upsert did; the rest was there already, unchanged."""

    new: int
    updated: int


@dataclass(slots=True)
class Filters:
    """Which items. What is None or empty does not filter."""

    since: datetime | None = None
    until: datetime | None = None
    sources: Sequence[str] = ()
    tags: Sequence[str] = ()
    authors: Sequence[str] = ()
    query: str | None = None
    # Where the page before ended: (published or rank, id).
    after: tuple[datetime, UUID] | tuple[float, UUID] | None = None
    with_raw: bool = False
    limit: int = 100


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
  stored_bytes = excluded.stored_bytes
WHERE items.content_hash <> excluded.content_hash
RETURNING xmax = 0
"""

_COLUMNS: LiteralString = (
    "id, source, platform_id, extract(epoch FROM published_at)::int8 AS published, content, title,"
    " author, url, kind, thread_id, metrics::text AS metrics, ai_tags"
)


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


async def delete_items(
    connection: AsyncConnection, user_id: str, source: str, platform_ids: Sequence[str]
) -> int:
    """Deletes items by what their platform calls them; returns how many were there."""
    if not platform_ids:
        return 0
    result: CursorResult[Any] = await connection.execute(
        delete(Item).where(
            Item.user_id == user_id, Item.source == source, Item.platform_id.in_(platform_ids)
        )
    )
    return result.rowcount


async def list_recent(connection: AsyncConnection, user_id: str, filters: Filters) -> list[ItemRow]:
    """Items newest first, one more than the limit where there are more."""
    clauses, parameters = _clauses(user_id, filters)
    if filters.after is not None:
        clauses.append("(published_at, id) < (%(after)s, %(after_id)s)")
    raw: LiteralString = "raw::text" if filters.with_raw else "NULL::text"
    where: LiteralString = " AND ".join(clauses)
    statement: LiteralString = (
        f"SELECT {_COLUMNS}, {raw} AS raw, 0::float4 AS rank FROM items WHERE {where}"  # noqa: S608 -- literals
        " ORDER BY published_at DESC, id DESC LIMIT %(limit)s"
    )
    return await _fetch(connection, statement, parameters)


async def search_items(
    connection: AsyncConnection, user_id: str, filters: Filters
) -> list[ItemRow]:
    """Items that match the query, best first, one more than the limit where there are more."""
    clauses, parameters = _clauses(user_id, filters)
    clauses.append("search @@ query")
    where: LiteralString = " AND ".join(clauses)
    after: LiteralString = (
        "WHERE (rank, id) < (%(after)s::float4, %(after_id)s)" if filters.after is not None else ""
    )
    # Normalisation 1 divides by the logarithm of the length: a long page does not win by length.
    statement: LiteralString = (
        f"SELECT * FROM (SELECT {_COLUMNS}, NULL::text AS raw,"  # noqa: S608 -- literals only
        " ts_rank_cd(search, query, 1) AS rank"
        " FROM items, websearch_to_tsquery('english', %(query)s) AS query"
        f" WHERE {where}) AS found {after}"
        " ORDER BY rank DESC, id DESC LIMIT %(limit)s"
    )
    return await _fetch(connection, statement, parameters)


async def has_searchable_words(connection: AsyncConnection, query: str) -> bool:
    """False where a query consists of stop words and signs alone, so that nothing can match."""
    nodes = select(func.numnode(func.websearch_to_tsquery("english", query)))
    return int((await connection.execute(nodes)).scalar_one()) > 0


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


async def delete_collected_before(connection: AsyncConnection, before: datetime, limit: int) -> int:
    """Deletes old items; returns how many."""
    old = (
        select(Item.user_id, Item.id)
        .where(Item.collected_at < before)
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


def _clauses(user_id: str, filters: Filters) -> tuple[list[LiteralString], dict[str, Any]]:
    clauses: list[LiteralString] = ["user_id = %(user_id)s"]
    parameters: dict[str, Any] = {
        "user_id": user_id,
        "query": filters.query,
        "limit": filters.limit + 1,
    }
    if filters.since is not None:
        clauses.append("published_at >= %(since)s")
        parameters["since"] = filters.since
    if filters.until is not None:
        clauses.append("published_at < %(until)s")
        parameters["until"] = filters.until
    if filters.sources:
        clauses.append("source = ANY(%(sources)s)")
        parameters["sources"] = list(filters.sources)
    if filters.tags:
        clauses.append("ai_tags && %(tags)s")
        parameters["tags"] = list(filters.tags)
    if filters.authors:
        clauses.append("lower(author) = ANY(%(authors)s)")
        parameters["authors"] = [author.lower() for author in filters.authors]
    if filters.after is not None:
        parameters["after"], parameters["after_id"] = filters.after
    return clauses, parameters


async def _fetch(
    connection: AsyncConnection, statement: LiteralString, parameters: dict[str, Any]
) -> list[ItemRow]:
    driver = await driver_connection(connection)
    async with driver.cursor(binary=True, row_factory=_item_row) as cursor:
        await cursor.execute(statement, parameters)
        return await cursor.fetchall()


def _item_row(_cursor: AsyncCursor[Any]) -> Callable[[Sequence[Any]], ItemRow]:
    """By place: psycopg's `class_row` goes by name, which took an eighth of a list's whole time."""
    return ItemRow._make

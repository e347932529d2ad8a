"""Lists of items: the latest, and what was searched for. Hot: prepared SQL, rows in binary.

Entities of an ORM cost several times as much on these paths (see `bench/`), so rows stay rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from psycopg import AsyncCursor
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.db.engine import driver_connection
from distill_grpc.feed.search_text import END, FOUND, has_runs, together

# Characters of an item that passages are looked for in.
SNIPPET_FROM = 20_000
_HEADLINE = (
    f'StartSel="{FOUND}",StopSel="{END}",MaxFragments=2,MaxWords=30,MinWords=12,'
    'FragmentDelimiter=" … "'
)
FACETS = 20  # values of each kind that are counted


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


@dataclass(slots=True)
class Narrowing:
    """What the qualifiers of a query demand. What is empty does not narrow."""

    sources: list[str] = field(default_factory=list)  # one of them
    tags: list[str] = field(default_factory=list)  # all of them
    authors: list[str] = field(default_factory=list)  # one of them is a part of the author's name
    not_sources: list[str] = field(default_factory=list)
    not_tags: list[str] = field(default_factory=list)
    not_authors: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Filters:
    """Which items. What is None or empty does not filter."""

    since: datetime | None = None
    until: datetime | None = None
    sources: Sequence[str] = ()
    tags: Sequence[str] = ()
    authors: Sequence[str] = ()
    query: str | None = None
    narrowing: Narrowing = field(default_factory=Narrowing)
    without: Sequence[UUID] = ()  # items that are told elsewhere
    # Where the page before ended: (published, id), and in a search the rank there.
    after: tuple[datetime, UUID] | None = None
    after_rank: float = 0.0
    with_raw: bool = False
    limit: int = 100


COLUMNS: LiteralString = (
    "id, source, platform_id, extract(epoch FROM published_at)::int8 AS published, content, title,"
    " author, url, kind, thread_id, metrics::text AS metrics, ai_tags"
)


async def list_recent(connection: AsyncConnection, user_id: str, filters: Filters) -> list[ItemRow]:
    """Items newest first, one more than the limit where there are more."""
    clauses, parameters = clauses_of(user_id, filters)
    if filters.after is not None:
        clauses.append("(published_at, id) < (%(after)s, %(after_id)s)")
    raw: LiteralString = "raw::text" if filters.with_raw else "NULL::text"
    where: LiteralString = " AND ".join(clauses)
    statement: LiteralString = (
        f"SELECT {COLUMNS}, {raw} AS raw, 0::float4 AS rank FROM items WHERE {where}"  # noqa: S608 -- literals only
        " ORDER BY published_at DESC, id DESC LIMIT %(limit)s"
    )
    return await fetch(connection, statement, parameters)


async def search_items(
    connection: AsyncConnection, user_id: str, filters: Filters, *, any_word: bool = False
) -> list[ItemRow]:
    """Items that match the query, the best first and of equals the newest.

    There is one more than the limit where there are more. With `any_word` those with the most of its
    words are the best, wherever these stand.
    """
    rank: LiteralString = "ts_rank" if any_word else "ts_rank_cd"
    clauses, parameters = clauses_of(user_id, filters)
    clauses.append("search @@ query")
    where: LiteralString = " AND ".join(clauses)
    after: LiteralString = (
        "WHERE (rank, published_at, id) < (%(after_rank)s::float4, %(after)s, %(after_id)s)"
        if filters.after is not None
        else ""
    )
    # Normalisation 1 divides by the logarithm of the length: a long page does not win by length. Only what
    # is shown is read whole: sorting thousands of whole rows took twice the time.
    statement: LiteralString = (
        f"SELECT {COLUMNS}, NULL::text AS raw, rank FROM (SELECT id, rank"  # noqa: S608 -- literals only
        f" FROM (SELECT id, published_at, {rank}(search, query, 1) AS rank"
        " FROM items, websearch_to_tsquery('english', %(query)s) AS query"
        f" WHERE {where}) AS ranked {after}"
        " ORDER BY rank DESC, published_at DESC, id DESC LIMIT %(limit)s) AS found"
        " JOIN items USING (id) WHERE user_id = %(user_id)s"
        " ORDER BY rank DESC, published_at DESC, id DESC"
    )
    return await fetch(connection, statement, parameters)


async def has_searchable_words(connection: AsyncConnection, query: str) -> bool:
    """False where a query consists of stop words and signs alone, so that nothing can match."""
    nodes = select(func.numnode(func.websearch_to_tsquery("english", query)))
    return int((await connection.execute(nodes)).scalar_one()) > 0


async def list_snippets(
    connection: AsyncConnection, user_id: str, query: str, ids: Sequence[UUID]
) -> dict[UUID, str]:
    """The passages of these items where the query's words stand, those between `FOUND` and `END`."""
    driver = await driver_connection(connection)
    async with driver.cursor() as cursor:
        await cursor.execute(
            "SELECT id, ts_headline('english', distill_text(translate(left("
            "coalesce(nullif(content, ''), title), %(characters)s), %(signs)s, '')),"
            " websearch_to_tsquery('english', %(query)s), %(options)s)"
            " FROM items WHERE user_id = %(user_id)s AND id = ANY(%(ids)s)",
            {
                "user_id": user_id,
                "ids": list(ids),
                "query": query,
                "characters": SNIPPET_FROM,
                "signs": FOUND + END,
                # Characters that stand alone are no short words, which fragments do not end with.
                "options": f"{_HEADLINE},ShortWord=0" if has_runs(query) else _HEADLINE,
            },
        )
        return {id_: together(marked) for id_, marked in await cursor.fetchall()}


async def count_facets(
    connection: AsyncConnection, user_id: str, filters: Filters, near: Sequence[UUID] = ()
) -> list[tuple[str, str, int]]:
    """(Kind, value, items) of all items that match or are `near`: the most frequent of each kind."""
    clauses, parameters = clauses_of(user_id, filters)
    if near:
        clauses.append(
            "(search @@ websearch_to_tsquery('english', %(query)s) OR id = ANY(%(near)s))"
        )
        parameters["near"] = list(near)
    elif filters.query is not None:
        clauses.append("search @@ websearch_to_tsquery('english', %(query)s)")
    where: LiteralString = " AND ".join(clauses)
    statement: LiteralString = (
        "WITH found AS MATERIALIZED"  # noqa: S608 -- literals only
        f" (SELECT source, author, ai_tags FROM items WHERE {where}), counted AS ("
        " SELECT 'source' AS kind, source AS value, count(*) AS items FROM found GROUP BY 2"
        " UNION ALL SELECT 'author', author, count(*) FROM found WHERE author <> '' GROUP BY 2"
        " UNION ALL SELECT 'tag', tag, count(*) FROM found, unnest(ai_tags) AS tag GROUP BY 2)"
        " SELECT kind, value, items FROM (SELECT *, row_number() OVER"
        " (PARTITION BY kind ORDER BY items DESC, value) AS place FROM counted) AS placed"
        " WHERE place <= %(facets)s ORDER BY kind, place"
    )
    driver = await driver_connection(connection)
    async with driver.cursor() as cursor:
        await cursor.execute(statement, {**parameters, "facets": FACETS})
        return await cursor.fetchall()


def clauses_of(user_id: str, filters: Filters) -> tuple[list[LiteralString], dict[str, Any]]:
    """The conditions and their parameters; `query` is left to whoever searches."""
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
    if filters.without:
        clauses.append("id <> ALL(%(without)s)")
        parameters["without"] = list(filters.without)
    for clause, name, values in _narrowing(filters.narrowing):
        if values:
            clauses.append(clause)
            parameters[name] = list(values)
    if filters.after is not None:
        parameters["after"], parameters["after_id"] = filters.after
        parameters["after_rank"] = filters.after_rank
    return clauses, parameters


def _narrowing(wanted: Narrowing) -> list[tuple[LiteralString, str, list[str]]]:
    """The clause of each kind of qualifier, its parameter and the values."""
    one: LiteralString = "strpos(lower(author), part) > 0)"
    some: LiteralString = (
        f"EXISTS (SELECT FROM unnest(%(some_authors)s::text[]) AS part WHERE {one}"
    )
    none: LiteralString = (
        f"NOT EXISTS (SELECT FROM unnest(%(no_authors)s::text[]) AS part WHERE {one}"
    )
    return [
        ("source = ANY(%(some_sources)s)", "some_sources", wanted.sources),
        ("source <> ALL(%(no_sources)s)", "no_sources", wanted.not_sources),
        ("ai_tags @> %(all_tags)s", "all_tags", wanted.tags),
        ("NOT ai_tags && %(no_tags)s", "no_tags", wanted.not_tags),
        (some, "some_authors", wanted.authors),
        (none, "no_authors", wanted.not_authors),
    ]


async def fetch(
    connection: AsyncConnection, statement: LiteralString, parameters: dict[str, Any]
) -> list[ItemRow]:
    """The rows of a statement that selects what `ItemRow` has, in its order."""
    driver = await driver_connection(connection)
    async with driver.cursor(binary=True, row_factory=item_row) as cursor:
        await cursor.execute(statement, parameters)
        return await cursor.fetchall()


def item_row(_cursor: AsyncCursor[Any]) -> Callable[[Sequence[Any]], ItemRow]:
    """By place: psycopg's `class_row` goes by name, which took an eighth of a list's whole time."""
    return ItemRow._make

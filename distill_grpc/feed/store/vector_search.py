"""What is found by meaning: exactly, among one user's vectors, beside what is found by words.

There is no index on vectors: all of a user's are compared, which is exact and takes milliseconds (an index
that is shared by all users made the planner return a few rows of many).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.db.engine import driver_connection
from distill_grpc.feed.store.embeddings import Meaning
from distill_grpc.feed.store.item_lists import COLUMNS, Filters, ItemRow, clauses_of, fetch

# Models differ in which cosine means anything. Where there are vectors enough to tell, what is found lies so
# many spreads above the median of all of the user's. The spread is that of the lower half (one standard
# deviation of a normal distribution), which what is sought does not widen.
ENOUGH = 50
STANDS_OUT = 3.0
_SPREAD_BELOW = 0.16


async def list_nearest(
    connection: AsyncConnection,
    user_id: str,
    filters: Filters,
    sought: Meaning,
    *,
    demands: str,
    floor: float,
    limit: int,
) -> list[UUID]:
    """The items nearest in meaning among those that the filters leave, nearest first.

    `demands` are phrases and exclusions that hold for them too, as a query for full text. Nothing below
    the cosine `floor` is near, nor what is about as near as most.
    """
    clauses, parameters = clauses_of(user_id, filters)
    if demands:
        clauses.append("(numnode(demands) = 0 OR search @@ demands)")
    where: LiteralString = " AND ".join(clauses)
    statement: LiteralString = (
        "WITH measured AS MATERIALIZED ("  # noqa: S608 -- literals only
        " SELECT item_id, 1 - (vector <=> %(sought)s::vector) AS cosine FROM embeddings"
        " WHERE user_id = %(user_id)s AND model = %(model)s AND dimensions = %(dimensions)s"
        "), noise AS ("
        " SELECT count(*) AS vectors, percentile_cont(ARRAY[%(spread_below)s, 0.5])"
        " WITHIN GROUP (ORDER BY cosine) AS quantiles FROM measured"
        "), bar AS ("
        " SELECT CASE WHEN vectors < %(enough)s THEN %(floor)s ELSE greatest(%(floor)s,"
        " quantiles[2] + %(stands_out)s * (quantiles[2] - quantiles[1])) END AS least FROM noise"
        "), near AS MATERIALIZED (SELECT item_id, cosine FROM measured, bar WHERE cosine >= least)"
        " SELECT id FROM near JOIN items ON id = item_id,"
        f" websearch_to_tsquery('english', %(demands)s) AS demands WHERE {where}"
        " ORDER BY cosine DESC, id DESC LIMIT %(nearest)s"
    )
    told = {
        **parameters,
        "sought": sought.text,
        "model": sought.model,
        "dimensions": len(sought.vector),
        "demands": demands,
        "floor": floor,
        "enough": ENOUGH,
        "stands_out": STANDS_OUT,
        "spread_below": _SPREAD_BELOW,
        "nearest": limit,
    }
    driver = await driver_connection(connection)
    async with driver.cursor() as cursor:
        await cursor.execute(statement, told)
        return [row[0] for row in await cursor.fetchall()]


async def search_with_places(
    connection: AsyncConnection,
    user_id: str,
    filters: Filters,
    near: Sequence[UUID],
    *,
    any_word: bool = False,
) -> list[tuple[ItemRow, int]]:
    """What `search_items` finds, each with its place among all that match the words, from 1.

    Those of `near` that match are there whatever their place, and so many more of the others.
    """
    rank: LiteralString = "ts_rank" if any_word else "ts_rank_cd"
    clauses, parameters = clauses_of(user_id, filters)
    clauses.append("search @@ query")
    where: LiteralString = " AND ".join(clauses)
    statement: LiteralString = (
        f"SELECT {COLUMNS}, NULL::text AS raw, rank, place FROM (SELECT id, rank,"  # noqa: S608 -- literals
        " row_number() OVER (ORDER BY rank DESC, published_at DESC, id DESC) AS place"
        f" FROM (SELECT id, published_at, {rank}(search, query, 1) AS rank"
        " FROM items, websearch_to_tsquery('english', %(query)s) AS query"
        f" WHERE {where}) AS ranked) AS placed JOIN items USING (id)"
        " WHERE user_id = %(user_id)s AND (place <= %(limit)s + cardinality(%(near)s::uuid[])"
        " OR id = ANY(%(near)s)) ORDER BY place"
    )
    driver = await driver_connection(connection)
    async with driver.cursor(binary=True) as cursor:
        await cursor.execute(statement, {**parameters, "near": list(near)})
        return [(ItemRow._make(row[:-1]), row[-1]) for row in await cursor.fetchall()]


async def list_items(
    connection: AsyncConnection, user_id: str, ids: Sequence[UUID]
) -> dict[UUID, ItemRow]:
    """These items, as far as they are there."""
    if not ids:
        return {}
    parameters: dict[str, Any] = {"user_id": user_id, "ids": list(ids)}
    statement: LiteralString = (
        f"SELECT {COLUMNS}, NULL::text AS raw, 0::float4 AS rank FROM items"  # noqa: S608 -- literals
        " WHERE user_id = %(user_id)s AND id = ANY(%(ids)s)"
    )
    return {row.id: row for row in await fetch(connection, statement, parameters)}

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

# Models differ in which cosine means anything. Where there are vectors enough to tell, what is found stands
# out from all of the user's by so many standard deviations.
ENOUGH = 20
STANDS_OUT = 2.0


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
        " SELECT CASE WHEN count(*) < %(enough)s THEN %(floor)s"
        " ELSE greatest(%(floor)s, avg(cosine) + %(stands_out)s * stddev_pop(cosine)) END AS least"
        " FROM measured"
        "), near AS MATERIALIZED (SELECT item_id, cosine FROM measured, noise WHERE cosine >= least)"
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
        "nearest": limit,
    }
    driver = await driver_connection(connection)
    async with driver.cursor() as cursor:
        await cursor.execute(statement, told)
        return [row[0] for row in await cursor.fetchall()]


async def list_places(
    connection: AsyncConnection,
    user_id: str,
    filters: Filters,
    ids: Sequence[UUID],
    *,
    any_word: bool = False,
) -> dict[UUID, int]:
    """The place of each of these items among all that match the words, from 1; others have none."""
    if not ids:
        return {}
    rank: LiteralString = "ts_rank" if any_word else "ts_rank_cd"
    clauses, parameters = clauses_of(user_id, filters)
    clauses.append("search @@ query")
    where: LiteralString = " AND ".join(clauses)
    statement: LiteralString = (
        "SELECT id, place FROM (SELECT id,"  # noqa: S608 -- literals only
        f" row_number() OVER (ORDER BY {rank}(search, query, 1) DESC, id DESC) AS place"
        " FROM items, websearch_to_tsquery('english', %(query)s) AS query"
        f" WHERE {where}) AS placed WHERE id = ANY(%(ids)s)"
    )
    driver = await driver_connection(connection)
    async with driver.cursor() as cursor:
        await cursor.execute(statement, {**parameters, "ids": list(ids)})
        return dict(await cursor.fetchall())


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

"""Vectors of items: which lack one, what is stored, what it is compared by.

Nothing here is asked where the server has no pgvector: then the column `vector` is not there either.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

from sqlalchemy import Row, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.db import vectors
from distill_grpc.db.engine import driver_connection
from distill_grpc.feed.models import Embedding, Item, Watch


@dataclass(frozen=True, slots=True)
class Meaning:
    """A vector with what it can be compared with: others of the same model and size."""

    model: str
    vector: Sequence[float]

    @property
    def text(self) -> str:
        """The vector as pgvector reads it."""
        return vector_text(self.vector)


def vector_text(vector: Sequence[float]) -> str:
    """A vector as pgvector reads it."""
    return f"[{','.join(f'{number:.9g}' for number in vector)}]"  # all that single precision holds


async def can_hold_vectors(connection: AsyncConnection) -> bool:
    """True where the database has pgvector and the column for it."""
    return await vectors.is_prepared(connection)


def pending(user_id: str, model: str, dimensions: int | None = None) -> Any:
    """The query for the items that have no vector for their text of now, of the model and size."""
    stale = [
        Embedding.item_id.is_(None),
        Embedding.model != model,
        Embedding.content_hash != Item.content_hash,
    ]
    if dimensions is not None:
        stale.append(Embedding.dimensions != dimensions)
    return (
        select(Item.id)
        .outerjoin(Embedding, (Embedding.user_id == Item.user_id) & (Embedding.item_id == Item.id))
        .where(Item.user_id == user_id, or_(*stale))
    )


async def list_pending(
    connection: AsyncConnection,
    user_id: str,
    model: str,
    dimensions: int | None,
    *,
    characters: int,
    limit: int,
) -> Sequence[Row[Any]]:
    """The newest items without a vector for their text of now; texts cut to `characters`.

    With `dimensions`, those whose vector has another size count as without.
    """
    query = (
        pending(user_id, model, dimensions)
        .add_columns(
            Item.content_hash,
            Item.title,
            func.left(Item.content, characters).label("content"),
        )
        .order_by(Item.published_at.desc(), Item.id.desc())
        .limit(limit)
    )
    rows: Sequence[Row[Any]] = (await connection.execute(query)).all()
    return rows


# The lock keeps an item from being deleted under its vector; who was quicker to change it wins.
_LOOKED_AT: LiteralString = """
looked AS (
  SELECT items.id, told.text_hash, told.content_hash FROM items
  JOIN unnest(%(ids)s::uuid[], %(text_hashes)s::bytea[], %(content_hashes)s::bytea[])
    AS told(id, text_hash, content_hash)
    ON told.id = items.id AND told.content_hash = items.content_hash
  WHERE items.user_id = %(user_id)s ORDER BY items.id FOR KEY SHARE OF items
)"""
_STORE: LiteralString = """
INSERT INTO embeddings (user_id, item_id, model, text_hash, content_hash, dimensions, vector)
SELECT %(user_id)s, looked.id, %(model)s, looked.text_hash, looked.content_hash, known.dimensions,
  known.vector
FROM looked JOIN known USING (text_hash)
ON CONFLICT (user_id, item_id) DO UPDATE SET model = excluded.model,
  text_hash = excluded.text_hash, content_hash = excluded.content_hash,
  dimensions = excluded.dimensions, vector = excluded.vector
RETURNING text_hash
"""
_KNOWN: LiteralString = """
known AS (
  SELECT DISTINCT ON (text_hash) text_hash, dimensions, vector FROM embeddings
  WHERE user_id = %(user_id)s AND model = %(model)s AND text_hash = ANY(%(text_hashes)s)
    AND (%(dimensions)s::int IS NULL OR dimensions IS NULL OR dimensions = %(dimensions)s)
)"""
_MADE: LiteralString = """
known AS (
  SELECT text_hash, vector::vector, vector_dims(vector::vector) AS dimensions
  FROM unnest(%(new_hashes)s::bytea[], %(vectors)s::text[]) AS told(text_hash, vector)
)"""
_REUSE: LiteralString = f"WITH {_LOOKED_AT}, {_KNOWN} {_STORE}"
_INSERT: LiteralString = f"WITH {_LOOKED_AT}, {_MADE} {_STORE}"


@dataclass(frozen=True, slots=True)
class Text:
    """What is embedded of an item, by its hash."""

    item_id: UUID
    text_hash: bytes
    content_hash: bytes  # of the item that it was taken from
    text: str


async def reuse_vectors(
    connection: AsyncConnection,
    user_id: str,
    model: str,
    dimensions: int | None,
    texts: Sequence[Text],
) -> set[bytes]:
    """Gives items the vectors that the user has for the same texts; returns the hashes of these."""
    return await _store(
        connection, _REUSE, {**_told(user_id, model, texts), "dimensions": dimensions}
    )


async def insert_vectors(
    connection: AsyncConnection,
    user_id: str,
    model: str,
    texts: Sequence[Text],
    made: dict[bytes, Sequence[float] | None],
) -> int:
    """Stores the vectors of texts by their hashes (None: the model does not take the text).

    Items that changed or went meanwhile are left out. Returns the number of texts that were stored.
    """
    parameters = {
        **_told(user_id, model, texts),
        "new_hashes": list(made),
        "vectors": [None if vector is None else vector_text(vector) for vector in made.values()],
    }
    return len(await _store(connection, _INSERT, parameters))


def _told(user_id: str, model: str, texts: Sequence[Text]) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "model": model,
        "ids": [text.item_id for text in texts],
        "text_hashes": [text.text_hash for text in texts],
        "content_hashes": [text.content_hash for text in texts],
    }


async def _store(
    connection: AsyncConnection, statement: LiteralString, parameters: dict[str, Any]
) -> set[bytes]:
    driver = await driver_connection(connection)
    async with driver.cursor() as cursor:
        await cursor.execute(statement, parameters)
        return {bytes(row[0]) for row in await cursor.fetchall()}


async def list_vectors(
    connection: AsyncConnection, user_id: str, model: str, ids: Sequence[UUID]
) -> dict[UUID, array[float]]:
    """The vectors of these items by the model, as far as they have any; all of one size."""
    driver = await driver_connection(connection)
    async with driver.cursor(binary=True) as cursor:
        await cursor.execute(
            "SELECT item_id, vector_send(vector) FROM embeddings WHERE user_id = %(user_id)s"
            " AND model = %(model)s AND item_id = ANY(%(ids)s) AND vector IS NOT NULL",
            {"user_id": user_id, "model": model, "ids": list(ids)},
        )
        found = {row[0]: _floats(row[1]) for row in await cursor.fetchall()}
    return found if len(set(map(len, found.values()))) <= 1 else {}


def _floats(sent: bytes) -> array[float]:
    """A vector as pgvector sends it: the size and a spare in two bytes each, then big-endian floats."""
    floats = array("f", sent[4:])
    if sys.byteorder == "little":
        floats.byteswap()
    return floats


async def count_embedded(connection: AsyncConnection, user_id: str, model: str) -> int:
    """A user's items that were embedded by the model, those that it does not take included."""
    query = select(func.count()).where(Embedding.user_id == user_id, Embedding.model == model)
    return int((await connection.execute(query)).scalar_one())


async def is_searchable(connection: AsyncConnection, user_id: str, model: str) -> bool:
    """True where a watching user has vectors of the model."""
    query = (
        select(Embedding.item_id)
        .join(Watch, Watch.user_id == Embedding.user_id)
        .where(
            Embedding.user_id == user_id,
            Embedding.model == model,
            Embedding.dimensions.is_not(None),
            Watch.unwatched_at.is_(None),
        )
        .limit(1)
    )
    return (await connection.execute(query)).one_or_none() is not None

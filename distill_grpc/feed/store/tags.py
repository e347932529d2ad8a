"""Vocabularies, and the tags of items by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import orjson
from sqlalchemy import Row, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.db.engine import driver_connection
from distill_grpc.feed.models import Item, TagVocabulary

vocabularies = TagVocabulary.__table__


async def get_vocabulary(connection: AsyncConnection, user_id: str) -> Row[Any] | None:
    """The user's row; None where they never had a vocabulary."""
    query = select(vocabularies).where(TagVocabulary.user_id == user_id)
    return (await connection.execute(query)).one_or_none()


async def upsert_vocabulary(
    connection: AsyncConnection, user_id: str, tags: Sequence[Mapping[str, Any]], now: datetime
) -> Row[Any]:
    """Replaces the user's vocabulary under the next revision."""
    statement = insert(TagVocabulary).values(
        user_id=user_id, tags=list(tags), revision=1, updated_at=now
    )
    stored = statement.on_conflict_do_update(
        index_elements=["user_id"],
        set_={
            "tags": statement.excluded.tags,
            "revision": TagVocabulary.revision + 1,
            "updated_at": now,
        },
    )
    row: Row[Any] = (await connection.execute(stored.returning(vocabularies))).one()
    return row


async def list_untagged(
    connection: AsyncConnection,
    user_id: str,
    revision: int,
    *,
    after: UUID,
    characters: int,
    limit: int,
) -> Sequence[Row[Any]]:
    """Items with a greater id that were not tagged by this revision, by id; texts cut to `characters`."""
    query = (
        select(
            Item.id,
            Item.title,
            func.left(Item.content, characters).label("content"),
            Item.language,
            Item.ai_tags,
            func.coalesce(Item.source_tags, Item.ai_tags).label("source_tags"),
            Item.content_hash,
        )
        .where(
            Item.user_id == user_id,
            Item.id > after,
            Item.tag_revision.is_distinct_from(revision),
        )
        .order_by(Item.id)
        .limit(limit)
    )
    return (await connection.execute(query)).all()


_LOCK: LiteralString = """
SELECT FROM items WHERE user_id = %(user_id)s AND id = ANY(%(ids)s) ORDER BY id FOR UPDATE
"""
# The search vector is computed anew only where a statement touches the tags.
_RETAG: LiteralString = """
UPDATE items SET source_tags = coalesce(items.source_tags, items.ai_tags), ai_tags = told.tags,
  tag_revision = %(revision)s, model_tag_revision = NULL
FROM jsonb_to_recordset(%(told)s::jsonb) AS told(id uuid, tags text[], hash text)
WHERE items.user_id = %(user_id)s AND items.id = told.id
  AND items.content_hash = decode(told.hash, 'hex') AND items.ai_tags <> told.tags
"""
_KEEP: LiteralString = """
UPDATE items SET source_tags = coalesce(items.source_tags, items.ai_tags),
  tag_revision = %(revision)s, model_tag_revision = NULL
FROM jsonb_to_recordset(%(told)s::jsonb) AS told(id uuid, tags text[], hash text)
WHERE items.user_id = %(user_id)s AND items.id = told.id
  AND items.content_hash = decode(told.hash, 'hex') AND items.ai_tags = told.tags
  AND items.tag_revision IS DISTINCT FROM %(revision)s
"""


async def update_tags(
    connection: AsyncConnection,
    user_id: str,
    revision: int,
    chosen: Sequence[tuple[UUID, bytes, Sequence[str]]],
) -> int:
    """Gives items their tags: (id, hash of the content that was read, tags); returns how many changed.

    An item whose content is another by now is left to the next time.
    """
    parameters = _parameters(user_id, revision, chosen)
    driver = await driver_connection(connection)
    async with driver.cursor() as cursor:
        await cursor.execute(_LOCK, parameters)
        await cursor.execute(_RETAG, parameters)
        changed = cursor.rowcount
        await cursor.execute(_KEEP, parameters)
    return changed


async def list_unasked(
    connection: AsyncConnection, user_id: str, revision: int, *, characters: int, limit: int
) -> Sequence[Row[Any]]:
    """Items tagged by this revision that no model was asked about under it, newest first."""
    query = (
        select(
            Item.id,
            Item.source,
            Item.author,
            Item.title,
            func.left(Item.content, characters).label("content"),
            Item.url,
            Item.published_at,
            Item.ai_tags,
            Item.content_hash,
        )
        .where(
            Item.user_id == user_id,
            Item.tag_revision == revision,
            Item.model_tag_revision.is_distinct_from(revision),
        )
        .order_by(Item.published_at.desc(), Item.id.desc())
        .limit(limit)
    )
    return (await connection.execute(query)).all()


_BY_MODEL: LiteralString = """
UPDATE items SET ai_tags = told.tags, model_tag_revision = %(revision)s
FROM jsonb_to_recordset(%(told)s::jsonb) AS told(id uuid, tags text[], hash text)
WHERE items.user_id = %(user_id)s AND items.id = told.id AND items.tag_revision = %(revision)s
  AND items.content_hash = decode(told.hash, 'hex') AND items.ai_tags <> told.tags
"""
_ASKED: LiteralString = """
UPDATE items SET model_tag_revision = %(revision)s
FROM jsonb_to_recordset(%(told)s::jsonb) AS told(id uuid, tags text[], hash text)
WHERE items.user_id = %(user_id)s AND items.id = told.id AND items.tag_revision = %(revision)s
  AND items.content_hash = decode(told.hash, 'hex') AND items.ai_tags = told.tags
  AND items.model_tag_revision IS DISTINCT FROM %(revision)s
"""


async def update_by_model(
    connection: AsyncConnection,
    user_id: str,
    revision: int,
    chosen: Sequence[tuple[UUID, bytes, Sequence[str]]],
) -> int:
    """Gives items the tags of a model, as `update_tags` does; returns how many were asked about now.

    An item whose content or vocabulary is another by now is left to the next time.
    """
    parameters = _parameters(user_id, revision, chosen)
    driver = await driver_connection(connection)
    async with driver.cursor() as cursor:
        await cursor.execute(_LOCK, parameters)
        await cursor.execute(_BY_MODEL, parameters)
        noted = cursor.rowcount
        await cursor.execute(_ASKED, parameters)
        return noted + cursor.rowcount


def _parameters(
    user_id: str, revision: int, chosen: Sequence[tuple[UUID, bytes, Sequence[str]]]
) -> dict[str, Any]:
    told = [{"id": str(id_), "hash": read.hex(), "tags": list(tags)} for id_, read, tags in chosen]
    return {
        "user_id": user_id,
        "ids": [id_ for id_, _, _ in chosen],
        "revision": revision,
        "told": orjson.dumps(told).decode(),
    }


async def delete_of_user(connection: AsyncConnection, user_id: str) -> None:
    """Deletes a user's vocabulary."""
    await connection.execute(delete(TagVocabulary).where(TagVocabulary.user_id == user_id))

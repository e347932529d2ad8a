"""Comments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.db.engine import driver_connection
from distill_grpc.publishing.models import Comment

_comments = Comment.__table__
_LISTED = """
SELECT id, author_id, parent_comment_id, content, content_html, created_at, deleted_at
FROM comments WHERE post_id = %s ORDER BY path LIMIT %s OFFSET %s
"""


async def get_comment(
    connection: AsyncConnection, post_id: UUID, comment_id: UUID, *, lock: bool = False
) -> Row[Any] | None:
    """A comment under a post; against deletion where `lock` is set."""
    query = select(_comments).where(Comment.post_id == post_id, Comment.id == comment_id)
    found = await connection.execute(query.with_for_update() if lock else query)
    return found.one_or_none()


class ListedComment(NamedTuple):
    """What a thread shows of a comment."""

    id: UUID
    author_id: UUID
    parent_comment_id: UUID | None
    content: str
    content_html: str
    created_at: datetime
    deleted_at: datetime | None


async def list_comments(
    connection: AsyncConnection, post_id: UUID, *, limit: int, offset: int
) -> Sequence[ListedComment]:
    """A part of a post's comments, each followed by its replies. Hot, as reading a post is."""
    driver = await driver_connection(connection)
    async with driver.cursor(binary=True) as cursor:
        await cursor.execute(_LISTED, [post_id, limit, offset])
        return [ListedComment._make(row) for row in await cursor.fetchall()]


async def insert_comment(connection: AsyncConnection, **values: Any) -> Row[Any]:
    """Inserts a comment."""
    statement = insert(Comment).values(**values).returning(*_comments.c)
    return (await connection.execute(statement)).one()


async def delete_text(
    connection: AsyncConnection, post_id: UUID, comment_id: UUID, now: datetime
) -> None:
    """Takes the text of a comment away; its place in the thread stays."""
    await connection.execute(
        update(Comment)
        .where(Comment.post_id == post_id, Comment.id == comment_id)
        .values(content="", content_html="", deleted_at=now)
    )


async def count_recent(
    connection: AsyncConnection, author_id: UUID, now: datetime, within: timedelta
) -> tuple[int, datetime | None]:
    """How many comments somebody wrote lately, deleted ones included, and when the first of them."""
    query = select(func.count(), func.min(Comment.created_at)).where(
        Comment.author_id == author_id, Comment.created_at > now - within
    )
    count, first = (await connection.execute(query)).one()
    return count, first


async def count_same(
    connection: AsyncConnection,
    author_id: UUID,
    content_hash: bytes,
    now: datetime,
    within: timedelta,
) -> tuple[int, datetime | None]:
    """How often somebody wrote the same text lately, and when first."""
    query = select(func.count(), func.min(Comment.created_at)).where(
        Comment.author_id == author_id,
        Comment.created_at > now - within,
        Comment.content_hash == content_hash,
    )
    count, first = (await connection.execute(query)).one()
    return count, first

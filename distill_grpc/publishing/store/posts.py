"""Posts. What readers ask for is hot: prepared SQL, rows in binary, as in `feed/store/item_lists.py`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Executable, Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.db.engine import driver_connection
from distill_grpc.publishing.models import Post

_posts = Post.__table__
_VIEWED = """
SELECT id, creator_id, title, content, content_format, content_html, slug, status, scheduled_at,
  published_at, coalesce(views, 0)
FROM posts LEFT JOIN post_totals ON post_id = id WHERE id = %s
"""


class ListedPost(NamedTuple):
    """What a list shows of a post."""

    id: UUID
    title: str
    status: str
    published_at: datetime | None


async def get_post(
    connection: AsyncConnection, post_id: UUID, *, lock: bool = False
) -> Row[Any] | None:
    """A post by its id; against other changes where `lock` is set."""
    query = select(_posts).where(Post.id == post_id)
    # No stronger: new comments refer to the post and must not wait.
    found = await connection.execute(query.with_for_update(key_share=True) if lock else query)
    return found.one_or_none()


class ViewedPost(NamedTuple):
    """What a reader sees of a post."""

    id: UUID
    creator_id: UUID
    title: str
    content: str
    content_format: str
    content_html: str
    slug: str
    status: str
    scheduled_at: datetime | None
    published_at: datetime | None
    view_count: int


async def get_viewed(connection: AsyncConnection, post_id: UUID) -> ViewedPost | None:
    """A post by its id."""
    driver = await driver_connection(connection)
    async with driver.cursor(binary=True) as cursor:
        await cursor.execute(_VIEWED, [post_id])
        row = await cursor.fetchone()
    return None if row is None else ViewedPost._make(row)


class PostStanding(NamedTuple):
    """Whose a post is, and whether it is published."""

    creator_id: UUID
    status: str


async def get_standing(connection: AsyncConnection, post_id: UUID) -> PostStanding | None:
    """The standing of a post."""
    driver = await driver_connection(connection)
    async with driver.cursor(binary=True) as cursor:
        await cursor.execute("SELECT creator_id, status FROM posts WHERE id = %s", [post_id])
        row = await cursor.fetchone()
    return None if row is None else PostStanding._make(row)


async def list_published(
    connection: AsyncConnection, creator_id: UUID, limit: int
) -> Sequence[Row[Any]]:
    """A creator's published posts with their content, the last published first."""
    query: Executable = (
        select(Post.id, Post.title, Post.content_html, Post.published_at, Post.updated_at)
        .where(Post.creator_id == creator_id, Post.status == "published")
        .order_by(Post.published_at.desc(), Post.id.desc())
        .limit(limit)
    )
    return (await connection.execute(query)).all()


async def list_posts(
    connection: AsyncConnection,
    creator_id: UUID,
    *,
    statuses: Sequence[str],
    limit: int,
    offset: int,
) -> Sequence[ListedPost]:
    """A part of a creator's posts, newest first."""
    query = (
        select(Post.id, Post.title, Post.status, Post.published_at)
        .where(Post.creator_id == creator_id, Post.status.in_(statuses))
        .order_by(Post.created_at.desc(), Post.id.desc())
        .limit(limit)
        .offset(offset)
    )
    return [ListedPost(*row) for row in await connection.execute(query)]


async def list_slugs(
    connection: AsyncConnection, creator_id: UUID, *, but: UUID | None
) -> set[str]:
    """The names that a creator's posts have, except for one."""
    query = select(Post.slug).where(Post.creator_id == creator_id)
    if but is not None:
        query = query.where(Post.id != but)
    return set((await connection.execute(query)).scalars())


async def insert_post(connection: AsyncConnection, **values: Any) -> Row[Any]:
    """Inserts a post."""
    return (await connection.execute(insert(Post).values(**values).returning(*_posts.c))).one()


async def update_post(
    connection: AsyncConnection, creator_id: UUID, post_id: UUID, **values: Any
) -> Row[Any]:
    """Changes columns of a post."""
    statement = (
        update(Post)
        .where(Post.creator_id == creator_id, Post.id == post_id)
        .values(**values)
        .returning(*_posts.c)
    )
    return (await connection.execute(statement)).one()


async def list_due(connection: AsyncConnection, now: datetime, limit: int) -> Sequence[Row[Any]]:
    """Drafts whose time has come, longest overdue first; locked, those of other ticks left out."""
    query = (
        select(_posts)
        .where(Post.scheduled_at <= now)
        .order_by(Post.scheduled_at)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    )
    return (await connection.execute(query)).all()

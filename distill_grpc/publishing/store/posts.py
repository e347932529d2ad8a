"""Posts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Executable, Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.publishing.models import Post, PostTotal

_posts = Post.__table__


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


async def get_viewed(connection: AsyncConnection, post_id: UUID) -> Row[Any] | None:
    """A post by its id, with its `view_count`."""
    views = select(PostTotal.views).where(PostTotal.post_id == Post.id).scalar_subquery()
    query = select(_posts, func.coalesce(views, 0).label("view_count")).where(Post.id == post_id)
    return (await connection.execute(query)).one_or_none()


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

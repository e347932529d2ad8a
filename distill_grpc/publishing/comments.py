"""Comments: threads under published posts, and limits against floods."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.auth import Caller
from distill_grpc.errors import DistillError, ErrorReason, invalid_argument
from distill_grpc.publishing import accounts, markup, posts, texts
from distill_grpc.publishing.ids import new_id
from distill_grpc.publishing.store import comments as store

DEEPEST = 8  # comments from the first of a thread to the last reply
MOST_LINKS = 5
PER_MINUTE = 10
SAME_TEXTS = 2  # within SAME_WITHIN; the next one is refused
SAME_WITHIN = timedelta(minutes=10)
_MINUTE = timedelta(minutes=1)
_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Written:
    """What a comment says: without what is invisible, and as safe HTML."""

    text: str
    html: str


def render(content: str) -> Written:
    """What a comment says; raises INVALID_ARGUMENT where it is blank or full of links.

    Takes some time where somebody wants it to: call it in a thread.
    """
    text = texts.lines(content).strip()
    if not text:
        raise invalid_argument({"content": "must not be blank"})
    if markup.count_links(text) > MOST_LINKS:
        raise invalid_argument({"content": f"must not hold more than {MOST_LINKS} links"})
    try:
        return Written(text, markup.comment_html(text))
    except markup.TooComplex:
        raise invalid_argument({"content": "is too complex to be shown; make it simpler"}) from None


async def create(
    connection: AsyncConnection,
    caller: Caller,
    post_id: UUID,
    *,
    written: Written,
    parent_id: UUID | None,
    now: datetime,
) -> Row[Any]:
    """A comment of the caller; raises INVALID_ARGUMENT, NOT_FOUND or RATE_LIMITED."""
    # Locked, so that calls at the same time are counted one after the other.
    author = await accounts.require(connection, caller, lock=True)
    post = await posts.get_standing(connection, author.id, post_id)
    if post.status != posts.PUBLISHED:
        raise DistillError(ErrorReason.CONFLICT, "Only published posts can be commented on.")
    path = b"" if parent_id is None else await _parents_path(connection, post_id, parent_id)
    content_hash = hashlib.sha256(texts.key(texts.seen(written.text)).encode()).digest()
    await _check_flood(connection, author.id, content_hash, now)
    comment_id = new_id(now)
    return await store.insert_comment(
        connection,
        post_id=post_id,
        id=comment_id,
        author_id=author.id,
        parent_comment_id=parent_id,
        path=path + comment_id.bytes,
        content=written.text,
        content_html=written.html,
        content_hash=content_hash,
        created_at=now,
    )


async def list_of(
    connection: AsyncConnection, viewer: UUID | None, post_id: UUID, *, limit: int, offset: int
) -> Sequence[store.ListedComment]:
    """A part of the comments on a post that the viewer may see, thread by thread."""
    await posts.get_standing(connection, viewer, post_id)
    return await store.list_comments(connection, post_id, limit=limit, offset=offset)


async def delete(
    connection: AsyncConnection, caller: Caller, post_id: UUID, comment_id: UUID, *, now: datetime
) -> None:
    """Takes a comment's text away: its author and the creator of the post may."""
    account = await accounts.require(connection, caller)
    post = await posts.get_standing(connection, account.id, post_id)
    comment = await store.get_comment(connection, post_id, comment_id, lock=True)
    if comment is None:
        raise DistillError(ErrorReason.NOT_FOUND, "There is no such comment on this post.")
    if account.id not in {comment.author_id, post.creator_id}:
        raise DistillError(
            ErrorReason.FORBIDDEN, "Only its author and the creator of the post may delete it."
        )
    if comment.deleted_at is None:
        await store.delete_text(connection, post_id, comment_id, now)


async def _parents_path(connection: AsyncConnection, post_id: UUID, parent_id: UUID) -> bytes:
    parent = await store.get_comment(connection, post_id, parent_id, lock=True)
    if parent is None:
        raise invalid_argument({"parent_comment_id": "must be a comment on the same post"})
    if parent.deleted_at is not None:
        raise invalid_argument({"parent_comment_id": "must not be a deleted comment"})
    if len(parent.path) >= DEEPEST * _ID_BYTES:
        rule = f"must not be at the depth of {DEEPEST}, where threads end"
        raise invalid_argument({"parent_comment_id": rule})
    return bytes(parent.path)


async def _check_flood(
    connection: AsyncConnection, author_id: UUID, content_hash: bytes, now: datetime
) -> None:
    count, first = await store.count_recent(connection, author_id, now, _MINUTE)
    if count >= PER_MINUTE and first is not None:
        raise DistillError(
            ErrorReason.RATE_LIMITED,
            f"More than {PER_MINUTE} comments in a minute.",
            retry_after=first + _MINUTE,
        )
    same, first = await store.count_same(connection, author_id, content_hash, now, SAME_WITHIN)
    if same >= SAME_TEXTS and first is not None:
        raise DistillError(
            ErrorReason.RATE_LIMITED,
            "You have written the same comment several times already.",
            retry_after=first + SAME_WITHIN,
        )

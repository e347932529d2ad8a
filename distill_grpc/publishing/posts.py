"""Posts: drafts, publishing (once, at once or when it is due), and who may see what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.auth import Caller
from distill_grpc.errors import DistillError, ErrorReason, invalid_argument
from distill_grpc.publishing import accounts, markup, slugs, texts
from distill_grpc.publishing.ids import new_id
from distill_grpc.publishing.store import outbox
from distill_grpc.publishing.store import posts as store

DRAFT, PUBLISHED = "draft", "published"
MARKDOWN, HTML = "markdown", "html"
# The job that every publication makes necessary (seed 001); its payload is `{"post_id": …}`.
NOTIFY_JOB = "send_new_post_notifications"
# Posts that one tick publishes in one transaction.
BATCH = 100


@dataclass(frozen=True, slots=True)
class Content:
    """What a post says: as it was written, and as safe HTML."""

    text: str
    format: str
    html: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What to change in a post; what is None stays as it is.

    `names_text` and `names_format`: whether that half of `content` is new, and not the post's own.
    """

    title: str | None = None
    content: Content | None = None
    names_text: bool = True
    names_format: bool = True
    status: str | None = None
    scheduled_at: datetime | None = None
    unschedule: bool = False


class ContentChanged(Exception):  # noqa: N818 -- what happened to the post
    """The half of the content that a change does not name is no more what was rendered."""


def render(text: str, content_format: str) -> Content:
    """The content of a post; raises INVALID_ARGUMENT where it is blank or grows too large.

    Takes up to seconds: call it in a thread.
    """
    if texts.is_blank(text):
        raise invalid_argument({"content": "must not be blank"})
    try:
        html = markup.post_html(text, content_format)
    except markup.TooComplex:
        raise invalid_argument({"content": "is too complex to be shown; make it simpler"}) from None
    if len(html.encode()) > markup.MAX_HTML:
        rule = f"must not become more than {markup.MAX_HTML} bytes of HTML"
        raise invalid_argument({"content": rule})
    return Content(text, content_format, html)


async def create(
    connection: AsyncConnection,
    caller: Caller,
    *,
    title: str,
    content: Content,
    scheduled_at: datetime | None,
    now: datetime,
) -> Row[Any]:
    """A new draft of the caller, who must be a creator."""
    # Locked, so that two posts of one title do not take the same name.
    creator = await accounts.require(connection, caller, creator=True, lock=True)
    line = _title(title)
    return await store.insert_post(
        connection,
        creator_id=creator.id,
        id=new_id(now),
        title=line,
        content=content.text,
        content_format=content.format,
        content_html=content.html,
        slug=await _free_slug(connection, creator.id, line, but=None),
        status=DRAFT,
        scheduled_at=_ahead(scheduled_at, now),
        created_at=now,
        updated_at=now,
    )


async def get(connection: AsyncConnection, viewer: UUID | None, post_id: UUID) -> store.ViewedPost:
    """A post that the viewer may see; raises NOT_FOUND, for the drafts of others too."""
    post = await store.get_viewed(connection, post_id)
    if post is None or not _is_visible(post, viewer):
        raise _unknown()
    return post


async def get_standing(
    connection: AsyncConnection, viewer: UUID | None, post_id: UUID
) -> store.PostStanding:
    """The same without what the post says."""
    post = await store.get_standing(connection, post_id)
    if post is None or not _is_visible(post, viewer):
        raise _unknown()
    return post


async def list_by(
    connection: AsyncConnection,
    viewer: UUID | None,
    creator_id: UUID,
    *,
    status: str | None,
    limit: int,
    offset: int,
) -> Sequence[store.ListedPost]:
    """A part of a creator's posts, as far as the viewer may see them, newest first."""
    await accounts.require_creator(connection, creator_id)
    visible = {PUBLISHED, DRAFT} if viewer == creator_id else {PUBLISHED}
    statuses = visible if status is None else visible & {status}
    if not statuses:
        return []
    return await store.list_posts(
        connection, creator_id, statuses=sorted(statuses), limit=limit, offset=offset
    )


async def own(
    connection: AsyncConnection, caller: Caller, post_id: UUID, *, lock: bool = True
) -> Row[Any]:
    """A post of the caller; FORBIDDEN for who is no creator and for what others published.

    Drafts of others are unknown.
    """
    # The account before the post, always: the order of locks must be one.
    creator = await accounts.require(connection, caller, creator=True, lock=lock)
    post = await store.get_post(connection, post_id, lock=lock)
    if post is None or not _is_visible(post, creator.id):
        raise _unknown()
    if post.creator_id != creator.id:
        raise DistillError(ErrorReason.FORBIDDEN, "The post belongs to somebody else.")
    return post


async def update(
    connection: AsyncConnection, caller: Caller, post_id: UUID, changes: Changes, *, now: datetime
) -> Row[Any]:
    """Changes a post of the caller; the status `published` publishes a draft.

    Raises CONFLICT where a published post would become a draft again or be scheduled, and
    `ContentChanged` where the content is to be rendered again.
    """
    post = await own(connection, caller, post_id)
    _check_state(post, changes)
    _check_content(post, changes)
    changed: dict[str, Any] = {}
    if changes.title is not None and (line := _title(changes.title)) != post.title:
        changed["title"] = line
        if post.status == DRAFT:  # the address of a published post stays good
            changed["slug"] = await _free_slug(connection, post.creator_id, line, but=post.id)
    content = changes.content
    if content and (content.text, content.format) != (post.content, post.content_format):
        changed |= {"content": content.text, "content_format": content.format}
        changed["content_html"] = content.html
    if changes.unschedule and post.scheduled_at is not None:
        changed["scheduled_at"] = None
    elif changes.scheduled_at is not None:
        changed["scheduled_at"] = _ahead(changes.scheduled_at, now)
    if changed:
        changed["updated_at"] = now
        post = await store.update_post(connection, post.creator_id, post.id, **changed)
    if changes.status == PUBLISHED and post.status == DRAFT:
        post = await _publish(connection, post, now)
    return post


async def publish(
    connection: AsyncConnection, caller: Caller, post_id: UUID, *, now: datetime
) -> Row[Any]:
    """Publishes a draft of the caller; raises CONFLICT where it is published already."""
    post = await own(connection, caller, post_id)
    if post.status == PUBLISHED:
        raise DistillError(ErrorReason.CONFLICT, "The post is published already.")
    return await _publish(connection, post, now)


async def publish_due(connection: AsyncConnection, now: datetime) -> int:
    """Publishes drafts whose time has come, at most `BATCH`; returns how many."""
    due = await store.list_due(connection, now, BATCH)
    for post in due:
        await _publish(connection, post, now)
    return len(due)


async def _publish(connection: AsyncConnection, post: Row[Any], now: datetime) -> Row[Any]:
    """The one place where a post becomes published. Its row is locked, and it is a draft."""
    published = await store.update_post(
        connection,
        post.creator_id,
        post.id,
        status=PUBLISHED,
        published_at=now,
        scheduled_at=None,
        updated_at=now,
    )
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    payload = {"post_id": str(post.id), "request_id": request_id}
    await outbox.insert_entry(connection, NOTIFY_JOB, str(post.id), payload, now)
    return published


def _check_content(post: Row[Any], changes: Changes) -> None:
    content = changes.content
    if content is None:
        return
    same_text = changes.names_text or content.text == post.content
    same_format = changes.names_format or content.format == post.content_format
    if not (same_text and same_format):
        raise ContentChanged


def _check_state(post: Row[Any], changes: Changes) -> None:
    wants_schedule = changes.scheduled_at is not None
    if wants_schedule and changes.unschedule:
        raise invalid_argument({"unschedule": "must not be given together with scheduled_at"})
    if wants_schedule and changes.status == PUBLISHED:
        rule = "must not be given together with the status published"
        raise invalid_argument({"scheduled_at": rule})
    if post.status != PUBLISHED:
        return
    if changes.status == DRAFT:
        raise DistillError(
            ErrorReason.CONFLICT, "A published post cannot become a draft again; edit it instead."
        )
    if wants_schedule:
        raise DistillError(ErrorReason.CONFLICT, "The post is published already.")


def _is_visible(
    post: Row[Any] | store.ViewedPost | store.PostStanding, viewer: UUID | None
) -> bool:
    return post.status == PUBLISHED or (viewer is not None and post.creator_id == viewer)


def _title(text: str) -> str:
    line = texts.one_line(text)
    if not line:
        raise invalid_argument({"title": "must not be blank"})
    return line


def _ahead(instant: datetime | None, now: datetime) -> datetime | None:
    if instant is not None and instant <= now:
        raise invalid_argument({"scheduled_at": "must lie ahead"})
    return instant


async def _free_slug(
    connection: AsyncConnection, creator_id: UUID, title: str, *, but: UUID | None
) -> str:
    """A name that no other post of the creator has. The creator's account must be locked."""
    taken = await store.list_slugs(connection, creator_id, but=but)
    return slugs.first_free(slugs.slug(title), taken)


def _unknown() -> DistillError:
    return DistillError(ErrorReason.NOT_FOUND, "There is no such post.")

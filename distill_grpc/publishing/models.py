"""Tables of the publishing platform (seed 001).

A table leads its primary key with whose it is: posts with their creator, comments with their post,
subscriptions with their subscriber. Posts are also found by their id alone, by everybody.
Instants are kept exactly and printed in whole seconds.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from distill_grpc.db.base import Base


class User(Base):
    """An account. The keys are what makes address and name unique: NFC and casefold of them."""

    __tablename__ = "users"
    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    email: Mapped[str] = mapped_column(Text)
    email_key: Mapped[str] = mapped_column(Text, unique=True)
    password_hash: Mapped[str] = mapped_column(Text)
    username: Mapped[str] = mapped_column(Text)
    username_key: Mapped[str] = mapped_column(Text, unique=True)
    bio: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    __table_args__ = (CheckConstraint("role IN ('creator', 'reader')", name="role"),)


class Post(Base):
    """A post. `content` is as it was written, `content_html` what is made of it for display."""

    __tablename__ = "posts"
    creator_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, unique=True)
    title: Mapped[str] = mapped_column(Text)
    content: Mapped[str] = mapped_column(Text)
    content_format: Mapped[str] = mapped_column(String(20))
    content_html: Mapped[str] = mapped_column(Text)
    slug: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(20))
    scheduled_at: Mapped[datetime | None]
    published_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    __table_args__ = (
        UniqueConstraint("creator_id", "slug"),
        CheckConstraint("status IN ('draft', 'published')", name="status"),
        CheckConstraint("(status = 'published') = (published_at IS NOT NULL)", name="published"),
        CheckConstraint("status = 'draft' OR scheduled_at IS NULL", name="scheduled"),
        Index("ix_posts_newest", "creator_id", text("created_at DESC"), text("id DESC")),
        Index(
            "ix_posts_scheduled", "scheduled_at", postgresql_where=text("scheduled_at IS NOT NULL")
        ),
    )


class Comment(Base):
    """A comment. `path` are the ids of its ancestors and its own: its order is that of the threads."""

    __tablename__ = "comments"
    post_id: Mapped[UUID] = mapped_column(ForeignKey("posts.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    author_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    parent_comment_id: Mapped[UUID | None]
    path: Mapped[bytes] = mapped_column(LargeBinary)
    content: Mapped[str] = mapped_column(Text)
    content_html: Mapped[str] = mapped_column(Text)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    __table_args__ = (
        UniqueConstraint("post_id", "path"),
        Index("ix_comments_author", "author_id", "created_at"),
    )


class Subscription(Base):
    """Who follows whom: one row for each pair, whatever becomes of it."""

    __tablename__ = "subscriptions"
    subscriber_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    creator_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(Uuid)
    status: Mapped[str] = mapped_column(String(20))
    subscribed_at: Mapped[datetime]
    cancelled_at: Mapped[datetime | None]
    __table_args__ = (
        CheckConstraint("status IN ('active', 'cancelled')", name="status"),
        CheckConstraint("subscriber_id <> creator_id", name="self"),
        Index(
            "ix_subscriptions_active",
            "creator_id",
            "subscriber_id",
            postgresql_where=text("status = 'active'"),
        ),
    )


class OutboxEntry(Base):
    """A background job that a committed change has made necessary, until it has been handed on.

    The key makes one of it: a post is announced once, whoever publishes it and how often.
    """

    __tablename__ = "outbox"
    job: Mapped[str] = mapped_column(String(50), primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime]
    handed_on_at: Mapped[datetime | None]
    __table_args__ = (
        Index("ix_outbox_waiting", "created_at", postgresql_where=text("handed_on_at IS NULL")),
    )


class Announcement(Base):
    """The telling of subscribers that a post was published; `fanned_out_at` once each has a delivery.

    The request id is that of the call that published it, and goes along with every mail.
    """

    __tablename__ = "announcements"
    post_id: Mapped[UUID] = mapped_column(ForeignKey("posts.id"), primary_key=True)
    request_id: Mapped[str | None] = mapped_column(String(128))
    created_at: Mapped[datetime]
    fanned_out_at: Mapped[datetime | None]


class Delivery(Base):
    """One mail to one subscriber of one post; there is never a second row for the pair.

    `claim` numbers the workers that took it up: only the last one may write what became of it.
    `failures` counts the mail server's refusals for now. `due_at` is when it is tried next, which is
    the end of the lease while a worker has it.
    """

    __tablename__ = "deliveries"
    post_id: Mapped[UUID] = mapped_column(ForeignKey("announcements.post_id"), primary_key=True)
    subscriber_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    status: Mapped[str] = mapped_column(String(20))
    claim: Mapped[int] = mapped_column(Integer)
    failures: Mapped[int] = mapped_column(Integer)
    due_at: Mapped[datetime]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(Text)
    __table_args__ = (
        CheckConstraint(
            "status IN ('pending', 'sent', 'logged', 'refused', 'suppressed', 'cancelled', 'given_up')",
            name="status",
        ),
        CheckConstraint("(status = 'pending') = (finished_at IS NULL)", name="finished"),
        Index("ix_deliveries_due", "due_at", postgresql_where=text("status = 'pending'")),
    )


class Suppression(Base):
    """An address that refused mail for good, by its key in `users`: nothing more is sent to it."""

    __tablename__ = "suppressions"
    email_key: Mapped[str] = mapped_column(Text, primary_key=True)
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class AnalyticsEvent(Base):
    """Something that happened to a post.

    `reader` tells the readers of one day apart, and no more: it is a keyed hash of account and day,
    absent for strangers.
    """

    __tablename__ = "analytics_events"
    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    event_type: Mapped[str] = mapped_column(String(50))
    post_id: Mapped[UUID] = mapped_column(Uuid)
    reader: Mapped[bytes | None] = mapped_column(LargeBinary)
    at: Mapped[datetime]
    __table_args__ = (Index("ix_analytics_events_at", "at"),)


class PostReader(Base):
    """Who read a post on a day, as `AnalyticsEvent.reader` tells; forgotten soon after the day."""

    __tablename__ = "post_readers"
    post_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    reader: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    __table_args__ = (Index("ix_post_readers_day", "day"),)


class PostDay(Base):
    """What a post's day (UTC) brought."""

    __tablename__ = "post_days"
    post_id: Mapped[UUID] = mapped_column(ForeignKey("posts.id"), primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    views: Mapped[int] = mapped_column(BigInteger)
    readers: Mapped[int] = mapped_column(BigInteger)


class PostTotal(Base):
    """The views of a post at all times."""

    __tablename__ = "post_totals"
    post_id: Mapped[UUID] = mapped_column(ForeignKey("posts.id"), primary_key=True)
    views: Mapped[int] = mapped_column(BigInteger)

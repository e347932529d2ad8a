"""Tables of the publishing platform (seed 001).

A table leads its primary key with whose it is: posts with their creator, comments with their post,
subscriptions with their subscriber. Posts are also found by their id alone, by everybody.
Instants are kept exactly and printed in whole seconds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
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

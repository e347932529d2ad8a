"""What is collected, by which run, and how it is found: by words, tags and meaning."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Computed,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from distill_grpc.db.base import Base
from distill_grpc.db.vectors import Vector

# Which words of an item are found, and how much they weigh. Queries are stemmed as English, so all of
# it is; other languages lose nothing by that. Every function here is immutable, as a generated column
# demands (`distill_words` joins the tags by spaces, `distill_text` writes texts as `search_text.py` does).
SEARCH_VECTOR = (
    "setweight(to_tsvector('english', distill_text(title)), 'A')"
    " || setweight(to_tsvector('english', distill_text(author)), 'B')"
    " || setweight(to_tsvector('english', distill_text(distill_words(ai_tags))), 'B')"
    " || setweight(to_tsvector('english', distill_text(content)), 'D')"
)


class Item(Base):
    """One piece of content. `id` is derived from source and platform id, so it never changes.

    It is the only key: an upsert waits for others at one index, and a second one that says the same
    would refuse what it should find.
    """

    __tablename__ = "items"
    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    source: Mapped[str] = mapped_column(String(100))
    platform_id: Mapped[str] = mapped_column(Text)
    published_at: Mapped[datetime]
    collected_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    content: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    author: Mapped[str] = mapped_column(Text)
    url: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    thread_id: Mapped[str] = mapped_column(Text)
    language: Mapped[str] = mapped_column(Text)
    metrics: Mapped[dict[str, Any]] = mapped_column(JSONB)
    ai_tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    raw: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    backdated: Mapped[bool]
    # Where it was tagged by a vocabulary: what its source called it, and by which revision.
    source_tags: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    tag_revision: Mapped[int | None] = mapped_column(Integer)
    model_tag_revision: Mapped[int | None] = mapped_column(Integer)  # that a model was asked by
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    stored_bytes: Mapped[int] = mapped_column(Integer)
    search: Mapped[Any] = mapped_column(TSVECTOR, Computed(SEARCH_VECTOR, persisted=True))
    __table_args__ = (
        Index("ix_items_newest", "user_id", text("published_at DESC"), text("id DESC")),
        Index("ix_items_collected", "collected_at"),
    )


class SyncRun(Base):
    """One pass over a user's connections.

    The partial unique index *is* `sync_in_progress`. `attempt` fences: whoever claimed the run
    under an older number can write nothing more.
    """

    __tablename__ = "sync_runs"
    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    status: Mapped[str] = mapped_column(String(20))
    trigger: Mapped[str] = mapped_column(String(20))
    force: Mapped[bool]
    types: Mapped[list[str]] = mapped_column(ARRAY(Text))
    attempt: Mapped[int] = mapped_column(Integer)
    worker: Mapped[str | None] = mapped_column(Text)
    lease_until: Mapped[datetime | None]
    queued_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    estimated_completion: Mapped[datetime]
    __table_args__ = (
        Index(
            "uq_sync_runs_active",
            "user_id",
            unique=True,
            postgresql_where=text("status IN ('queued', 'running')"),
        ),
        Index(
            "ix_sync_runs_unfinished",
            "lease_until",
            postgresql_where=text("status IN ('queued', 'running')"),
        ),
        Index("ix_sync_runs_recent", "user_id", text("queued_at DESC")),
        Index("ix_sync_runs_finished", "finished_at"),
    )


class SyncRunSource(Base):
    """One source's part of a run."""

    __tablename__ = "sync_run_sources"
    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    run_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    source: Mapped[str] = mapped_column(String(100), primary_key=True)
    status: Mapped[str] = mapped_column(String(20))
    items_new: Mapped[int] = mapped_column(Integer)
    items_updated: Mapped[int] = mapped_column(Integer)
    items_deleted: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    parts_total: Mapped[int] = mapped_column(Integer)
    parts_done: Mapped[int] = mapped_column(Integer)
    parts_failed: Mapped[int] = mapped_column(Integer)
    error_code: Mapped[str | None] = mapped_column(String(50))
    error_message: Mapped[str | None] = mapped_column(Text)
    retry_at: Mapped[datetime | None]
    __table_args__ = (
        ForeignKeyConstraint(
            ["user_id", "run_id"], ["sync_runs.user_id", "sync_runs.id"], ondelete="CASCADE"
        ),
    )


class TagVocabulary(Base):
    """The tags that a user wants; each change has a revision of its own."""

    __tablename__ = "tag_vocabularies"
    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    tags: Mapped[list[Any]] = mapped_column(JSONB)
    revision: Mapped[int] = mapped_column(Integer)
    updated_at: Mapped[datetime]


class Embedding(Base):
    """What an item means to a model: a vector of length 1, for the text with `text_hash`.

    `content_hash` is that of the item when its text was last looked at. Where a model does not take the
    text there is no vector.
    """

    __tablename__ = "embeddings"
    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    item_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    model: Mapped[str] = mapped_column(Text)
    text_hash: Mapped[bytes] = mapped_column(LargeBinary)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary)
    dimensions: Mapped[int | None] = mapped_column(Integer)
    vector: Mapped[str | None] = mapped_column(Vector)  # only where the server has pgvector
    __table_args__ = (
        ForeignKeyConstraint(
            ["user_id", "item_id"], ["items.user_id", "items.id"], ondelete="CASCADE"
        ),
        Index("ix_embeddings_text", "user_id", "text_hash"),
        # A vector stands in its row, not beside it, which halves the time of reading all of a user's.
        {"postgresql_with": {"toast_tuple_target": "8160"}},
    )


class EmbeddingState(Base):
    """When somebody looks next for a user's items that have no vector; None where all have.

    `attempt` fences: whoever claimed under an older number writes nothing more.
    """

    __tablename__ = "embedding_states"
    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    model: Mapped[str] = mapped_column(Text)  # for which the items were last looked through
    due_at: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(Integer)
    failures: Mapped[int] = mapped_column(Integer)  # in a row, of the model's server
    __table_args__ = (
        Index("ix_embedding_states_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    )

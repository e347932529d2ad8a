"""Tables of the feed. Every user-owned table leads its primary key with `user_id`.

Instants are `timestamptz`; those that the seeds print are stored in whole seconds.
"""

from __future__ import annotations

from datetime import date as Date  # noqa: N812 -- a column is called `date`
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Computed,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    Uuid,
    false,
    text,
    true,
)
from sqlalchemy import (
    Date as SqlDate,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from distill_grpc.db.base import Base
from distill_grpc.db.vectors import Vector

# Which words of an item are found, and how much they weigh. Queries are stemmed as English, so all of
# it is; other languages lose nothing by that. Every function here is immutable, as a generated column
# demands (`distill_words` joins the tags by spaces).
SEARCH_VECTOR = (
    "setweight(to_tsvector('english', title), 'A')"
    " || setweight(to_tsvector('english', author), 'B')"
    " || setweight(to_tsvector('english', distill_words(ai_tags)), 'B')"
    " || setweight(to_tsvector('english', content), 'D')"
)


class Watch(Base):
    """A user's registration. A row outlives `/unwatch` until `purge_at`."""

    __tablename__ = "watches"
    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    email: Mapped[str | None] = mapped_column(String(320))
    since: Mapped[datetime]
    unwatched_at: Mapped[datetime | None]
    purge_at: Mapped[datetime | None]
    backfill_days: Mapped[int] = mapped_column(SmallInteger)
    sync_interval: Mapped[int] = mapped_column(Integer)  # seconds
    next_sync_at: Mapped[datetime | None]
    last_sync_at: Mapped[datetime | None]
    last_sync_status: Mapped[str | None] = mapped_column(String(20))
    __table_args__ = (
        Index("ix_watches_due", "next_sync_at", postgresql_where=text("unwatched_at IS NULL")),
        Index("ix_watches_purge", "purge_at", postgresql_where=text("purge_at IS NOT NULL")),
    )


class Connection(Base):
    """A user's account at a source. `revision` changes whenever the user changes it."""

    __tablename__ = "connections"
    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    source: Mapped[str] = mapped_column(String(100), primary_key=True)
    credentials: Mapped[bytes | None] = mapped_column(LargeBinary)  # sealed by `encryption`
    settings: Mapped[dict[str, Any]] = mapped_column(JSONB)
    account: Mapped[str | None] = mapped_column(Text)  # its name, as the platform tells
    account_id: Mapped[str | None] = mapped_column(Text)
    scopes: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    missing_scopes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    expires_at: Mapped[datetime | None]  # when the credentials end by themselves
    revision: Mapped[int] = mapped_column(Integer)
    connected_at: Mapped[datetime]
    last_success_at: Mapped[datetime | None]
    error_code: Mapped[str | None] = mapped_column(String(50))
    error_message: Mapped[str | None] = mapped_column(Text)
    permanent: Mapped[bool]  # not tried again until the user changes something
    failures: Mapped[int] = mapped_column(Integer)
    next_attempt_at: Mapped[datetime | None]  # our own back-off
    retry_at: Mapped[datetime | None]  # the platform's window, which nothing bypasses
    listener: Mapped[UUID | None] = mapped_column(Uuid)  # the worker that listens for hints
    listened_until: Mapped[datetime | None]  # its lease, or when somebody may listen again
    __table_args__ = (
        Index(
            "ix_connections_listened",
            "listened_until",
            postgresql_where=text("settings @> '{\"idle\": true}'"),
        ),
    )


class ConnectionPart(Base):
    """A part of an account that is read and resumed by itself, such as a feed."""

    __tablename__ = "connection_parts"
    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    source: Mapped[str] = mapped_column(String(100), primary_key=True)
    part_key: Mapped[UUID] = mapped_column(Uuid, primary_key=True)  # a hash: names may be long
    part: Mapped[str] = mapped_column(Text)
    cursor: Mapped[Any] = mapped_column(JSONB(none_as_null=True), nullable=True)
    title: Mapped[str | None] = mapped_column(Text)
    url: Mapped[str | None] = mapped_column(Text)
    first_seen_at: Mapped[datetime]
    last_attempt_at: Mapped[datetime | None]
    last_success_at: Mapped[datetime | None]
    error_code: Mapped[str | None] = mapped_column(String(50))
    error_message: Mapped[str | None] = mapped_column(Text)
    permanent: Mapped[bool]
    failures: Mapped[int] = mapped_column(Integer)
    quiet_reads: Mapped[int] = mapped_column(Integer)  # reads in a row that found nothing new
    next_attempt_at: Mapped[datetime | None]
    retry_at: Mapped[datetime | None]
    gap_until: Mapped[datetime | None]  # up to then something is missing for good
    pushed_at: Mapped[datetime | None]  # its platform pushed then, and nothing was read since
    __table_args__ = (
        ForeignKeyConstraint(
            ["user_id", "source"],
            ["connections.user_id", "connections.source"],
            ondelete="CASCADE",
        ),
    )


class PushEndpoint(Base):
    """An address of ours that one platform may push to, for one part or (`part` empty) an account.

    `sealed` holds the secret part of the address and the secret that signs; `key_hash` finds the row
    by the former. A row whose part is gone stays as `leaving` until its hub has been told.
    """

    __tablename__ = "push_endpoints"
    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    source: Mapped[str] = mapped_column(String(100))
    part_key: Mapped[UUID] = mapped_column(Uuid)
    part: Mapped[str] = mapped_column(Text)
    key_hash: Mapped[bytes] = mapped_column(LargeBinary)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    hub: Mapped[str | None] = mapped_column(Text)  # None: the user enters the address
    topic: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(20))
    message: Mapped[str | None] = mapped_column(Text)  # why it is not active
    created_at: Mapped[datetime]
    due_at: Mapped[datetime | None]  # when its hub is asked next
    lease_until: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(Integer)  # requests in a row that were not confirmed
    misses: Mapped[int] = mapped_column(Integer)  # news since the last push that nobody pushed
    last_delivery_at: Mapped[datetime | None]
    __table_args__ = (
        UniqueConstraint("key_hash"),
        Index(
            "uq_push_endpoints_part",
            "user_id",
            "source",
            "part_key",
            unique=True,
            postgresql_where=text("state <> 'leaving'"),
        ),
        Index("ix_push_endpoints_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    )


class PushDelivery(Base):
    """A push that had its effect: another of the same id has none.

    No foreign key: an endpoint may go at any time, and deliveries are forgotten by their age.
    """

    __tablename__ = "push_deliveries"
    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    endpoint_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    delivery: Mapped[str] = mapped_column(String(100), primary_key=True)
    received_at: Mapped[datetime]
    __table_args__ = (Index("ix_push_deliveries_received", "received_at"),)


class PushHub(Base):
    """How often polling found what a hub had not pushed, since it last pushed anything."""

    __tablename__ = "push_hubs"
    hub: Mapped[str] = mapped_column(Text, primary_key=True)
    misses: Mapped[int] = mapped_column(Integer)
    missed_at: Mapped[datetime]


class PlatformToken(Base):
    """The newest tokens of a connection: renewed, or handed out by the central token service.

    They take the place of those among the connection's credentials. The row's lock is what lets one
    process renew them while others wait.
    """

    __tablename__ = "platform_tokens"
    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    source: Mapped[str] = mapped_column(String(100), primary_key=True)
    tokens: Mapped[bytes | None] = mapped_column(LargeBinary)  # sealed by `encryption`
    good_until: Mapped[datetime | None]  # from then on others are asked for
    version: Mapped[int] = mapped_column(Integer)  # counts renewals
    __table_args__ = (
        ForeignKeyConstraint(
            ["user_id", "source"],
            ["connections.user_id", "connections.source"],
            ondelete="CASCADE",
        ),
    )


class PlatformBudget(Base):
    """What was spent of a platform's budget: by whom the platform counts, and for which user.

    The row with an empty `spender` is the budget's own; `holder` is a digest, never a secret.
    """

    __tablename__ = "platform_budgets"
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    holder: Mapped[str] = mapped_column(Text, primary_key=True)
    spender: Mapped[str] = mapped_column(String(255), primary_key=True)
    unit: Mapped[str] = mapped_column(Text)
    strategy: Mapped[dict[str, Any]] = mapped_column(JSONB)
    state: Mapped[dict[str, Any]] = mapped_column(JSONB)
    updated_at: Mapped[datetime]
    __table_args__ = (
        Index("ix_platform_budgets_spender", "spender", postgresql_where=text("spender <> ''")),
        {"postgresql_with": {"fillfactor": "50"}},
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


class Summary(Base):
    """A digest of one period in one time zone, with everything it cites.

    `last_change` is the newest change among its items: it is good until one changes after that.
    """

    __tablename__ = "summaries"
    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    period: Mapped[str] = mapped_column(String(20), primary_key=True)
    date: Mapped[Date] = mapped_column(SqlDate, primary_key=True)
    tz: Mapped[str] = mapped_column(String(100), primary_key=True)
    generated_at: Mapped[datetime]
    last_change: Mapped[datetime]
    content: Mapped[dict[str, Any]] = mapped_column(JSONB)
    items_processed: Mapped[int] = mapped_column(Integer)
    sources: Mapped[int] = mapped_column(Integer)
    model: Mapped[str] = mapped_column(Text)
    processing_ms: Mapped[int] = mapped_column(Integer)
    confidence: Mapped[float]
    __table_args__ = (Index("ix_summaries_generated_at", "generated_at"),)


class Preferences(Base):
    """What a user wants of their digests, and when the next ones are due.

    `digest_date` is the day that is digested next, `weekly_date` the Monday of that week: both stay where
    the schedule is turned off, so that nothing is done twice. `credits_available` is what the user's last
    token said.
    """

    __tablename__ = "preferences"
    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    language: Mapped[str | None] = mapped_column(String(2))
    length: Mapped[str] = mapped_column(String(10))
    sections: Mapped[list[Any]] = mapped_column(JSONB)
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    sources: Mapped[list[str]] = mapped_column(ARRAY(Text))
    names: Mapped[list[str]] = mapped_column(ARRAY(Text))
    digest_hour: Mapped[int | None] = mapped_column(SmallInteger)
    tz: Mapped[str] = mapped_column(String(100))
    mail: Mapped[bool]
    daily_llm_tokens: Mapped[int | None] = mapped_column(Integer)
    credits_available: Mapped[bool]
    next_digest_at: Mapped[datetime | None]
    digest_date: Mapped[Date | None] = mapped_column(SqlDate)
    daily: Mapped[bool] = mapped_column(server_default=true())
    weekly: Mapped[bool] = mapped_column(server_default=false())
    next_weekly_at: Mapped[datetime | None]
    weekly_date: Mapped[Date | None] = mapped_column(SqlDate)
    authors: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    tags_by_model: Mapped[bool] = mapped_column(server_default=false())
    feed_hash: Mapped[bytes | None] = mapped_column(LargeBinary)  # SHA-256 of the feed's token
    updated_at: Mapped[datetime]
    __table_args__ = (
        Index(
            "ix_preferences_due",
            "next_digest_at",
            postgresql_where=text("next_digest_at IS NOT NULL"),
        ),
        Index(
            "ix_preferences_weekly_due",
            "next_weekly_at",
            postgresql_where=text("next_weekly_at IS NOT NULL"),
        ),
        Index("uq_preferences_feed", "feed_hash", unique=True),
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


class DigestMail(Base):
    """A digest's mail: written with the digest, sent until the server took or refused it."""

    __tablename__ = "digest_mails"
    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    period: Mapped[str] = mapped_column(String(20), primary_key=True, server_default="daily")
    date: Mapped[Date] = mapped_column(SqlDate, primary_key=True)
    tz: Mapped[str] = mapped_column(String(100), primary_key=True)
    status: Mapped[str] = mapped_column(String(20))  # waiting, sent, refused or given_up
    attempts: Mapped[int] = mapped_column(Integer)
    next_attempt_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    __table_args__ = (
        Index(
            "ix_digest_mails_due",
            "next_attempt_at",
            postgresql_where=text("status = 'waiting'"),
        ),
        Index("ix_digest_mails_created", "created_at"),
    )


class Turn(Base):
    """Work that one process does for a user at a time; others wait until it is done or its lease ends."""

    __tablename__ = "turns"
    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    work: Mapped[str] = mapped_column(String(200), primary_key=True)
    holder: Mapped[UUID] = mapped_column(Uuid)
    lease_until: Mapped[datetime]


class LlmUsage(Base):
    """Tokens of one user and day (UTC). What is reserved is counted until it is settled."""

    __tablename__ = "llm_usage"
    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    day: Mapped[Date] = mapped_column(SqlDate, primary_key=True)
    calls: Mapped[int] = mapped_column(Integer)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    reserved: Mapped[int] = mapped_column(BigInteger)
    cost: Mapped[int] = mapped_column(BigInteger)  # millionths of a US dollar
    __table_args__ = (Index("ix_llm_usage_day", "day"),)


class LlmMemory(Base):
    """What a model wrote for a user, by a hash of everything that it depends on."""

    __tablename__ = "llm_memory"
    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[Any] = mapped_column(JSONB)
    created_at: Mapped[datetime]
    __table_args__ = (Index("ix_llm_memory_created", "created_at"),)


class ServiceState(Base):
    """Facts about the service as a whole, by name."""

    __tablename__ = "service_state"
    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    value: Mapped[bytes | None] = mapped_column(LargeBinary)
    at: Mapped[datetime | None]

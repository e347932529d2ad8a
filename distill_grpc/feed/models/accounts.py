"""What users connect: watches, accounts with their parts, tokens, budgets and pushes."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from distill_grpc.db.base import Base


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

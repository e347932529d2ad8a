"""What is made of it, for whom and at what cost; and what the instance keeps for itself."""

from __future__ import annotations

from datetime import date as Date  # noqa: N812 -- a column is called `date`
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    Uuid,
    false,
    text,
    true,
)
from sqlalchemy import (
    Date as SqlDate,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from distill_grpc.db.base import Base


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

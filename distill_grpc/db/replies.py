"""What keyed calls were answered with, so that a repeated one gets the same (`rpc/idempotency.py`)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Index, LargeBinary, Row, SmallInteger, String, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column

from distill_grpc.db.base import Base


class KeyedReply(Base):
    """One call with an `Idempotency-Key`: its request's hash, and its response once there is one."""

    __tablename__ = "keyed_replies"
    owner: Mapped[str] = mapped_column(
        String(300), primary_key=True
    )  # surface and user, or address
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_hash: Mapped[bytes] = mapped_column(LargeBinary)
    response: Mapped[bytes | None] = mapped_column(LargeBinary)
    http_code: Mapped[int | None] = mapped_column(SmallInteger)
    created_at: Mapped[datetime]
    __table_args__ = (Index("ix_keyed_replies_created_at", "created_at"),)


_replies = KeyedReply.__table__


async def insert_call(
    connection: AsyncConnection, owner: str, key: str, request_hash: bytes
) -> bool:
    """Takes a key for a call that begins; False where it is taken."""
    statement = (
        insert(KeyedReply)
        .values(owner=owner, key=key, request_hash=request_hash, created_at=func.now())
        .on_conflict_do_nothing()
        .returning(KeyedReply.key)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def get_reply(connection: AsyncConnection, owner: str, key: str) -> Row[Any] | None:
    """What is known of a key."""
    query = select(_replies).where(KeyedReply.owner == owner, KeyedReply.key == key)
    return (await connection.execute(query)).one_or_none()


async def update_reply(
    connection: AsyncConnection, owner: str, key: str, response: bytes, http_code: int | None
) -> None:
    """Keeps the response of a call that went well."""
    await connection.execute(
        update(KeyedReply)
        .where(KeyedReply.owner == owner, KeyedReply.key == key)
        .values(response=response, http_code=http_code)
    )


async def delete_call(connection: AsyncConnection, owner: str, key: str) -> None:
    """Gives the key of a call that changed nothing back."""
    await connection.execute(
        delete(KeyedReply).where(KeyedReply.owner == owner, KeyedReply.key == key)
    )


async def delete_older_than(connection: AsyncConnection, age: timedelta) -> int:
    """Forgets what is older; returns how many."""
    statement = delete(KeyedReply).where(KeyedReply.created_at < func.now() - age)
    return (await connection.execute(statement)).rowcount

"""What language models cost a user, and what they wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import CursorResult, Row, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.feed.models import LlmMemory, LlmUsage

usage = LlmUsage.__table__
_USED = LlmUsage.prompt_tokens + LlmUsage.completion_tokens + LlmUsage.reserved


async def get_usage(connection: AsyncConnection, user_id: str, day: date) -> Row[Any] | None:
    """What one day took; None where nothing was asked for."""
    query = select(usage).where(LlmUsage.user_id == user_id, LlmUsage.day == day)
    return (await connection.execute(query)).one_or_none()


async def reserve(
    connection: AsyncConnection, user_id: str, day: date, tokens: int, limit: int
) -> bool:
    """Counts a call and sets its tokens aside, in one statement; False where the limit forbids it."""
    if tokens > limit:
        return False
    statement = insert(LlmUsage).values(
        user_id=user_id,
        day=day,
        calls=1,
        prompt_tokens=0,
        completion_tokens=0,
        reserved=tokens,
        cost=0,
    )
    reserved = await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["user_id", "day"],
            set_={"reserved": LlmUsage.reserved + tokens, "calls": LlmUsage.calls + 1},
            where=_USED + tokens <= limit,
        ).returning(LlmUsage.user_id)
    )
    return reserved.one_or_none() is not None


async def settle(
    connection: AsyncConnection,
    user_id: str,
    day: date,
    *,
    reserved: int,
    prompt: int,
    completion: int,
    cost: int,
) -> None:
    """Puts what was spent in the place of what was set aside."""
    await connection.execute(
        update(LlmUsage)
        .where(LlmUsage.user_id == user_id, LlmUsage.day == day)
        .values(
            reserved=LlmUsage.reserved - reserved,
            prompt_tokens=LlmUsage.prompt_tokens + prompt,
            completion_tokens=LlmUsage.completion_tokens + completion,
            cost=LlmUsage.cost + cost,
        )
    )


async def list_remembered(
    connection: AsyncConnection, user_id: str, keys: Sequence[str]
) -> dict[str, Any]:
    """What a model wrote for the user under these keys."""
    query = select(LlmMemory.key, LlmMemory.value).where(
        LlmMemory.user_id == user_id, LlmMemory.key.in_(keys)
    )
    return {row.key: row.value for row in await connection.execute(query)}


async def insert_remembered(
    connection: AsyncConnection, user_id: str, entries: Mapping[str, Any], now: datetime
) -> None:
    """Keeps what a model wrote; what is there already stays."""
    rows = [
        {"user_id": user_id, "key": key, "value": value, "created_at": now}
        for key, value in sorted(entries.items())
    ]
    await connection.execute(insert(LlmMemory).values(rows).on_conflict_do_nothing())


async def delete_remembered_before(
    connection: AsyncConnection, before: datetime, limit: int
) -> int:
    """Deletes what was written long ago; returns how much."""
    old = (
        select(LlmMemory.user_id, LlmMemory.key).where(LlmMemory.created_at < before).limit(limit)
    ).subquery()
    result: CursorResult[Any] = await connection.execute(
        delete(LlmMemory).where(LlmMemory.user_id == old.c.user_id, LlmMemory.key == old.c.key)
    )
    return result.rowcount


async def delete_usage_before(connection: AsyncConnection, before: date, limit: int) -> int:
    """Deletes old days; returns how many."""
    old = (
        select(LlmUsage.user_id, LlmUsage.day).where(LlmUsage.day < before).limit(limit)
    ).subquery()
    result: CursorResult[Any] = await connection.execute(
        delete(LlmUsage).where(LlmUsage.user_id == old.c.user_id, LlmUsage.day == old.c.day)
    )
    return result.rowcount


async def delete_of_user(connection: AsyncConnection, user_id: str) -> None:
    """Deletes everything that is known here of a user."""
    await connection.execute(delete(LlmMemory).where(LlmMemory.user_id == user_id))
    await connection.execute(delete(LlmUsage).where(LlmUsage.user_id == user_id))

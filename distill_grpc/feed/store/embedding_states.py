"""Whose items are to get vectors, and who is at it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CursorResult, Row, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.feed.models import EmbeddingState, Watch
from distill_grpc.feed.store import embeddings

states = EmbeddingState.__table__


async def insert_states(connection: AsyncConnection, model: str, now: datetime) -> int:
    """Makes those due whose items were last looked through for another model; returns how many."""
    watched = select(Watch.user_id, *_due(model, now)).where(Watch.unwatched_at.is_(None))
    statement = insert(EmbeddingState).from_select(["user_id", *_DUE], watched)
    changed: CursorResult[Any] = await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["user_id"],
            set_={"model": model, "due_at": now, "failures": 0},
            where=EmbeddingState.model != model,
        )
    )
    return changed.rowcount


async def mark_due(connection: AsyncConnection, user_id: str, model: str, now: datetime) -> None:
    """Makes a user due where items have no vector yet. One who waits for something goes on waiting."""
    pending = select(embeddings.pending(user_id, model).exists()).scalar_subquery()
    statement = insert(EmbeddingState).from_select(
        ["user_id", *_DUE], select(literal(user_id), *_due(model, now)).where(pending)
    )
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["user_id"],
            set_={"due_at": func.coalesce(EmbeddingState.due_at, now)},
        )
    )


_DUE = ("model", "due_at", "attempt", "failures")


def _due(model: str, now: datetime) -> tuple[Any, ...]:
    return literal(model), literal(now), literal(0), literal(0)


async def claim_due(
    connection: AsyncConnection, now: datetime, lease: timedelta
) -> Row[Any] | None:
    """(user_id, attempt) of who is longest overdue, and due again after `lease`; None where nobody is."""
    due = (
        select(EmbeddingState.user_id)
        .join(Watch, Watch.user_id == EmbeddingState.user_id)
        .where(EmbeddingState.due_at <= now, Watch.unwatched_at.is_(None))
        .order_by(EmbeddingState.due_at)
        .limit(1)
        .with_for_update(of=states, skip_locked=True)
    ).cte("due")
    claim: Any = (
        update(EmbeddingState)
        .where(EmbeddingState.user_id == due.c.user_id)
        .values(due_at=now + lease, attempt=EmbeddingState.attempt + 1)
        .returning(EmbeddingState.user_id, EmbeddingState.attempt)
    )
    row: Row[Any] | None = (await connection.execute(claim)).one_or_none()
    return row


async def hold(
    connection: AsyncConnection, user_id: str, attempt: int, until: datetime
) -> Row[Any] | None:
    """The user's state, claimed until then; None where it is in other hands."""
    claim = (
        update(EmbeddingState)
        .where(EmbeddingState.user_id == user_id, EmbeddingState.attempt == attempt)
        .values(due_at=until)
        .returning(states)
    )
    row: Row[Any] | None = (await connection.execute(claim)).one_or_none()
    return row


async def release(
    connection: AsyncConnection,
    user_id: str,
    attempt: int,
    *,
    due_at: datetime | None,
    failures: int,
) -> None:
    """Says when the user is looked at next; nothing where the claim is another's by now."""
    await connection.execute(
        update(EmbeddingState)
        .where(EmbeddingState.user_id == user_id, EmbeddingState.attempt == attempt)
        .values(due_at=due_at, failures=failures)
    )


async def delete_of_user(connection: AsyncConnection, user_id: str) -> None:
    """Forgets whether the user is due; vectors go with their items."""
    await connection.execute(delete(EmbeddingState).where(EmbeddingState.user_id == user_id))

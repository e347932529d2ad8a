"""The newest tokens of connections; the row's lock orders who renews them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CursorResult, Row, delete, literal, null, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.feed.models import Connection, PlatformToken

tokens = PlatformToken.__table__


async def get_tokens(connection: AsyncConnection, user_id: str, source: str) -> Row[Any] | None:
    """The tokens of a connection, where some were kept."""
    query = select(tokens).where(PlatformToken.user_id == user_id, PlatformToken.source == source)
    return (await connection.execute(query)).one_or_none()


async def make_row(connection: AsyncConnection, user_id: str, source: str) -> None:
    """Makes the row that is locked, with the version 0; does nothing where the connection is gone."""
    there = select(
        Connection.user_id, Connection.source, null().label("tokens"), literal(0).label("version")
    ).where(Connection.user_id == user_id, Connection.source == source)
    # Locked in the order in which connecting locks: first the connection, then its tokens.
    there = there.with_for_update(read=True, key_share=True)
    await connection.execute(
        insert(PlatformToken)
        .from_select(["user_id", "source", "tokens", "version"], there)
        .on_conflict_do_nothing()
    )


async def lock_tokens(
    connection: AsyncConnection, user_id: str, source: str, *, at_most: timedelta
) -> Row[Any] | None:
    """Locks a connection's tokens for this transaction, which may then be idle for `at_most`.

    None where there is no row.
    """
    milliseconds = int(at_most.total_seconds() * 1000)
    await connection.execute(
        text(f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds}")
    )
    query = (
        select(tokens)
        .where(PlatformToken.user_id == user_id, PlatformToken.source == source)
        .with_for_update()
    )
    return (await connection.execute(query)).one_or_none()


async def update_tokens(
    connection: AsyncConnection,
    user_id: str,
    source: str,
    *,
    sealed: bytes,
    good_until: datetime | None,
    seen: int,
) -> bool:
    """Stores tokens over those of the version `seen`; False where others are there by now."""
    result: CursorResult[Any] = await connection.execute(
        update(PlatformToken)
        .where(
            PlatformToken.user_id == user_id,
            PlatformToken.source == source,
            PlatformToken.version == seen,
        )
        .values(tokens=sealed, good_until=good_until, version=seen + 1)
    )
    return result.rowcount == 1


async def upsert_tokens(
    connection: AsyncConnection,
    user_id: str,
    source: str,
    *,
    sealed: bytes,
    good_until: datetime | None,
) -> None:
    """Stores the tokens that a connection begins with."""
    statement = insert(PlatformToken).values(
        user_id=user_id, source=source, tokens=sealed, good_until=good_until, version=1
    )
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["user_id", "source"],
            set_={
                "tokens": statement.excluded.tokens,
                "good_until": statement.excluded.good_until,
                "version": PlatformToken.version + 1,
            },
        )
    )


async def delete_tokens(connection: AsyncConnection, user_id: str, source: str) -> None:
    """Forgets the tokens of a connection."""
    await connection.execute(
        delete(PlatformToken).where(
            PlatformToken.user_id == user_id, PlatformToken.source == source
        )
    )

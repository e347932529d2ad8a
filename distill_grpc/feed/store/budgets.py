"""What was spent of the platforms' budgets: exact for a fleet, because a row's lock orders it.

One row a budget and holder (`spender` empty), and one for each user who spends from it. Speaks to
the driver directly: this runs before every request to a platform.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg.types.json import Jsonb
from sqlalchemy import CursorResult, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc.db.engine import driver_connection
from distill_grpc.feed.models import PlatformBudget


class Account(NamedTuple):
    """A budget of one holder, with what is told about it."""

    name: str
    holder: str
    unit: str
    strategy: Mapping[str, Any]


class Locked(NamedTuple):
    """The states of a budget: of its holder, and of one user; None where there is none yet."""

    state: Mapping[str, Any] | None
    own: Mapping[str, Any] | None
    now: float  # the database's clock, seconds since 1970


class Known(NamedTuple):
    """A budget that a user spent from, with its states."""

    name: str
    unit: str
    strategy: Mapping[str, Any]
    state: Mapping[str, Any]
    own: Mapping[str, Any]


_LOCK: LiteralString = """
SELECT spender, state, extract(epoch FROM clock_timestamp())::float8 FROM platform_budgets
WHERE name = %s AND holder = %s AND spender = ANY(%s) ORDER BY spender FOR UPDATE
"""
_MAKE: LiteralString = """
INSERT INTO platform_budgets (name, holder, spender, unit, strategy, state, updated_at)
VALUES (%s, %s, '', %s, %s, '{}', now()) ON CONFLICT DO NOTHING
"""
_STORE: LiteralString = """
INSERT INTO platform_budgets (name, holder, spender, unit, strategy, state, updated_at)
SELECT %s, %s, told.spender, %s, %s, told.state, now()
FROM jsonb_to_recordset(%s) AS told(spender text, state jsonb)
ON CONFLICT (name, holder, spender) DO UPDATE SET unit = excluded.unit,
  strategy = excluded.strategy, state = excluded.state, updated_at = excluded.updated_at
"""


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A transaction on a driver's connection in autocommit."""
    async with engine.connect() as connection:
        driver = await driver_connection(connection)
        async with driver.transaction():
            yield driver


async def lock_states(
    driver: psycopg.AsyncConnection[Any], account: Account, spender: str
) -> Locked:
    """Locks a budget for this transaction, and makes it where there is none."""
    wanted = ["", spender] if spender else [""]
    while True:
        cursor = await driver.execute(_LOCK, [account.name, account.holder, wanted])
        rows = await cursor.fetchall()
        states = {row[0]: row[1] for row in rows}
        if "" in states:
            # A clock read before the lock was waited for would be too early, never too late.
            return Locked(states[""], states.get(spender), rows[0][2])
        await driver.execute(_MAKE, [*account[:3], Jsonb(account.strategy)])


async def store_states(
    driver: psycopg.AsyncConnection[Any],
    account: Account,
    states: Mapping[str, Mapping[str, Any]],
) -> None:
    """Stores states by spender (empty: the holder's) of a budget that this transaction has locked."""
    told = [{"spender": spender, "state": state} for spender, state in states.items()]
    await driver.execute(_STORE, [*account[:3], Jsonb(account.strategy), Jsonb(told)])


async def list_of_user(connection: AsyncConnection, user_id: str) -> Sequence[Known]:
    """The budgets that a user has spent from, by name."""
    whole, own = PlatformBudget.__table__.alias(), PlatformBudget.__table__.alias()
    query = (
        select(whole.c.name, whole.c.unit, whole.c.strategy, whole.c.state, own.c.state)
        .join(own, (own.c.name == whole.c.name) & (own.c.holder == whole.c.holder))
        .where(own.c.spender == user_id, whole.c.spender == "")
        .order_by(whole.c.name)
    )
    return [Known(*row) for row in await connection.execute(query)]


async def delete_unused_since(connection: AsyncConnection, before: Any, limit: int) -> int:
    """Deletes budgets that nobody has spent from for so long; returns how many."""
    table = PlatformBudget.__table__.c
    old = (
        select(table.name, table.holder, table.spender)
        .where(table.updated_at < before)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).subquery()
    result: CursorResult[Any] = await connection.execute(
        delete(PlatformBudget).where(
            PlatformBudget.name == old.c.name,
            PlatformBudget.holder == old.c.holder,
            PlatformBudget.spender == old.c.spender,
        )
    )
    return result.rowcount


async def delete_of_user(connection: AsyncConnection, user_id: str) -> None:
    """Forgets what a user spent."""
    await connection.execute(delete(PlatformBudget).where(PlatformBudget.spender == user_id))

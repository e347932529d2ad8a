"""Connections and their parts: what is connected, where each part resumes, how it does."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any, cast
from uuid import UUID

from sqlalchemy import CursorResult, Row, Table, delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.feed.models import Connection, ConnectionPart

connections = Connection.__table__
parts = ConnectionPart.__table__
# What connecting again replaces.
_GIVEN = (
    "credentials",
    "settings",
    "account",
    "account_id",
    "scopes",
    "missing_scopes",
    "expires_at",
)


def part_key(part: str) -> UUID:
    """The key of a part: names may be longer than an index takes."""
    return UUID(bytes=hashlib.sha256(part.encode()).digest()[:16])


async def get_connection(
    connection: AsyncConnection, user_id: str, source: str, *, lock: bool = False
) -> Row[Any] | None:
    """One connection; locked against others where `lock` is set."""
    query = select(connections).where(Connection.user_id == user_id, Connection.source == source)
    found = await connection.execute(query.with_for_update() if lock else query)
    return found.one_or_none()


async def list_connections(connection: AsyncConnection, user_id: str) -> Sequence[Row[Any]]:
    """A user's connections by name."""
    query = select(connections).where(Connection.user_id == user_id).order_by(Connection.source)
    return (await connection.execute(query)).all()


async def has_connection(
    connection: AsyncConnection, user_id: str, sources: Collection[str]
) -> bool:
    """True where the user has connected one of `sources`."""
    query = select(exists().where(Connection.user_id == user_id, Connection.source.in_(sources)))
    return bool((await connection.execute(query)).scalar_one())


async def upsert_connection(connection: AsyncConnection, **values: Any) -> None:
    """Stores a connection; one that is there gets a new revision and a clean slate."""
    statement = insert(Connection).values(revision=1, failures=0, permanent=False, **values)
    fresh = {name: statement.excluded[name] for name in _GIVEN}
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["user_id", "source"],
            set_={
                **fresh,
                "revision": Connection.revision + 1,
                "failures": 0,
                "permanent": False,
                "error_code": None,
                "error_message": None,
                "next_attempt_at": None,
                "listener": None,
                "listened_until": None,
            },
        )
    )


async def update_connection(
    connection: AsyncConnection, user_id: str, source: str, **values: Any
) -> None:
    """Changes columns of a connection."""
    await connection.execute(
        update(Connection)
        .where(Connection.user_id == user_id, Connection.source == source)
        .values(**values)
    )


async def delete_connection(connection: AsyncConnection, user_id: str, source: str) -> bool:
    """Deletes a connection with its parts; False where there was none."""
    result: CursorResult[Any] = await connection.execute(
        delete(Connection).where(Connection.user_id == user_id, Connection.source == source)
    )
    return result.rowcount == 1


async def delete_connections(connection: AsyncConnection, user_id: str) -> None:
    """Deletes everything that a user has connected."""
    await connection.execute(delete(Connection).where(Connection.user_id == user_id))


async def list_parts(
    connection: AsyncConnection, user_id: str, source: str | None = None
) -> Sequence[Row[Any]]:
    """The parts of a user's connections, or of one of them."""
    query = select(parts).where(ConnectionPart.user_id == user_id)
    if source is not None:
        query = query.where(ConnectionPart.source == source)
    return (
        await connection.execute(query.order_by(ConnectionPart.source, ConnectionPart.part))
    ).all()


async def upsert_part(
    connection: AsyncConnection, user_id: str, source: str, part: str, **values: Any
) -> None:
    """Stores what is known of a part; columns that are not named stay as they are."""
    row = {"permanent": False, "failures": 0, "quiet_reads": 0, **values}
    row |= {"user_id": user_id, "source": source, "part_key": part_key(part), "part": part}
    await connection.execute(_upsert_part(frozenset(values)), row)


@cache
def _upsert_part(names: frozenset[str]) -> Insert:
    """Kept, because a quarter of the time of an unchanged feed went into making it."""
    statement = insert(cast("Table", parts))
    changed = {name: statement.excluded[name] for name in names if name != "first_seen_at"}
    if not changed:
        return statement.on_conflict_do_nothing()
    return statement.on_conflict_do_update(
        index_elements=["user_id", "source", "part_key"], set_=changed
    )


async def delete_part(connection: AsyncConnection, user_id: str, source: str, part: str) -> None:
    """Forgets one part; its items stay."""
    await connection.execute(
        delete(ConnectionPart).where(
            ConnectionPart.user_id == user_id,
            ConnectionPart.source == source,
            ConnectionPart.part_key == part_key(part),
        )
    )


async def delete_parts_except(
    connection: AsyncConnection, user_id: str, source: str, keep: Collection[str]
) -> None:
    """Forgets the parts that the settings no longer name."""
    keys = [part_key(part) for part in keep]
    await connection.execute(
        delete(ConnectionPart).where(
            ConnectionPart.user_id == user_id,
            ConnectionPart.source == source,
            ConnectionPart.part_key.not_in(keys),
        )
    )


async def forgive_parts(connection: AsyncConnection, user_id: str, source: str) -> None:
    """Gives failed parts a new chance, because the user changed something."""
    await connection.execute(
        update(ConnectionPart)
        .where(ConnectionPart.user_id == user_id, ConnectionPart.source == source)
        .values(
            permanent=False,
            failures=0,
            error_code=None,
            error_message=None,
            next_attempt_at=None,
        )
    )


async def end_pauses(
    connection: AsyncConnection,
    user_id: str,
    source: str | None = None,
    parts: Collection[str] | None = None,
) -> None:
    """Lets the next sync read parts that do well; None: of every source, or every part of one."""
    paused = update(ConnectionPart).where(
        ConnectionPart.user_id == user_id, ConnectionPart.failures == 0
    )
    if source is not None:
        paused = paused.where(ConnectionPart.source == source)
    if parts is not None:
        paused = paused.where(ConnectionPart.part_key.in_([part_key(part) for part in parts]))
    await connection.execute(paused.values(next_attempt_at=None))


async def count_by_error(connection: AsyncConnection) -> dict[str, tuple[int, int]]:
    """Per source: connections whose last read failed, and connections that were read at all."""
    query = (
        select(
            Connection.source,
            func.count().filter(Connection.error_code == "platform_error"),
            func.count(),
        )
        .where((Connection.last_success_at.is_not(None)) | (Connection.error_code.is_not(None)))
        .group_by(Connection.source)
    )
    return {name: (failed, read) for name, failed, read in await connection.execute(query)}

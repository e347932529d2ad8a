"""Connections: the accounts that a user lets Distill read (operator's interface, /connections)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason, invalid_argument
from distill_grpc.feed.pushing import Pushing
from distill_grpc.feed.store import connections, pushes, watches
from distill_grpc.sources.base import InvalidConnection, Source

# Seals credentials for one row: (user, source, credentials) to what the row holds.
Seal = Callable[[str, str, Mapping[str, Any]], bytes]
Open = Callable[[Row[Any]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection and its parts."""

    row: Row[Any]
    parts: Sequence[Row[Any]]
    pushed: Sequence[Row[Any]] = ()  # the endpoints that its platform may push to


async def connect(
    connection: AsyncConnection,
    user_id: str,
    *,
    source: Source,
    credentials: Mapping[str, Any] | None,
    settings: Mapping[str, Any] | None,
    seal: Seal,
    open_credentials: Open,
    now: datetime,
    pushing: Pushing | None = None,
) -> Connected:
    """Stores a connection; what is None stays as it was. An active watch becomes due at once.

    Parts that the settings no longer name are forgotten; those that failed get a new chance. Raises
    INVALID_ARGUMENT naming each wrong credential or setting.
    """
    name = source.info.name
    now = clock.whole_seconds(now)
    await watches.get_watch(connection, user_id, lock=True)  # before anything that hangs on it
    known = await connections.get_connection(connection, user_id, name, lock=True)
    if known is not None:
        credentials = open_credentials(known) if credentials is None else credentials
        settings = known.settings if settings is None else settings
    credentials, settings = dict(credentials or {}), dict(settings or {})
    try:
        source.check(credentials, settings)
    except InvalidConnection as wrong:
        raise invalid_argument(wrong.details) from None
    await connections.upsert_connection(
        connection,
        user_id=user_id,
        source=name,
        credentials=seal(user_id, name, credentials) if credentials else None,
        settings=settings,
        account=None,
        connected_at=now,
    )
    parts = source.parts(settings)
    if parts:
        await connections.delete_parts_except(connection, user_id, name, parts)
        for part in parts:
            await connections.upsert_part(connection, user_id, name, part, first_seen_at=now)
    await connections.forgive_parts(connection, user_id, name)
    if pushing is not None:
        await pushing.follow_account(connection, user_id, source, credentials, now)
    await watches.make_due(connection, user_id, now)
    return await get(connection, user_id, name)


async def get(connection: AsyncConnection, user_id: str, source: str) -> Connected:
    """One connection of the user; raises NOT_FOUND."""
    row = await connections.get_connection(connection, user_id, source)
    if row is None:
        raise _not_connected(source)
    return Connected(
        row,
        await connections.list_parts(connection, user_id, source),
        await pushes.list_of_user(connection, user_id, source),
    )


async def list_all(connection: AsyncConnection, user_id: str) -> list[Connected]:
    """All connections of the user, by name."""
    rows = await connections.list_connections(connection, user_id)
    parts = await connections.list_parts(connection, user_id)
    pushed = await pushes.list_of_user(connection, user_id)
    return [
        Connected(
            row,
            [part for part in parts if part.source == row.source],
            [endpoint for endpoint in pushed if endpoint.source == row.source],
        )
        for row in rows
    ]


async def disconnect(
    connection: AsyncConnection, user_id: str, source: str, *, now: datetime
) -> None:
    """Deletes credentials and sync state at once; items stay. Raises NOT_FOUND.

    Its platform's pushes are taken no more, and hubs are told so.
    """
    if not await connections.delete_connection(connection, user_id, source):
        raise _not_connected(source)
    await pushes.delete_of_account(connection, user_id, source)
    await pushes.leave_orphans(connection, user_id, source, now)


def _not_connected(source: str) -> DistillError:
    return DistillError(ErrorReason.NOT_FOUND, f"The source {source!r} is not connected.")

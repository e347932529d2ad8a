"""Sealed values by the key that sealed them: counted, and sealed anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Row, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.feed.models import Connection, PlatformToken, PushEndpoint


@dataclass(frozen=True, slots=True)
class _Sealed:
    """A column with sealed values; its rows are found by `user_id` and `name`."""

    model: Any
    column: Column[Any]
    name: Column[Any]
    before_all: str | UUID  # a name that no row's precedes


def _sealed(model: Any, column: str, name: str, before_all: str | UUID) -> _Sealed:
    columns = model.__table__.c
    return _Sealed(model, columns[column], columns[name], before_all)


_SEALED = {
    "credentials": _sealed(Connection, "credentials", "source", ""),
    "tokens": _sealed(PlatformToken, "tokens", "source", ""),
    "push secrets": _sealed(PushEndpoint, "sealed", "id", UUID(int=0)),
}
KINDS = tuple(_SEALED)

# Where a batch begins: behind this user and name.
Place = tuple[str, Any]


def begin(kind: str) -> Place:
    """The place before all rows."""
    return "", _SEALED[kind].before_all


async def count_by_key(connection: AsyncConnection) -> Counter[str]:
    """How many values each key has sealed, by the key's id in hex."""
    counts: Counter[str] = Counter()
    for sealed in _SEALED.values():
        key_id = _key_id(sealed.column)
        query = select(key_id, func.count()).where(sealed.column.is_not(None)).group_by(key_id)
        for found, count in await connection.execute(query):
            counts[found] += count
    return counts


async def reseal(
    connection: AsyncConnection,
    kind: str,
    current: str,
    seal_anew: Callable[[str, Row[Any]], bytes | None],
    *,
    after: Place,
    limit: int,
) -> tuple[int, Place | None]:
    """Seals a batch anew that other keys than `current` sealed, in the order of its rows.

    `seal_anew` gets the kind and the row (`user_id`, `name`, `sealed`); where it gives None, the
    row stays. Returns how many were sealed, and where the next batch begins; None: nowhere.
    """
    model, column, name = _SEALED[kind].model, _SEALED[kind].column, _SEALED[kind].name
    user_id = model.__table__.c.user_id
    query = (
        select(user_id, name.label("name"), column.label("sealed"))
        .where(column.is_not(None), _key_id(column) != current)
        .where(func.row(user_id, name) > func.row(*after))
        .order_by(user_id, name)
        .limit(limit)
        .with_for_update()
    )
    rows = (await connection.execute(query)).all()
    count = 0
    for row in rows:
        anew = seal_anew(kind, row)
        if anew is None:
            continue
        await connection.execute(
            update(model).where(user_id == row.user_id, name == row.name).values({column.key: anew})
        )
        count += 1
    return count, (rows[-1].user_id, rows[-1].name) if len(rows) == limit else None


async def forget(connection: AsyncConnection, key_ids: set[str]) -> int:
    """Removes what these keys sealed; returns how many values that were."""
    forgotten = 0
    for sealed in _SEALED.values():
        is_lost = sealed.column.is_not(None) & _key_id(sealed.column).in_(key_ids)
        # A push address without its secrets is none.
        change = (
            update(sealed.model).values({sealed.column.key: None})
            if sealed.column.nullable
            else delete(sealed.model)
        )
        result: Any = await connection.execute(change.where(is_lost))
        forgotten += result.rowcount
    return forgotten


def _key_id(column: ColumnElement[Any]) -> Any:
    # A version byte, then eight bytes that name the key; see `encryption`.
    return func.encode(func.substring(column, 2, 8), "hex")

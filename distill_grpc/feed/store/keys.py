"""Sealed values by the key that sealed them: counted, and sealed anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.feed.models import Connection, PlatformToken

# The columns that hold sealed values, by their names.
_SEALED: dict[str, tuple[Any, ColumnElement[Any]]] = {
    "credentials": (Connection, Connection.__table__.c.credentials),
    "tokens": (PlatformToken, PlatformToken.__table__.c.tokens),
}
KINDS = tuple(_SEALED)


async def count_by_key(connection: AsyncConnection) -> Counter[str]:
    """How many values each key has sealed, by the key's id in hex."""
    counts: Counter[str] = Counter()
    for _, column in _SEALED.values():
        key_id = _key_id(column)
        query = select(key_id, func.count()).where(column.is_not(None)).group_by(key_id)
        for found, count in await connection.execute(query):
            counts[found] += count
    return counts


async def reseal(
    connection: AsyncConnection,
    kind: str,
    current: str,
    seal_anew: Callable[[str, Row[Any]], bytes | None],
    *,
    after: tuple[str, str],
    limit: int,
) -> tuple[int, tuple[str, str] | None]:
    """Seals a batch anew that other keys than `current` sealed, in the order of its rows.

    `seal_anew` gets the kind and the row (`user_id`, `source`, `sealed`); where it gives None, the
    row stays. Returns how many were sealed, and where the next batch begins; None: nowhere.
    """
    model, column = _SEALED[kind]
    table = model.__table__.c
    query = (
        select(table.user_id, table.source, column.label("sealed"))
        .where(column.is_not(None), _key_id(column) != current)
        .where(func.row(table.user_id, table.source) > func.row(*after))
        .order_by(table.user_id, table.source)
        .limit(limit)
        .with_for_update()
    )
    rows = (await connection.execute(query)).all()
    sealed = 0
    for row in rows:
        anew = seal_anew(kind, row)
        if anew is None:
            continue
        await connection.execute(
            update(model)
            .where(table.user_id == row.user_id, table.source == row.source)
            .values({kind: anew})
        )
        sealed += 1
    return sealed, (rows[-1].user_id, rows[-1].source) if len(rows) == limit else None


async def forget(connection: AsyncConnection, key_ids: set[str]) -> int:
    """Removes what these keys sealed; returns how many values that were."""
    forgotten = 0
    for kind, (model, column) in _SEALED.items():
        result: Any = await connection.execute(
            update(model)
            .where(column.is_not(None), _key_id(column).in_(key_ids))
            .values({kind: None})
        )
        forgotten += result.rowcount
    return forgotten


def _key_id(column: ColumnElement[Any]) -> Any:
    # A version byte, then eight bytes that name the key; see `encryption`.
    return func.encode(func.substring(column, 2, 8), "hex")

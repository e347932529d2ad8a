"""Pushes: our addresses for them, what was delivered, and how reliable hubs are.

Whoever needs several rows locks the watch first, then parts, then endpoints, then hubs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import CursorResult, Row, delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.feed.models import ConnectionPart, PushDelivery, PushEndpoint, PushHub, Watch
from distill_grpc.feed.store.connections import part_key

endpoints = PushEndpoint.__table__
_HERE = PushEndpoint.state != "leaving"


async def find_by_key(
    connection: AsyncConnection, source: str, key_hash: bytes, *, lock: bool = False
) -> Row[Any] | None:
    """The endpoint that an address belongs to."""
    query = select(endpoints).where(
        PushEndpoint.key_hash == key_hash, PushEndpoint.source == source
    )
    found = await connection.execute(query.with_for_update() if lock else query)
    return found.one_or_none()


async def get_of_part(
    connection: AsyncConnection, user_id: str, source: str, part: str
) -> Row[Any] | None:
    """The endpoint of a part; of the account where `part` is empty."""
    query = select(endpoints).where(
        PushEndpoint.user_id == user_id,
        PushEndpoint.source == source,
        PushEndpoint.part_key == part_key(part),
        _HERE,
    )
    return (await connection.execute(query)).one_or_none()


async def list_of_user(
    connection: AsyncConnection, user_id: str, source: str | None = None
) -> Sequence[Row[Any]]:
    """A user's endpoints, with `hub_misses`: how often their hub was found to be silent."""
    query = (
        select(endpoints, func.coalesce(PushHub.misses, 0).label("hub_misses"))
        .outerjoin(PushHub, PushHub.hub == PushEndpoint.hub)
        .where(PushEndpoint.user_id == user_id, _HERE)
    )
    if source is not None:
        query = query.where(PushEndpoint.source == source)
    return (await connection.execute(query)).all()


async def insert_endpoint(connection: AsyncConnection, **values: Any) -> bool:
    """Stores an endpoint; False where the part has one already."""
    row = {"state": "pending", "failures": 0, "misses": 0, **values}
    row["part_key"] = part_key(row["part"])
    statement = insert(PushEndpoint).values(**row).on_conflict_do_nothing()
    made = await connection.execute(statement.returning(PushEndpoint.id))
    return made.one_or_none() is not None


async def update_endpoint(
    connection: AsyncConnection, user_id: str, endpoint_id: UUID, **values: Any
) -> None:
    """Changes columns of an endpoint."""
    await connection.execute(
        update(PushEndpoint)
        .where(PushEndpoint.user_id == user_id, PushEndpoint.id == endpoint_id)
        .values(**values)
    )


async def settle_endpoint(
    connection: AsyncConnection, user_id: str, endpoint_id: UUID, **values: Any
) -> bool:
    """Changes columns by what a hub said; False where it has nothing to say any more."""
    result: CursorResult[Any] = await connection.execute(
        update(PushEndpoint)
        .where(PushEndpoint.user_id == user_id, PushEndpoint.id == endpoint_id, _HERE)
        .values(**values)
    )
    return result.rowcount == 1


async def tell_failure(
    connection: AsyncConnection,
    user_id: str,
    endpoint_id: UUID,
    *,
    failures: int,
    message: str,
    due_at: datetime,
) -> None:
    """Stores why a request failed, unless the hub has confirmed it meanwhile."""
    await connection.execute(
        update(PushEndpoint)
        .where(
            PushEndpoint.user_id == user_id,
            PushEndpoint.id == endpoint_id,
            PushEndpoint.failures == failures,
        )
        .values(message=message, due_at=due_at)
    )


async def delete_endpoint(connection: AsyncConnection, user_id: str, endpoint_id: UUID) -> None:
    """Forgets an endpoint: its address answers nobody any more."""
    await connection.execute(
        delete(PushEndpoint).where(PushEndpoint.user_id == user_id, PushEndpoint.id == endpoint_id)
    )


async def delete_of_account(connection: AsyncConnection, user_id: str, source: str) -> None:
    """Forgets the endpoint of an account as a whole."""
    await connection.execute(
        delete(PushEndpoint).where(
            PushEndpoint.user_id == user_id,
            PushEndpoint.source == source,
            PushEndpoint.hub.is_(None),
        )
    )


async def delete_of_user(connection: AsyncConnection, user_id: str) -> None:
    """Forgets every endpoint of a user, and what was delivered there."""
    await connection.execute(delete(PushDelivery).where(PushDelivery.user_id == user_id))
    await connection.execute(delete(PushEndpoint).where(PushEndpoint.user_id == user_id))


async def leave_orphans(
    connection: AsyncConnection, user_id: str, source: str, now: datetime
) -> None:
    """Endpoints whose part is gone: their hubs are told."""
    part = exists().where(
        ConnectionPart.user_id == PushEndpoint.user_id,
        ConnectionPart.source == PushEndpoint.source,
        ConnectionPart.part_key == PushEndpoint.part_key,
    )
    await connection.execute(
        update(PushEndpoint)
        .where(
            PushEndpoint.user_id == user_id,
            PushEndpoint.source == source,
            PushEndpoint.hub.is_not(None),
            _HERE,
            ~part,
        )
        .values(state="leaving", due_at=now, failures=0)
    )


async def claim_due(
    connection: AsyncConnection, now: datetime, *, pause: timedelta, limit: int
) -> Sequence[Row[Any]]:
    """Endpoints whose hub is to be asked, longest due first, with `watched`: whether anybody wants it.

    They are due again after `pause`, so that nobody else takes them meanwhile.
    """
    due = (
        select(PushEndpoint.user_id, PushEndpoint.id)
        .where(PushEndpoint.due_at <= now)
        .order_by(PushEndpoint.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).cte("due")
    watched = exists().where(Watch.user_id == PushEndpoint.user_id, Watch.unwatched_at.is_(None))
    statement = (
        update(PushEndpoint)
        .where(PushEndpoint.user_id == due.c.user_id, PushEndpoint.id == due.c.id)
        .values(due_at=now + pause)
        .returning(endpoints, watched.label("watched"))
    )
    claimed: Sequence[Row[Any]] = (await connection.execute(statement)).all()
    return claimed


async def insert_delivery(
    connection: AsyncConnection, user_id: str, endpoint_id: UUID, delivery: str, now: datetime
) -> bool:
    """Remembers a delivery; False where it was delivered before."""
    made = await connection.execute(
        insert(PushDelivery)
        .values(user_id=user_id, endpoint_id=endpoint_id, delivery=delivery, received_at=now)
        .on_conflict_do_nothing()
        .returning(PushDelivery.delivery)
    )
    return made.one_or_none() is not None


async def delete_deliveries_before(
    connection: AsyncConnection, before: datetime, limit: int
) -> int:
    """Forgets old deliveries; returns how many."""
    old = (
        select(PushDelivery.user_id, PushDelivery.endpoint_id, PushDelivery.delivery)
        .where(PushDelivery.received_at < before)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).subquery()
    result: CursorResult[Any] = await connection.execute(
        delete(PushDelivery).where(
            PushDelivery.user_id == old.c.user_id,
            PushDelivery.endpoint_id == old.c.endpoint_id,
            PushDelivery.delivery == old.c.delivery,
        )
    )
    return result.rowcount


async def make_due(connection: AsyncConnection, user_id: str, now: datetime, at: timedelta) -> None:
    """Makes an active watch due, but no sooner than `at` after its last sync."""
    soonest = func.greatest(now, func.coalesce(Watch.last_sync_at, now - at) + at)
    await connection.execute(
        update(Watch)
        .where(Watch.user_id == user_id, Watch.unwatched_at.is_(None))
        .values(next_sync_at=func.least(Watch.next_sync_at, soonest))
    )


async def mark_pushed(connection: AsyncConnection, user_id: str, source: str, part: str) -> None:
    """Notes on a part, or on all of an account where `part` is empty, that something was pushed.

    By the database's clock, by which runs begin.
    """
    statement = update(ConnectionPart).where(
        ConnectionPart.user_id == user_id, ConnectionPart.source == source
    )
    if part:
        statement = statement.where(ConnectionPart.part_key == part_key(part))
    await connection.execute(statement.values(pushed_at=func.clock_timestamp()))


async def clear_pushed(
    connection: AsyncConnection,
    user_id: str,
    source: str,
    *,
    until: datetime,
    parts: Sequence[str],
) -> None:
    """What was pushed for these parts up to an instant has been read."""
    await connection.execute(
        update(ConnectionPart)
        .where(
            ConnectionPart.user_id == user_id,
            ConnectionPart.source == source,
            ConnectionPart.part_key.in_([part_key(part) for part in parts]),
            ConnectionPart.pushed_at <= until,
        )
        .values(pushed_at=None)
    )


async def resume_polling(connection: AsyncConnection, user_id: str, source: str, part: str) -> None:
    """Ends the pause of a part that did well: nobody will push it any more."""
    await connection.execute(
        update(ConnectionPart)
        .where(
            ConnectionPart.user_id == user_id,
            ConnectionPart.source == source,
            ConnectionPart.part_key == part_key(part),
            ConnectionPart.failures == 0,
        )
        .values(next_attempt_at=None)
    )


async def add_miss(
    connection: AsyncConnection, user_id: str, endpoint_id: UUID, hub: str, now: datetime
) -> None:
    """Counts that polling found something that a hub had not pushed."""
    await connection.execute(
        update(PushEndpoint)
        .where(PushEndpoint.user_id == user_id, PushEndpoint.id == endpoint_id)
        .values(misses=PushEndpoint.misses + 1)
    )
    statement = insert(PushHub).values(hub=hub, misses=1, missed_at=now)
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["hub"], set_={"misses": PushHub.misses + 1, "missed_at": now}
        )
    )


async def forgive_hub(connection: AsyncConnection, hub: str) -> None:
    """A hub that pushes is not silent."""
    await connection.execute(
        update(PushHub).where(PushHub.hub == hub, PushHub.misses > 0).values(misses=0)
    )

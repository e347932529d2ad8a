"""Facts about the service as a whole, by name."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.feed.models import ServiceState

LAST_SYNC_CYCLE = "last_sync_cycle"
PAGE_TOKEN_KEY = "page_token_key"  # noqa: S105 -- a name
LINK_TOKEN_KEY = "link_token_key"  # noqa: S105 -- a name


async def get_instant(connection: AsyncConnection, name: str) -> datetime | None:
    """When something last happened."""
    query = select(ServiceState.at).where(ServiceState.name == name)
    return (await connection.execute(query)).scalar_one_or_none()


async def set_instant(connection: AsyncConnection, name: str, at: datetime) -> None:
    """Notes when something happened."""
    statement = insert(ServiceState).values(name=name, at=at)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=["name"], set_={"at": at})
    )


async def get_or_insert_value(connection: AsyncConnection, name: str, value: bytes) -> bytes:
    """The value of that name; the given one where there was none, the same for everyone who asks."""
    await connection.execute(
        insert(ServiceState).values(name=name, value=value).on_conflict_do_nothing()
    )
    query = select(ServiceState.value).where(ServiceState.name == name)
    return cast("bytes", (await connection.execute(query)).scalar_one())

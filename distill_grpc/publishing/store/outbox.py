"""The outbox: jobs that a committed change has made necessary."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.publishing.models import OutboxEntry


async def insert_entry(
    connection: AsyncConnection, job: str, key: str, payload: Mapping[str, Any], now: datetime
) -> None:
    """Notes a job down, once for each key, in the transaction that makes it necessary."""
    await connection.execute(
        insert(OutboxEntry)
        .values(job=job, key=key, payload=dict(payload), created_at=now)
        .on_conflict_do_nothing()
    )

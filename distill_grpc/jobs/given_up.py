"""Jobs that failed after their last attempt: they stay until somebody tries them again, or for a week."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

KEPT = timedelta(days=7)

_LIST = text(
    "SELECT j.id, j.task_name AS name, j.args, j.attempts, max(e.at) AS failed_at"
    " FROM procrastinate_jobs j LEFT JOIN procrastinate_events e ON e.job_id = j.id"
    " WHERE j.status = 'failed' GROUP BY j.id ORDER BY j.id"
)
_RETRY = text(
    "UPDATE procrastinate_jobs SET status = 'todo', attempts = 0, scheduled_at = NULL"
    " WHERE status = 'failed' AND (:all OR id = ANY(:ids)) RETURNING id"
)
_FORGET = text(
    "DELETE FROM procrastinate_jobs j WHERE status IN ('failed', 'aborted') AND NOT EXISTS"
    " (SELECT FROM procrastinate_events e WHERE e.job_id = j.id AND e.at >= :before)"
)


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A job that was tried as often as it may be."""

    id: int
    name: str
    arguments: dict[str, Any]
    attempts: int
    failed_at: datetime | None


async def list_given_up(connection: AsyncConnection) -> Sequence[GivenUp]:
    """All of them, the oldest first."""
    rows = await connection.execute(_LIST)
    return [GivenUp(row.id, row.name, row.args, row.attempts, row.failed_at) for row in rows]


async def retry(connection: AsyncConnection, ids: Sequence[int] = ()) -> set[int]:
    """Makes these due, or all where none is named, with all their attempts; returns which."""
    done = await connection.execute(_RETRY, {"all": not ids, "ids": list(ids)})
    return {row.id for row in done}


async def forget(connection: AsyncConnection, now: datetime) -> int:
    """Deletes those that nobody asked for in time; returns how many."""
    done = await connection.execute(_FORGET, {"before": now - KEPT})
    return done.rowcount

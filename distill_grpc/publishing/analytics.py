"""What readers do, counted: recorded off the request's path, and summed by a job (seed 001).

Nobody who reads waits for it, and where it fails, reading goes on. Who read what is kept as a hash
that tells the readers of one day apart; strangers are counted as views only.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from prometheus_client import Counter as Metric
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.publishing.ids import new_id
from distill_grpc.publishing.store import analytics as store
from distill_grpc.publishing.store import outbox

log = structlog.get_logger()

# The job (seed 001). Its payload is `{"events": […]}`, each event as the seed has it: `event_type`,
# `user_id`, `post_id`, `timestamp`; and an `id`, which makes one of it.
ANALYTICS_JOB = "process_analytics_event"
POST_VIEW = "post_view"
MOST_WAITING = 10_000  # events in memory; more are dropped, and counted
BATCH = 500  # events of one job
FLUSH = 1.0  # seconds
EVENTS_KEPT = timedelta(days=30)
READERS_KEPT = timedelta(days=3)

DROPPED = Metric("distill_analytics_dropped", "Events that were dropped, as too many waited.")


class EventRecorder:
    """Takes events in memory, and brings them to the outbox in batches."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._waiting: list[dict[str, Any]] = []

    def record(self, event_type: str, post_id: UUID, user_id: UUID | None) -> None:
        """Notes an event; never waits and never fails."""
        if len(self._waiting) >= MOST_WAITING:
            DROPPED.inc()
            return
        now = clock.utc_now()
        self._waiting.append(
            {
                "id": str(new_id(now)),
                "event_type": event_type,
                "user_id": None if user_id is None else str(user_id),
                "post_id": str(post_id),
                "timestamp": now.isoformat(),
            }
        )

    async def run(self) -> None:
        """Brings what waits to the outbox again and again, and once more when cancelled."""
        try:
            while True:
                await asyncio.sleep(FLUSH)
                await self._try()
        finally:
            await self._try()

    async def _try(self) -> None:
        try:
            async with asyncio.timeout(5.0):
                await self.flush()
        except Exception as error:
            log.warning("analytics_waiting", error=type(error).__name__, events=len(self._waiting))

    async def flush(self) -> None:
        """Brings what waits to the outbox."""
        while batch := self._waiting[:BATCH]:
            # Where a commit is in doubt, it is repeated under another key: the events' ids tell.
            now = clock.utc_now()
            async with self._engine.begin() as connection:
                await outbox.insert_entry(
                    connection, ANALYTICS_JOB, str(new_id(now)), {"events": batch}, now
                )
            del self._waiting[: len(batch)]


@dataclass(frozen=True, slots=True)
class EventProcessor:
    """Keeps events and sums them up; `key` makes the hashes of readers."""

    engine: AsyncEngine
    key: bytes

    async def run(self, events: Sequence[Mapping[str, Any]]) -> None:
        """The job. Events that were processed before change nothing."""
        rows = [self._row(event) for event in events]
        async with self.engine.begin() as connection:
            # Of posts that are there: an event is no reason to fail for ever.
            known = await store.list_known(connection, {row.post_id for row in rows})
            rows = [row for row in rows if row.post_id in known]
            new = await store.insert_events(connection, rows)
            seen = [row for row in rows if row.id in new and row.event_type == POST_VIEW]
            views = Counter((row.post_id, _day(row.at)) for row in seen)
            readers = Counter(
                await store.insert_readers(
                    connection,
                    {(row.post_id, _day(row.at), row.reader) for row in seen if row.reader},
                )
            )
            await store.add_to_days(
                connection, {day: (count, readers[day]) for day, count in views.items()}
            )

    async def forget(self, now: datetime) -> None:
        """Deletes events and readers that are old; the sums stay."""
        async with self.engine.begin() as connection:
            await store.delete_old(
                connection, events=now - EVENTS_KEPT, readers=(now - READERS_KEPT).date()
            )

    def _row(self, event: Mapping[str, Any]) -> store.Event:
        at = datetime.fromisoformat(event["timestamp"])
        return store.Event(
            id=UUID(event["id"]),
            event_type=event["event_type"],
            post_id=UUID(event["post_id"]),
            reader=self._reader(event["user_id"], _day(at)),
            at=at,
        )

    def _reader(self, user_id: str | None, day: date) -> bytes | None:
        if user_id is None:
            return None
        return hmac.digest(self.key, f"reader\0{day.isoformat()}\0{user_id}".encode(), "sha256")[
            :16
        ]


def _day(at: datetime) -> date:
    return at.astimezone(UTC).date()

"""Hands jobs on from the outbox to where workers take them: the queue, or a broker.

Where a worker dies between the broker's word and the commit, a job is handed on twice: jobs find
their own work done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc import clock
from distill_grpc.publishing.analytics import ANALYTICS_JOB
from distill_grpc.publishing.pinging import PING_JOB
from distill_grpc.publishing.posts import NOTIFY_JOB
from distill_grpc.publishing.store import outbox

BATCH = 100
# How long entries are remembered that have been handed on, by job.
KEPT = {
    NOTIFY_JOB: timedelta(days=90),
    PING_JOB: timedelta(days=7),
    ANALYTICS_JOB: timedelta(minutes=10),
}


class Transport(Protocol):
    """Where jobs go."""

    async def enqueue(
        self, connection: AsyncConnection, name: str, jobs: Sequence[Mapping[str, Any]]
    ) -> None:
        """Takes jobs over for good, or raises. May use the transaction of `connection`."""
        ...


@dataclass(frozen=True, slots=True)
class Relay:
    """Hands on what waits."""

    engine: AsyncEngine
    transport: Transport

    async def hand_on(self) -> int:
        """Hands on all that waits, batch by batch; returns how many jobs."""
        total = 0
        while True:
            async with self.engine.begin() as connection:
                waiting = await outbox.lock_waiting(connection, BATCH)
                jobs: dict[str, list[Mapping[str, Any]]] = {}
                for entry in waiting:
                    jobs.setdefault(entry.job, []).append(entry.payload)
                for name, payloads in jobs.items():
                    await self.transport.enqueue(connection, name, payloads)
                if waiting:
                    await outbox.mark_handed_on(connection, waiting, clock.utc_now())
            total += len(waiting)
            if len(waiting) < BATCH:
                return total

    async def forget(self) -> None:
        """Deletes entries that nobody asks for any more."""
        for job, age in KEPT.items():
            async with self.engine.begin() as connection:
                await outbox.delete_handed_on(connection, job, clock.utc_now() - age)

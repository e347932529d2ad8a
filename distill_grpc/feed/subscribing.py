"""Subscriptions at WebSub hubs: asked for, renewed before they end, given up, ended.

When a hub is asked next is a column (`due_at`), so any worker can take it on, and a crash delays it by
one pause. Renewing keeps the state `active` and the secret: a hub that never confirms the renewal goes
on pushing under the old lease until that ends.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.encryption import CannotDecrypt
from distill_grpc.feed import pushing
from distill_grpc.feed.pushing import Pushing
from distill_grpc.feed.store import pushes
from distill_grpc.sources.base import Source, SourceFailure
from distill_grpc.sources.pushes import websub_of
from distill_grpc.sources.websub import WebSub

log = structlog.get_logger()

# Subscriptions that one tick takes on.
BATCH = 20
# A hub has this long to confirm; then it is asked again, ever more rarely.
CONFIRMED_WITHIN = timedelta(minutes=10)
LONGEST_PAUSE = timedelta(hours=24)
# A hub that is to forget us is asked so many times; then the address is gone, which tells it too.
FAREWELLS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriber:
    """Asks hubs whose turn it is."""

    engine: AsyncEngine
    sources: Mapping[str, Source]
    pushing: Pushing
    now: Callable[[], datetime] = clock.utc_now

    async def tick(self) -> int:
        """Asks the hubs that are due; returns how many. Safe from many workers at once."""
        async with self.engine.begin() as connection:
            due = await pushes.claim_due(
                connection, self.now(), pause=CONFIRMED_WITHIN, limit=BATCH
            )
        await asyncio.gather(*(self._take_on(row) for row in due))
        return len(due)

    async def _take_on(self, row: Row[Any]) -> None:
        try:
            await self._ask(row)
        except Exception:
            # One subscription must not keep the others from being renewed.
            log.exception("subscription_failed", endpoint=str(row.id))

    async def _ask(self, row: Row[Any]) -> None:
        source = self.sources.get(row.source)
        hubs = websub_of(source) if source is not None else None
        if row.state == "leaving":
            await self._leave(row, hubs)
            return
        now = self.now()
        state = row.state
        if state == "active" and row.lease_until <= now:
            state = "lapsed"
            await self._end(row, "The hub did not renew the subscription.", now)
        if not row.watched or hubs is None:
            # Nobody reads it: what the hub still pushes until the lease ends has no effect.
            await self._update(row, due_at=row.lease_until if state == "active" else None)
            return
        failures = row.failures + 1
        due_at = now + pause_after(failures)
        if state == "active":
            due_at = min(due_at, row.lease_until)  # that it ends must not be missed
        # Written before the hub is asked: it may confirm before it answers.
        await self._update(row, failures=failures, due_at=due_at)
        try:
            await self._request(hubs, "subscribe", row)
        except SourceFailure as failure:
            log.info("hub_refused", endpoint=str(row.id), reason=failure.reason)
            due_at = max(due_at, failure.retry_at or due_at)
            async with self.engine.begin() as connection:
                await pushes.tell_failure(
                    connection,
                    row.user_id,
                    row.id,
                    failures=failures,
                    message=failure.message[:500],
                    due_at=min(due_at, row.lease_until) if state == "active" else due_at,
                )

    async def _leave(self, row: Row[Any], hubs: WebSub | None) -> None:
        if hubs is None or row.failures >= FAREWELLS:
            async with self.engine.begin() as connection:
                await pushes.delete_endpoint(connection, row.user_id, row.id)
            return
        await self._update(row, failures=row.failures + 1)
        try:
            await self._request(hubs, "unsubscribe", row)
        except SourceFailure as failure:
            log.info("hub_refused", endpoint=str(row.id), reason=failure.reason)

    async def _request(self, hubs: WebSub, mode: str, row: Row[Any]) -> None:
        try:
            secret = self.pushing.opened(row).secret
            callback = self.pushing.url(row)
        except CannotDecrypt:
            # The keys are gone; with the next read the part is offered an address of new ones.
            async with self.engine.begin() as connection:
                await pushes.delete_endpoint(connection, row.user_id, row.id)
            return
        await hubs.ask(mode, hub=row.hub, topic=row.topic, callback=callback, secret=secret)

    async def _end(self, row: Row[Any], message: str, now: datetime) -> None:
        async with self.engine.begin() as connection:
            await pushing.end_pushes(
                connection, row, state="lapsed", message=message, due_at=now, now=now
            )

    async def _update(self, row: Row[Any], **values: Any) -> None:
        async with self.engine.begin() as connection:
            await pushes.update_endpoint(connection, row.user_id, row.id, **values)


def pause_after(failures: int, jitter: float | None = None) -> timedelta:
    """Until a hub that did not confirm is asked again: doubling to a day, moved by up to 10 %."""
    moved = random.uniform(-1, 1) if jitter is None else jitter
    pause = CONFIRMED_WITHIN * (1 << min(max(failures, 1) - 1, 12))
    return min(pause, LONGEST_PAUSE) * (1 + 0.1 * moved)

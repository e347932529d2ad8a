"""Listens to platforms that tell of news over a connection that stays open, such as IMAP's IDLE.

A hint makes the next sync come at once, as a push does. One worker listens to an account, under a
lease that it extends; where it dies another takes over. What is told meanwhile, polling finds.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog
from prometheus_client import Gauge
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.feed.pushing import SPACING
from distill_grpc.feed.receiving import PUSHES
from distill_grpc.feed.store import listeners, pushes
from distill_grpc.feed.store.listeners import Account
from distill_grpc.feed.tokens import TokenKeeper
from distill_grpc.sources.base import Source, SourceFailure
from distill_grpc.sources.pushes import Hints, hints_of

log = structlog.get_logger()

LISTENING = Gauge(
    "distill_listening", "Accounts that a worker listens to.", multiprocess_mode="livesum"
)

LEASE = timedelta(seconds=60)
MOST = 200  # accounts that one worker listens to
# Until somebody listens again after …
AFTER_FAILURE = timedelta(minutes=5)
AFTER_NO_HINTS = timedelta(days=1)  # … a server that tells nothing by itself
AFTER_STOP = timedelta(0)


@dataclass(slots=True, kw_only=True)
class Listener:
    """What one worker listens to; `tick` comes several times in a lease."""

    engine: AsyncEngine
    sources: Mapping[str, Source]
    tokens: TokenKeeper
    lease: timedelta = LEASE
    most: int = MOST
    _id: uuid.UUID = field(default_factory=uuid.uuid4)
    _listening: dict[Account, asyncio.Task[None]] = field(default_factory=dict)
    _ending: set[asyncio.Task[None]] = field(default_factory=set)

    async def tick(self) -> None:
        """Extends the leases, ends what is not wanted any more, and takes what nobody listens to."""
        telling = {
            name: hints
            for name, source in self.sources.items()
            if (hints := hints_of(source)) is not None
        }
        if not telling:
            return
        self._listening = {a: task for a, task in self._listening.items() if not task.done()}
        async with self.engine.begin() as connection:
            kept = await listeners.keep(
                connection, self._id, self._listening.keys(), lease=self.lease
            )
            claimed = await listeners.claim(
                connection,
                self._id,
                telling,
                lease=self.lease,
                limit=self.most - len(kept),
            )
        for account in self._listening.keys() - kept:
            ending = self._listening.pop(account)
            ending.cancel()
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        for row in claimed:
            account = (row.user_id, row.source, row.revision)
            self._listening[account] = asyncio.create_task(self._listen(row, telling[row.source]))
        LISTENING.set(len(self._listening))

    async def close(self) -> None:
        """Lets go of everything, so that others can take over at once."""
        tasks = [*self._listening.values(), *self._ending]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        LISTENING.set(0)

    async def _listen(self, row: Row[Any], hints: Hints) -> None:
        """Listens until the connection ends, and says when to try again."""
        pause = AFTER_FAILURE
        try:
            credentials = await self.tokens.current(self.sources[row.source].info, row)
            async with aclosing(hints(credentials, row.settings)) as told:
                async for part in told:
                    await self._tell(row, part)
        except SourceFailure as failure:
            if failure.reason == "no_hints":
                pause = AFTER_NO_HINTS
            if failure.retry_at is not None:
                pause = max(pause, failure.retry_at - clock.utc_now())
            log.info("listening_ended", source=row.source, reason=failure.reason)
        except asyncio.CancelledError:
            pause = AFTER_STOP
            raise
        except Exception:
            log.exception("listening_failed", source=row.source)
        finally:
            await asyncio.shield(self._release(row, pause))

    async def _tell(self, row: Row[Any], part: str) -> None:
        async with self.engine.begin() as connection:
            await pushes.make_due(connection, row.user_id, clock.utc_now(), SPACING)
            await pushes.mark_pushed(connection, row.user_id, row.source, part)
        PUSHES.labels(row.source, "hint").inc()

    async def _release(self, row: Row[Any], pause: timedelta) -> None:
        try:
            async with self.engine.begin() as connection:
                await listeners.release(connection, self._id, row.user_id, row.source, pause=pause)
        except Exception as error:  # then the lease runs out
            log.warning("listener_not_released", why=type(error).__name__)

"""One process at a time does a piece of work for a user, whichever of a fleet it is.

A turn is a row with a lease that is put off while its holder lives: no connection is held meanwhile, and
the turn of a process that died or froze is free after seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc.feed.store import turns

log = structlog.get_logger()

LEASE = timedelta(seconds=6)
BEAT = 1.5  # seconds between two words of a holder that it lives
POLL = 0.25  # seconds between two tries to take a turn


@dataclass(slots=True, kw_only=True)
class Turn:
    """The turn of one who does, or wants to do, a piece of work."""

    engine: AsyncEngine
    user_id: str
    work: str  # what it is, at most 200 characters
    _holder: UUID = field(default_factory=uuid.uuid4)
    _taken: bool = False

    @property
    def is_taken(self) -> bool:
        """True where the last try took it; a lease that ended meanwhile shows in `end` only."""
        return self._taken

    async def take(self) -> bool:
        """True where it is ours now; False where somebody else has it."""
        async with self.engine.begin() as connection:
            self._taken = await turns.claim(
                connection, self.user_id, self.work, self._holder, LEASE
            )
        return self._taken

    async def end(self, connection: AsyncConnection) -> bool:
        """Gives it back with a transaction; False where it was not ours (any more)."""
        if not self._taken:
            return False
        return await turns.release(connection, self.user_id, self.work, self._holder)

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Keeps it, where it was taken, for the length of a block, and gives it back at the end."""
        if not self._taken:
            yield
            return
        beating = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.shield(self._give_back())

    async def _give_back(self) -> None:
        try:
            async with self.engine.begin() as connection:
                await self.end(connection)
        except SQLAlchemyError as error:  # the lease ends it
            log.warning("turn_not_given_back", work=self.work, error=type(error).__name__)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            try:
                async with self.engine.begin() as connection:
                    await turns.extend(connection, self.user_id, self.work, self._holder, LEASE)
            except SQLAlchemyError as error:
                log.warning("turn_not_extended", work=self.work, error=type(error).__name__)

"""A connection that does not wait for ever for a server that has fallen silent.

Keepalives find a peer whose machine is gone. A peer whose kernel still answers (a proxy, a load
balancer, a frozen server) is only found by the clock on this side.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, ClassVar

import psycopg
import structlog
from psycopg.errors import _WaitTimeout

log = structlog.get_logger()


class BoundedConnection(psycopg.AsyncConnection[Any]):
    """Closes itself, with `psycopg.OperationalError`, where an answer takes longer than allowed."""

    # Seconds for one answer. Longer than the statement timeout, which a server that lives keeps.
    answer_within: ClassVar[float] = 17.0
    _listens = False

    def __del__(self, *_: Any) -> None:
        """Closes what was never handed to anybody: the call that it was made for was cancelled."""
        if hasattr(self, "pgconn"):
            self.pgconn.finish()

    async def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """As psycopg's, but bounded where it is not."""
        if timeout is not None or self._listens:
            return await super().wait(gen, interval=interval, timeout=timeout)
        try:
            return await super().wait(gen, interval=interval, timeout=self.answer_within)
        except _WaitTimeout:
            self.pgconn.finish()
            log.warning("database_silent", seconds=self.answer_within)
            message = f"the database did not answer within {self.answer_within:.0f} s"
            raise psycopg.OperationalError(message) from None

    async def notifies(
        self, *, timeout: float | None = None, stop_after: int | None = None
    ) -> AsyncGenerator[psycopg.Notify, None]:
        """As psycopg's: silence is what one who listens mostly hears."""
        self._listens = True
        try:
            async for notify in super().notifies(timeout=timeout, stop_after=stop_after):
                yield notify
        finally:
            self._listens = False

"""Reading an account part after part, where one part's failure must not stop the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from weakref import WeakValueDictionary

import structlog

from distill_grpc.sources.base import (
    NoPlatformAuth,
    Page,
    PlatformError,
    RateLimited,
    SourceFailure,
    TokenExpired,
)

_log = structlog.get_logger()

# Failures in a row by the platform's own fault after which the other parts are not tried.
_PATIENCE = 3
_DOWN = frozenset({"timeout", "connect", "dns", "tls", "too_slow", "protocol", "server_error"})


class Breaker:
    """Decides which failures of a part are the account's, for one fetch."""

    def __init__(self) -> None:
        self._in_a_row = 0

    async def guarded(
        self, part: str, reading: AsyncGenerator[Page, None]
    ) -> AsyncGenerator[Page, None]:
        """The part's pages; a failure of the part becomes its last page.

        Raises what concerns the account: refused credentials, a limit, a platform that is down. A fault
        of ours ends the part with `internal`.
        """
        try:
            async with aclosing(reading) as pages:
                async for page in pages:
                    self._in_a_row = 0
                    yield page
        except (RateLimited, TokenExpired):
            raise
        except SourceFailure as failure:
            if isinstance(failure, NoPlatformAuth) and failure.permanent:
                raise
            down = isinstance(failure, PlatformError) and failure.reason in _DOWN
            self._in_a_row = self._in_a_row + 1 if down else 0
            yield Page(part=part, failure=failure)
            if self._in_a_row >= _PATIENCE:
                raise
        except Exception:
            _log.exception("part_failed", part=part)
            yield Page(
                part=part, failure=PlatformError("This could not be read.", reason="internal")
            )


class Turns:
    """One user of a token at a time, in this process; keeps nothing of tokens not in use."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def hold(self, holder: str) -> AsyncIterator[None]:
        """Waits for the turn."""
        lock = self._locks.setdefault(holder, asyncio.Lock())
        async with lock:
            yield

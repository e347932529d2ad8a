"""Call counts of one machine: exact across its processes, without a server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from distill_grpc.ratelimit import window as rule
from distill_grpc.ratelimit.table import CounterTable, FileLock
from distill_grpc.ratelimit.window import Verdict

SECOND = 1_000_000_000  # in nanoseconds
_SPINS = 50
_PATIENCE = 0.25  # seconds
_IMPATIENT_FOR = 5.0  # seconds for which a stuck lock is not waited for again

_log = structlog.get_logger()


class LocalCallLimiter:
    """At most `limit` calls of a key in any window, counted by all that share `path`.

    Keys beyond `slots` that are active at once push out the longest unused. For one event loop;
    a forked child may go on using it.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        limit: int,
        window: float = 60.0,
        slots: int = 65_536,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`path` is a file that is made where it is missing; None counts in this process alone.

        `clock` gives nanoseconds and must be the same clock in all processes. Raises OSError where
        the file cannot be used, and ValueError for numbers out of range.
        """
        rule.check(limit, window)
        if slots < 8:
            raise ValueError("at least 8 slots are needed")
        self._limit = limit
        self._span = rule.span_length(window, SECOND)
        self._clock = clock
        self._table = CounterTable(path, slots=slots, span=self._span)
        self._lock = None if path is None else FileLock(path.with_name(f"{path.name}.lock"))
        self._patient_from = 0.0

    @property
    def degraded(self) -> str | None:
        """None: there is nothing that could be away."""
        return None

    async def hit(self, key: str) -> Verdict:
        """Counts a call of `key`, if it is accepted. Some 10 microseconds."""
        if self._lock is None:
            return self._count(key)
        held = self._lock.try_acquire() or await self._wait_for(self._lock)
        try:
            return self._count(key)
        finally:
            if held:
                self._lock.release()

    async def close(self) -> None:
        """Unmaps the counters; the file stays for the others."""
        self._table.close()
        if self._lock is not None:
            self._lock.close()

    def _count(self, key: str) -> Verdict:
        now = self._clock()  # read under the lock, so that spans come in order
        span = now // self._span
        at, ring = self._table.counts(self._table.hash(key), span)
        accepted, current = sum(ring), span % rule.SPANS
        if accepted < self._limit:
            self._table.count(at, span, ring[current] + 1)
            return Verdict(allowed=True, remaining=self._limit - accepted - 1, retry_after=0.0)
        oldest_first = ring[current + 1 :] + ring[: current + 1]
        free_at = (span + rule.spans_to_wait(oldest_first, self._limit)) * self._span
        wait = (free_at - now) / SECOND + 0.001
        return Verdict(allowed=False, remaining=0, retry_after=max(1.0, wait))

    async def _wait_for(self, lock: FileLock) -> bool:
        """Whether the lock came. It is held for microseconds, unless its holder was stopped."""
        for _ in range(_SPINS):
            if lock.try_acquire():
                return True
        deadline = time.monotonic() + _PATIENCE
        if deadline < self._patient_from:
            return False
        while time.monotonic() < deadline:
            await asyncio.sleep(0.001)
            if lock.try_acquire():
                return True
        # Counting without it may lose a count; waiting on would stop the whole service.
        self._patient_from = deadline + _IMPATIENT_FOR
        _log.warning("call_limit_lock_is_stuck", waited=_PATIENCE)
        return False

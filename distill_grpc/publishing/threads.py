"""Threads for what would hold up the event loop: few of them, and a short queue before them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason

Result = TypeVar("Result")

_SOON = clock.parse_duration("2s")


@dataclass(slots=True)
class _Turn:
    """One user's turn; `calls` run or wait."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    calls: int = 0


class BoundedThreads:
    """Runs functions in threads; refuses more than it can do soon instead of piling it up."""

    def __init__(self, name: str, *, threads: int = 2, queue: int = 40) -> None:
        """At most `threads` run at once and `queue` wait; of one user one runs and `queue` wait."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._room = threads + queue
        self._queue = queue
        self._turns: defaultdict[str, _Turn] = defaultdict(_Turn)

    async def run(self, function: Callable[..., Result], *arguments: object) -> Result:
        """What `function` returns; raises UNAVAILABLE where too much waits already."""
        return await asyncio.shield(self._start(function, *arguments))

    async def run_for(
        self, user: str, function: Callable[..., Result], *arguments: object
    ) -> Result:
        """The same, but a user's calls run one after the other, so that others come to theirs."""
        turn = self._turns[user]
        if turn.calls > self._queue:
            raise _too_much()
        turn.calls += 1
        try:
            await turn.lock.acquire()
        except asyncio.CancelledError:
            self._leave(user, turn)
            raise
        try:
            running = self._start(function, *arguments)
        except DistillError:
            turn.lock.release()
            self._leave(user, turn)
            raise

        def end(_: asyncio.Future[Result]) -> None:
            turn.lock.release()
            self._leave(user, turn)

        # A caller who leaves does not end the turn: the thread goes on.
        running.add_done_callback(end)
        return await asyncio.shield(running)

    def close(self) -> None:
        """Lets what runs end; what waits is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self, function: Callable[..., Result], *arguments: object) -> asyncio.Future[Result]:
        if not self._room:
            raise _too_much()
        self._room -= 1
        running = asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
        running.add_done_callback(self._finished)
        return running

    def _finished(self, done: asyncio.Future[Result]) -> None:
        self._room += 1
        if not done.cancelled():
            done.exception()  # looked at: its caller may have left

    def _leave(self, user: str, turn: _Turn) -> None:
        turn.calls -= 1
        if not turn.calls:
            del self._turns[user]


def _too_much() -> DistillError:
    return DistillError(ErrorReason.UNAVAILABLE, retry_after=clock.utc_now() + _SOON)

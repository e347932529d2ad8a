"""Threads for what would hold up the event loop: few of them, and a short queue before them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason

Result = TypeVar("Result")

_SOON = clock.parse_duration("2s")


class BoundedThreads:
    """Runs functions in threads; refuses more than it can do soon instead of piling it up."""

    def __init__(self, name: str, *, threads: int = 2, queue: int = 40) -> None:
        """At most `threads` run at once and `queue` wait."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._room = threads + queue

    async def run(self, function: Callable[..., Result], *arguments: object) -> Result:
        """What `function` returns; raises UNAVAILABLE where too much waits already."""
        if not self._room:
            raise DistillError(ErrorReason.UNAVAILABLE, retry_after=clock.utc_now() + _SOON)
        self._room -= 1
        running = asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
        # A caller who leaves does not make room: the thread goes on.
        running.add_done_callback(self._finished)
        return await asyncio.shield(running)

    def close(self) -> None:
        """Lets what runs end; what waits is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _finished(self, done: asyncio.Future[Result]) -> None:
        self._room += 1
        if not done.cancelled():
            done.exception()  # looked at: its caller may have left

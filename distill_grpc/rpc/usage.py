"""Who uses a server: the calls being answered, and when somebody last asked for anything."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Any

from grpc_health.v1 import health


class Usage:
    """Counts the calls that are being answered; `with usage:` is one call."""

    def __init__(self) -> None:
        self._count = 0
        self._watchers = 0
        self._last = float("-inf")
        self._none = asyncio.Event()
        self._none.set()

    def __enter__(self) -> None:
        self.note()
        self._count += 1
        self._none.clear()

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()

    def note(self) -> None:
        """Somebody asked for something."""
        self._last = time.monotonic()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Somebody watches as long as this lasts."""
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1
            self.note()

    def within(self, seconds: float) -> bool:
        """True where somebody asked or watched within the last `seconds`."""
        in_use = self._count or self._watchers
        return bool(in_use) or time.monotonic() - self._last <= seconds

    async def wait_for_none(self, seconds: float) -> None:
        """Returns when no call is being answered, or after that time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._none.wait(), seconds)


class WatchedHealth(health.aio.HealthServicer):  # type: ignore[misc]
    """The standard health service; those who ask it, such as load balancers, use the server too."""

    def __init__(self, usage: Usage) -> None:
        super().__init__()
        self._usage = usage

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 -- gRPC's name
        """One answer."""
        self._usage.note()
        return await super().Check(request, context)

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802 -- gRPC's name
        """An answer whenever it changes."""
        with self._usage.watched():
            await super().Watch(request, context)

"""Things that are done again and again while a worker lives."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import Gauge

log = structlog.get_logger()

LAST_TICK = Gauge(
    "distill_tick_timestamp_seconds",
    "When each recurring task of a worker last ended well.",
    ["tick"],
    multiprocess_mode="mostrecent",
)


async def every(seconds: float, name: str, task: Callable[[], Awaitable[object]]) -> None:
    """Runs `task` about every `seconds` until cancelled; one that fails is logged and goes on.

    The jitter keeps workers that were started together from asking together.
    """
    while True:
        try:
            await task()
            LAST_TICK.labels(name).set(time.time())
        except Exception as error:
            log.exception("tick_failed", tick=name, error=type(error).__name__)
        await asyncio.sleep(seconds * random.uniform(0.8, 1.2))

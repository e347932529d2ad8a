"""What signals mean: the first asks for an end, a second Ctrl-C cannot wait for it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

# Programs such as `timeout` signal a process and its group: one wish, received twice. Seconds.
_SAME_WISH = 0.5


def on_signals(ask: Callable[[], None], insist: Callable[[], None]) -> None:
    """Calls `ask` at the first SIGINT, SIGTERM or SIGHUP, and `insist` at a SIGINT after it."""
    loop = asyncio.get_running_loop()
    asked_at: float | None = None

    def received(number: signal.Signals) -> None:
        nonlocal asked_at
        now = time.monotonic()
        if asked_at is None:
            asked_at = now
            ask()
        elif number == signal.SIGINT and now - asked_at > _SAME_WISH:
            insist()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, received, number)

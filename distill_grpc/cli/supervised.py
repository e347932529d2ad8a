"""The child's side of the supervisor, and how every role is run and stopped.

A supervised process has two pipes, named in one variable: into one it writes when it is ready, the
other ends when the supervisor is gone, however it went. It never waits for the supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable

import structlog

from distill_grpc.cli.signals import on_signals

# "<ready>,<alive>": numbers of the inherited descriptors.
VARIABLE = "DISTILL_SUPERVISOR_PIPES"
# The supervisor kills after 15 s; this is for a process whose supervisor is gone.
LAST_RESORT = 20.0

Ready = Callable[[], None]
Role = Callable[[asyncio.Event, Ready], Awaitable[None]]

_log = structlog.get_logger()


class Lifeline:
    """The two pipes to the supervisor."""

    def __init__(self, ready: int, alive: int) -> None:
        self._ready = ready
        self._alive = alive

    @classmethod
    def from_environment(cls) -> Lifeline | None:
        """The pipes of this process, where a supervisor started it; processes below get none."""
        value = os.environ.pop(VARIABLE, "")
        if not value:
            return None
        ready, alive = (int(part) for part in value.split(","))
        for descriptor in (ready, alive):
            os.set_inheritable(descriptor, False)
        return cls(ready, alive)

    def ready(self) -> None:
        """Tells the supervisor that this process serves."""
        if self._ready >= 0:
            with contextlib.suppress(OSError):  # a supervisor that is gone is noticed elsewhere
                os.write(self._ready, b"+")
            os.close(self._ready)
            self._ready = -1

    def watch(self, gone: Callable[[], None]) -> None:
        """Calls `gone` when the supervisor has ended."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(self._alive)
            gone()

        loop.add_reader(self._alive, ended)


def run_role(role: Role, *, drain: float = 0.0) -> None:
    """Runs a role until it is asked to stop: by a signal, or by the end of its supervisor.

    Without a supervisor, SIGINT and SIGTERM stop it, and a second SIGINT ends it at once. `drain`
    says how many seconds the role may take before it begins to stop.
    """
    asyncio.run(_run(role, Lifeline.from_environment(), drain + LAST_RESORT))


async def _run(role: Role, lifeline: Lifeline | None, last_resort: float) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def ask_to_stop() -> None:
        if stop.is_set():
            return
        stop.set()
        loop.call_later(last_resort, os._exit, 1)

    if lifeline is None:
        on_signals(ask_to_stop, insist=lambda: os._exit(130))
        await role(stop, lambda: _log.info("ready"))
        return
    # The terminal's Ctrl-C is the supervisor's to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop.add_signal_handler(signal.SIGTERM, ask_to_stop)
    lifeline.watch(ask_to_stop)
    await role(stop, lifeline.ready)

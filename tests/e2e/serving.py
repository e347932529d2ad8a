"""`distill serve` as a person starts it: a process of its own, in a folder of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

DISTILL = Path(sys.executable).parent / "distill"


@dataclass
class Served:
    """A running `distill serve`, and its command line."""

    process: asyncio.subprocess.Process
    environment: dict[str, str]
    folder: Path
    banner: str = ""
    url: str = ""
    grpc: str = ""
    log: list[str] = field(default_factory=list)

    async def run(self, *arguments: str, code: int = 0) -> str:
        """Runs `distill …` in the same folder; returns what it printed."""
        process = await asyncio.create_subprocess_exec(
            DISTILL,
            *arguments,
            cwd=self.folder,
            env=self.environment | {"DISTILL_URL": self.url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == code, f"distill {arguments}: {out.decode()}{err.decode()}"
        return out.decode() + (err.decode() if code else "")

    async def json(self, *arguments: str) -> Any:
        """Runs `distill … --json`; returns the answer."""
        return json.loads(await self.run(*arguments, "--json"))

    def child(self, role: str) -> psutil.Process | None:
        """The living child process of a role, such as `worker`."""
        for child in psutil.Process(self.process.pid).children():
            if child.status() != psutil.STATUS_ZOMBIE and child.cmdline()[-1:] == [role]:
                return child
        return None


@asynccontextmanager
async def serve(folder: Path, **environment: str) -> AsyncIterator[Served]:
    """Starts `distill serve` on free ports and waits for its banner; stops it at the end."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("DISTILL_")} | {
        "DISTILL_DATA_DIR": str(folder / "data"),
        "DISTILL_HTTP_ADDRESS": "127.0.0.1:0",
        "DISTILL_GRPC_ADDRESS": "127.0.0.1:0",
        "DISTILL_PROCESSES": "1",
        **environment,
    }
    process = await asyncio.create_subprocess_exec(
        DISTILL,
        "serve",
        cwd=folder,
        env=own,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    served = Served(process, own, folder)

    async def read_log(stream: asyncio.StreamReader) -> None:
        async for line in stream:
            served.log.append(line.decode())

    reading = asyncio.create_task(read_log(process.stderr))
    try:
        async with asyncio.timeout(60):
            async for raw in process.stdout:
                served.banner += raw.decode()
                if "/content/recent" in served.banner:
                    break
        served.url = _find(r"REST\s+(\S+)", served)
        served.grpc = _find(r"gRPC\s+(\S+)", served)
        yield served
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), 20)
            except TimeoutError:
                process.kill()
                await process.wait()
        await reading


def _find(pattern: str, served: Served) -> str:
    found = re.search(pattern, served.banner)
    assert found, f"no address in:\n{served.banner}\n{''.join(served.log[-20:])}"
    return found[1]

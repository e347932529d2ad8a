"""Puts load on an address: by wrk where it is installed, else by Python."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Tool = Literal["wrk", "python"]

CONNECTIONS = 32
_SCRIPT = Path(__file__).with_name("requests.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """What a round of load saw."""

    rate: float  # answers a second
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for: with a body, JSON in one line, by POST."""

    path: str
    token: str = ""
    body: str = ""

    @property
    def line(self) -> str:
        """As it stands in a file of requests."""
        method = "POST" if self.body else "GET"
        return f"{method}\t{self.path}\t{self.token}\t{self.body}\n"


class LoadError(RuntimeError):
    """An answer that was no 2xx, a broken connection, or no answer at all: no figure counts."""


def default_tool() -> Tool:
    """`wrk` where it is installed."""
    return "wrk" if shutil.which("wrk") else "python"


def write(path: Path, requests: Iterable[Request]) -> Path:
    """A file of these requests in random order, which nobody else may read: they hold tokens."""
    lines = [request.line for request in requests]
    random.shuffle(lines)
    path.touch(mode=0o600)
    path.write_text("".join(lines))
    return path


def put(
    tool: Tool,
    origin: str,
    requests: Path,
    *,
    seconds: float,
    connections: int = CONNECTIONS,
) -> Load:
    """Walks through the requests in a file, from a random one on; raises `LoadError`."""
    if tool == "wrk":
        duration = f"{max(1, round(seconds))}s"
        command = [
            "wrk",
            "-t1",
            "--timeout",
            "10s",
            f"-c{connections}",
            f"-d{duration}",
            "-s",
            str(_SCRIPT),
            origin,
        ]
    else:
        command = [sys.executable, "-m", "bench.load_client", origin]
        command += [str(connections), str(seconds)]
    seed = str(random.randrange(1 << 30))
    env = {"BENCH_REQUESTS": str(requests), "BENCH_SEED": seed}
    ended = subprocess.run(
        command,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    found = [line for line in ended.stdout.splitlines() if line.startswith("BENCH ")]
    if ended.returncode or not found:
        raise LoadError(f"{command[0]} ended with {ended.returncode}: {ended.stderr[-500:]}")
    seen = json.loads(found[-1].removeprefix("BENCH "))
    if seen["refused"] or seen["broken"] or not seen["requests"]:
        raise LoadError(
            f"{origin}, {requests.name}: of {seen['requests']} requests {seen['refused']} were "
            f"refused and {seen['broken']} broke"
        )
    return Load(seen["requests"] / seen["seconds"], seen["p50_ms"], seen["p99_ms"])

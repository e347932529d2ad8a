"""Puts load on an address: by wrk where it is installed, else by Python."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Tool = Literal["wrk", "python"]

CONNECTIONS = 32
_SCRIPT = Path(__file__).with_name("users.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """What a round of load saw."""

    rate: float  # answers a second
    p50_ms: float
    p99_ms: float


class LoadError(RuntimeError):
    """An answer that was no 2xx, a broken connection, or no answer at all: no figure counts."""


def default_tool() -> Tool:
    """`wrk` where it is installed."""
    return "wrk" if shutil.which("wrk") else "python"


def put(
    tool: Tool,
    origin: str,
    path: str,
    tokens: Path,
    *,
    seconds: float,
    connections: int = CONNECTIONS,
) -> Load:
    """Asks for `path` as random users whose tokens stand in a file; raises `LoadError`."""
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
        command = [sys.executable, "-m", "bench.load_client", origin + path]
        command += [str(connections), str(seconds)]
    seed = str(random.randrange(1 << 30))
    env = {"BENCH_TOKENS": str(tokens), "BENCH_PATH": path, "BENCH_SEED": seed}
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
            f"{origin}{path}: of {seen['requests']} requests {seen['refused']} were refused and "
            f"{seen['broken']} broke"
        )
    return Load(seen["requests"] / seen["seconds"], seen["p50_ms"], seen["p99_ms"])

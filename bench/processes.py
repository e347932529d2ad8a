"""Starts programs, waits until they answer, reads what they used, and ends them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil


class StartError(RuntimeError):
    """A program ended or did not answer; its log says why."""


@contextlib.contextmanager
def running(
    command: Sequence[str], *, env: Mapping[str, str], log: Path, cwd: Path
) -> Iterator[psutil.Process]:
    """Runs a program with its output in `log`; ends it, and all that it started, at the end."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **env},
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_answer(url: str, *, log: Path, process: psutil.Process, seconds: float = 60.0) -> None:
    """Waits until `url` answers 200; raises `StartError`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError),
            urllib.request.urlopen(url, timeout=5) as response,
        ):
            if response.status == 200:
                return
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.1)
    raise StartError(f"{url} did not answer; see {log}")


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def family(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """These processes and all that they started."""
    found: list[psutil.Process] = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [process, *process.children(recursive=True)]
    return found


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """The processor time that these and their descendants have used."""
    total = 0.0
    for process in family(processes):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total

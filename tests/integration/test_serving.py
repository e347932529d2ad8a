"""`distill serve` as a person runs it: a process of its own, signals, kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest


class Serving:
    """A `distill serve` in its own working directory."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.out, self.err = home / "out", home / "err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "distill_grpc", "serve"],
                cwd=home, env=own_environment() | settings, stdout=out, stderr=err,
            )  # fmt: skip

    def until_ready(self) -> dict[str, str]:
        """The banner's addresses, by their names."""

        def ready() -> bool:
            assert self.process.poll() is None, self.err.read_text()
            return "Three commands" in self.out.read_text()

        until(ready, 60)
        lines = [line.split() for line in self.out.read_text().splitlines()]
        return {line[0]: line[1] for line in lines if len(line) == 2}

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def health(url: str) -> str:
    with urllib.request.urlopen(f"{url}/health", timeout=10) as answer:
        return str(json.load(answer)["status"])


def refused(home: Path) -> tuple[int, str]:
    """How a `distill serve` ends that finds another one in its place."""
    done = subprocess.run(
        [sys.executable, "-m", "distill_grpc", "serve"],
        cwd=home, env=own_environment(), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


def own_environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DISTILL_")}
    return kept | {
        "DISTILL_HTTP_ADDRESS": "127.0.0.1:0",
        "DISTILL_GRPC_ADDRESS": "127.0.0.1:0",
        "DISTILL_PROCESSES": "2",
    }


def postmaster(home: Path) -> int:
    return int((home / ".distill/postgres/cluster/postmaster.pid").read_text().split()[0])


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    started: list[Serving] = []

    def start(**settings: str) -> Serving:
        started.append(Serving(tmp_path, **settings))
        return started[-1]

    yield start
    for serving in started:
        if serving.process.poll() is None:
            serving.end()


def test_everything_starts_survives_kills_and_stops(
    serve: Callable[..., Serving], tmp_path: Path
) -> None:
    serving = serve()
    url = serving.until_ready()["REST"]
    assert health(url) == "healthy"
    assert len(serving.children()) == 3
    assert "eyJ" not in serving.out.read_text()  # what is no terminal may be a log

    second = refused(tmp_path)
    assert second == (
        1,
        f"distill: another `distill serve` runs in this data directory (pid {serving.process.pid})\n",
    )

    os.kill(postmaster(tmp_path), signal.SIGKILL)
    serving.children()[0].kill()

    def recovered() -> bool:
        try:
            return health(url) == "healthy" and len(serving.children()) == 3
        except OSError:
            return False

    until(lambda: "database_started_again" in serving.err.read_text())
    until(recovered)

    # `timeout` and others signal the process and its group: the same wish, received twice.
    pids = [postmaster(tmp_path), *(child.pid for child in serving.children())]
    serving.process.send_signal(signal.SIGTERM)
    assert serving.end() == 0, serving.err.read_text()
    assert not any(alive(pid) for pid in pids)
    assert not [p for p in (tmp_path / ".distill/run").iterdir() if p.name.isdigit()]


def test_a_killed_supervisor_leaves_nothing_that_the_next_start_cannot_use(
    serve: Callable[..., Serving], tmp_path: Path
) -> None:
    serving = serve(DISTILL_PROCESSES="1")
    http = serving.until_ready()["REST"].removeprefix("http://")
    pids = [child.pid for child in serving.children()]
    database = postmaster(tmp_path)
    serving.process.kill()
    serving.process.wait()
    until(lambda: not any(alive(pid) for pid in pids))
    assert alive(database)

    again = serve(DISTILL_HTTP_ADDRESS=http, DISTILL_PROCESSES="1")
    assert health(again.until_ready()["REST"]) == "healthy"
    assert postmaster(tmp_path) == database
    assert again.end() == 0
    assert not alive(database)


def test_a_taken_port_is_refused_in_one_line(serve: Callable[..., Serving], tmp_path: Path) -> None:
    import socket

    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        serving = serve(DISTILL_HTTP_ADDRESS=f"127.0.0.1:{other.getsockname()[1]}")
        assert serving.process.wait(20) == 1
    assert "taken by another program" in serving.err.read_text()
    assert serving.err.read_text().count("\n") == 1
    assert not (tmp_path / ".distill").exists()

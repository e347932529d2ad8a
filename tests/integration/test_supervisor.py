"""The supervisor, with small real children."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from distill_grpc.cli.supervisor import Patience, Program, Supervisor

ROOT = Path(__file__).resolve().parents[2]
QUICK = Patience(ready=10, first_pause=0.05, longest_pause=0.1, steady=30, stop=10, attempts=3)
# A role that is ready at once and serves until it is asked to stop.
SERVES = """
    from distill_grpc.cli.supervised import run_role

    async def role(stop, ready):
        ready()
        note("ready")
        await stop.wait()
        note("stopped")

    run_role(role)
"""
# Ready, but deaf to SIGTERM.
DEAF = """
    import signal, time
    from distill_grpc.cli.supervised import Lifeline
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Lifeline.from_environment().ready()
    time.sleep(60)
"""


def child(folder: Path, name: str, code: str) -> Program:
    """A program that notes its pid, and more, in the folder."""
    head = f"""
        import os, pathlib, sys
        folder = pathlib.Path({str(folder)!r})
        def note(word):
            with (folder / {name!r}).open("a") as file:
                file.write(f"{{word}} {{os.getpid()}}\\n")
        note("began")
    """
    script = textwrap.dedent(head) + textwrap.dedent(code)
    return Program(name, (sys.executable, "-c", script))


def notes(folder: Path, name: str) -> list[str]:
    path = folder / name
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def pids(folder: Path, name: str) -> list[int]:
    return [
        int(line.split()[1])
        for line in (folder / name).read_text().splitlines()
        if line.startswith("began")
    ]


class Run:
    """A supervisor at work in this process."""

    def __init__(self, *programs: Program, patience: Patience = QUICK) -> None:
        self.stop, self.kill, self.ready = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.ended: list[int] = []
        self.task = asyncio.create_task(
            Supervisor(
                programs,
                environment=os.environ | {"PYTHONPATH": str(ROOT)},
                stop=self.stop,
                kill=self.kill,
                on_ready=self.ready.set,
                on_exit=self.ended.append,
                patience=patience,
            ).run()
        )

    async def end(self) -> str | None:
        self.stop.set()
        return await asyncio.wait_for(self.task, 20)


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_children_get_ready_and_stop_cleanly(tmp_path: Path) -> None:
    run = Run(child(tmp_path, "a", SERVES), child(tmp_path, "b", SERVES))
    await asyncio.wait_for(run.ready.wait(), 15)
    assert await run.end() is None
    assert notes(tmp_path, "a") == notes(tmp_path, "b") == ["began", "ready", "stopped"]


async def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    run = Run(child(tmp_path, "a", SERVES))
    await asyncio.wait_for(run.ready.wait(), 15)
    first = pids(tmp_path, "a")[0]
    os.kill(first, signal.SIGKILL)
    await until(lambda: len(pids(tmp_path, "a")) == 2)
    assert run.ended == [first]
    assert await run.end() is None


async def test_a_child_that_never_gets_ready_stops_everything(tmp_path: Path) -> None:
    run = Run(child(tmp_path, "good", SERVES), child(tmp_path, "bad", "sys.exit(1)"))
    told = await asyncio.wait_for(run.task, 20)
    assert told is not None
    assert "the bad did not get ready 3 times (exit code 1 at last)" in told
    assert len(pids(tmp_path, "bad")) == 3
    assert not any(alive(pid) for pid in pids(tmp_path, "good"))


async def test_a_child_that_was_asked_for_wrongly_is_not_tried_again(tmp_path: Path) -> None:
    run = Run(child(tmp_path, "bad", "sys.exit(2)"))
    told = await asyncio.wait_for(run.task, 20)
    assert told is not None
    assert "cannot run" in told
    assert len(pids(tmp_path, "bad")) == 1


async def test_a_child_that_hangs_before_it_is_ready_counts_as_failed(tmp_path: Path) -> None:
    patience = Patience(ready=0.5, first_pause=0.05, attempts=2, stop=5)
    run = Run(child(tmp_path, "slow", "import time; time.sleep(60)"), patience=patience)
    told = await asyncio.wait_for(run.task, 20)
    assert told is not None
    assert "did not get ready 2 times (killed by SIGTERM" in told


async def test_a_child_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    run = Run(child(tmp_path, "deaf", DEAF), patience=Patience(stop=0.5))
    await asyncio.wait_for(run.ready.wait(), 15)
    told = await run.end()
    assert told is not None
    assert "was killed" in told
    assert not alive(pids(tmp_path, "deaf")[0])


async def test_the_second_signal_does_not_wait(tmp_path: Path) -> None:
    run = Run(child(tmp_path, "deaf", DEAF), patience=Patience(stop=60))
    await asyncio.wait_for(run.ready.wait(), 15)
    run.stop.set()
    run.kill.set()
    await asyncio.wait_for(run.task, 10)
    assert not alive(pids(tmp_path, "deaf")[0])


async def test_a_stop_during_the_start_is_obeyed(tmp_path: Path) -> None:
    run = Run(child(tmp_path, "slow", "import time; time.sleep(60)"))
    await until(lambda: notes(tmp_path, "slow") == ["began"])
    assert await run.end() is None
    assert not alive(pids(tmp_path, "slow")[0])


async def test_children_end_by_themselves_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    program = child(tmp_path, "a", SERVES)
    code = f"""
        import asyncio, os
        from distill_grpc.cli.supervisor import Program, Supervisor
        supervisor = Supervisor(
            [Program("a", {tuple(program.command)!r})],
            environment=os.environ, stop=asyncio.Event(), kill=asyncio.Event(),
        )
        asyncio.run(supervisor.run())
    """
    parent = subprocess.Popen(  # noqa: ASYNC220 -- starting it takes no time
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT
    )
    await until(lambda: notes(tmp_path, "a") == ["began", "ready"])
    parent.kill()
    parent.wait()
    await until(lambda: notes(tmp_path, "a") == ["began", "ready", "stopped"])
    await until(lambda: not alive(pids(tmp_path, "a")[0]))

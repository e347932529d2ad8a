"""Children that parse: what goes wrong in one stays in it."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from distill_grpc.sources.sandbox import Sandbox, SandboxFailure

TARGET = "tests.unit.sources_rss.sandboxed:act"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    # Much longer than anything takes, even on a busy machine; what must overrun gets its own.
    made = Sandbox(TARGET, seconds=30)
    yield made
    await made.close()


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


async def test_documents_go_in_and_answers_come_out(sandbox: Sandbox) -> None:
    for size in (0, 1, 70_000, 15_000_000):
        assert (await sandbox.run({"do": "length"}, bytes(size)))["length"] == size


async def test_a_child_is_started_late_and_used_again(sandbox: Sandbox) -> None:
    before = children()
    first = await sandbox.run({"do": "length"}, b"")
    second = await sandbox.run({"do": "length"}, b"")
    assert first["pid"] == second["pid"]
    assert children() - before == {first["pid"]}


async def test_no_more_children_than_allowed(sandbox: Sandbox) -> None:
    before = children()
    answers = await asyncio.gather(*(sandbox.run({"do": "length"}, b"") for _ in range(20)))
    assert 1 <= len({answer["pid"] for answer in answers}) <= 2
    assert len(children() - before) <= 2


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("sleep", "timeout"),
        ("spin", "timeout"),
        ("eat", "error"),
        ("recurse", "error"),
        ("raise", "error"),
        ("exit", "died"),
        ("leave", "died"),
        ("shout", "too_large"),
        ("write", "error"),
    ],
)
async def test_a_bad_document_fails_alone(deed: str, reason: str, tmp_path: Path) -> None:
    sandbox = Sandbox(TARGET, seconds=2 if reason == "timeout" else 30)
    path = tmp_path / "written"
    started = time.monotonic()
    with pytest.raises(SandboxFailure) as failed:
        await sandbox.run({"do": deed, "path": str(path)}, b"x" * 1_000)
    assert failed.value.reason == reason
    assert time.monotonic() - started < 25
    assert (await sandbox.run({"do": "length"}, b"abc"))["length"] == 3
    await sandbox.close()
    assert not path.exists() or path.stat().st_size == 0


async def test_prints_do_not_get_between_the_frames(sandbox: Sandbox) -> None:
    assert await sandbox.run({"do": "print"}, b"") == "fine"
    assert (await sandbox.run({"do": "length"}, b"abc"))["length"] == 3


async def test_halves_of_characters_do_not_break_the_frames(sandbox: Sandbox) -> None:
    assert await sandbox.run({"do": "halves"}, b"") == "?"


async def test_a_child_sees_no_secrets(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_ENCRYPTION_KEYS", "secret")
    seen = await sandbox.run({"do": "environment"}, b"")
    assert not [name for name in seen if name.startswith("DISTILL")]


async def test_a_cancelled_call_leaves_no_child_behind(sandbox: Sandbox) -> None:
    before = children()
    call = asyncio.create_task(sandbox.run({"do": "sleep"}, b""))
    await asyncio.sleep(0.6)
    assert children() - before
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert children() == before
    assert (await sandbox.run({"do": "length"}, b"abc"))["length"] == 3


async def test_closing_ends_idle_and_busy_children() -> None:
    before = children()
    sandbox = Sandbox(TARGET)
    await sandbox.run({"do": "length"}, b"")
    busy = asyncio.create_task(sandbox.run({"do": "sleep"}, b""))
    await asyncio.sleep(0.1)
    await sandbox.close()
    await sandbox.close()
    with pytest.raises(SandboxFailure):
        await busy
    assert children() == before
    with pytest.raises(SandboxFailure):
        await sandbox.run({"do": "length"}, b"")


async def test_children_do_not_outlive_a_killed_parent() -> None:
    script = (
        "import asyncio, os, signal\n"
        "from distill_grpc.sources.sandbox import Sandbox\n"
        "async def main():\n"
        f"    sandbox = Sandbox({TARGET!r})\n"
        "    print((await sandbox.run({'do': 'length'}, b''))['pid'], flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = psutil.Process(int(await parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    for _ in range(100):
        if not child.is_running() or child.status() == psutil.STATUS_ZOMBIE:
            return
        await asyncio.sleep(0.05)
    pytest.fail("the child is still there")

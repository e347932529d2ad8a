from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from distill_grpc.ratelimit import LocalCallLimiter, window
from distill_grpc.ratelimit.local import SECOND

SPAN = 60 / 59  # seconds by which a call may be given back late


class Clock:
    def __init__(self, seconds: float = 1_000_000.0) -> None:
        self.seconds = seconds

    def __call__(self) -> int:
        return round(self.seconds * SECOND)


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def accepted(limiter: LocalCallLimiter, key: str, calls: int) -> int:
    return sum([(await limiter.hit(key)).allowed for _ in range(calls)])


async def test_a_burst_of_the_limit_passes_and_the_next_call_does_not(tmp_path: Path) -> None:
    for path in (None, tmp_path / "calls"):
        limiter = LocalCallLimiter(path, limit=100)
        for n in range(100):
            verdict = await limiter.hit("user_1")
            assert verdict.allowed
            assert verdict.remaining == 99 - n
            assert verdict.retry_after == 0
        verdict = await limiter.hit("user_1")
        assert not verdict.allowed
        assert verdict.remaining == 0
        assert 59 < verdict.retry_after <= 60 + SPAN + 0.01
        assert limiter.degraded is None
        await limiter.close()


async def test_users_do_not_use_up_each_others_calls() -> None:
    limiter = LocalCallLimiter(None, limit=3)
    for user in range(500):
        assert await accepted(limiter, f"user_{user}", 5) == 3
    await limiter.close()


async def test_each_call_comes_back_a_window_later(clock: Clock) -> None:
    limiter = LocalCallLimiter(None, limit=3, clock=clock)
    passed = []
    for pause in (0.0, 7.3, 20.0):
        clock.seconds += pause
        assert (await limiter.hit("u")).allowed
        passed.append(clock.seconds)
    for at in passed:
        for _ in range(3):  # refused calls do not count, so asking puts nothing off
            verdict = await limiter.hit("u")
            assert not verdict.allowed
        assert at + 60 < clock.seconds + verdict.retry_after <= at + 60 + SPAN + 0.01
        clock.seconds += verdict.retry_after - 0.01
        assert not (await limiter.hit("u")).allowed
        clock.seconds += 0.01
        assert (await limiter.hit("u")).allowed
    await limiter.close()


async def test_a_pause_is_at_least_a_second(clock: Clock) -> None:
    limiter = LocalCallLimiter(None, limit=1, clock=clock)
    await limiter.hit("u")
    clock.seconds += 60.0
    verdict = await limiter.hit("u")
    if not verdict.allowed:
        assert 1.0 <= verdict.retry_after <= 1.0 + SPAN
    await limiter.close()


@settings(max_examples=60, deadline=None)
@given(
    start=st.floats(0, 1e6),
    limit=st.integers(1, 7),
    pauses=st.lists(
        st.one_of(st.just(0.0), st.floats(0, 0.5), st.floats(0, 20), st.floats(55, 65)),
        max_size=60,
    ),
)
async def test_no_window_wherever_it_begins_holds_more_than_the_limit(
    start: float, limit: int, pauses: list[float]
) -> None:
    clock = Clock(start)
    limiter = LocalCallLimiter(None, limit=limit, clock=clock, slots=8)
    passed: deque[float] = deque()
    for pause in pauses:
        clock.seconds += pause
        verdict = await limiter.hit("u")
        recent = [at for at in passed if clock.seconds - at <= 60]
        surely_recent = [at for at in passed if clock.seconds - at <= 60 + SPAN + 1e-6]
        if verdict.allowed:
            assert len(recent) < limit
            passed.append(clock.seconds)
        else:
            assert len(surely_recent) >= limit  # no call is refused without a cause
            clock.seconds += verdict.retry_after
            assert (await limiter.hit("u")).allowed
            passed.append(clock.seconds)
    await limiter.close()


@pytest.mark.parametrize("width", [0.1, 1.0, 60.0, 3600.0, 86_400.0])
def test_fifty_nine_spans_cover_any_window(width: float) -> None:
    for unit in (SECOND, 1_000_000):
        assert window.span_length(width, unit) * 59 >= width * unit


async def test_a_full_table_forgets_who_was_idle_the_longest(clock: Clock) -> None:
    limiter = LocalCallLimiter(None, limit=1, slots=8, clock=clock)
    for n in range(8):
        clock.seconds += 2
        assert (await limiter.hit(f"u{n}")).allowed
    for n in range(8):
        assert not (await limiter.hit(f"u{n}")).allowed
    clock.seconds += 2
    assert not (await limiter.hit("u7")).allowed
    assert (await limiter.hit("newcomer")).allowed
    for _ in range(2):
        clock.seconds += 2
        assert not (await limiter.hit("newcomer")).allowed
    assert not (await limiter.hit("u7")).allowed
    await limiter.close()


async def test_slots_of_those_who_left_are_used_again(clock: Clock) -> None:
    limiter = LocalCallLimiter(None, limit=2, slots=64, clock=clock)
    for n in range(2000):
        clock.seconds += 3
        assert await accepted(limiter, f"u{n}", 3) == 2
    await limiter.close()


PROGRAM = """
import asyncio, pathlib, sys, time
from distill_grpc.ratelimit import LocalCallLimiter

async def main():
    limiter = LocalCallLimiter(pathlib.Path(sys.argv[1]), limit=100)
    print("ready", flush=True)
    sys.stdin.readline()
    for user in range(20):
        accepted = 0
        for call in range(200):
            accepted += (await limiter.hit(f"user_{user}")).allowed
            if call % 8 == 0:
                time.sleep(0.0001)  # lets the other one in
        print(accepted)
    await limiter.close()

asyncio.run(main())
"""


def start(program: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_accept_exactly_the_limit_together(tmp_path: Path) -> None:
    both = [start(PROGRAM, tmp_path / "calls") for _ in range(2)]
    for each in both:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in both:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    first, second = ([int(n) for n in each.communicate(timeout=60)[0].split()] for each in both)
    assert len(first) == 20
    assert [a + b for a, b in zip(first, second, strict=True)] == [100] * 20


DYING = """
import fcntl, os, pathlib, signal, sys
from distill_grpc.ratelimit import LocalCallLimiter
limiter = LocalCallLimiter(pathlib.Path(sys.argv[1]), limit=100)
assert limiter._lock.try_acquire()
os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_a_process_that_dies_with_the_lock_leaves_it_free(tmp_path: Path) -> None:
    limiter = LocalCallLimiter(tmp_path / "calls", limit=3)
    dead = start(DYING, tmp_path / "calls")
    dead.communicate(timeout=30)
    assert dead.returncode == -9
    with capture_logs() as logs:
        assert await accepted(limiter, "u", 5) == 3
    assert logs == []  # nobody had to wait for a stuck lock
    await limiter.close()


async def test_a_holder_that_was_stopped_does_not_stop_the_service(tmp_path: Path) -> None:
    limiter = LocalCallLimiter(tmp_path / "calls", limit=3)
    holder = os.open(tmp_path / "calls.lock", os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    started = time.monotonic()
    assert await accepted(limiter, "u", 2) == 2
    assert await accepted(limiter, "v", 100) == 3
    assert time.monotonic() - started < 3  # it is waited for once, not at every call
    os.close(holder)
    assert await accepted(limiter, "u", 3) == 1
    await limiter.close()


async def test_counts_survive_a_restart_of_the_service(tmp_path: Path) -> None:
    first = LocalCallLimiter(tmp_path / "calls", limit=3)
    assert await accepted(first, "u", 2) == 2
    await first.close()
    second = LocalCallLimiter(tmp_path / "calls", limit=3)
    assert await accepted(second, "u", 3) == 1
    await second.close()


async def test_a_restart_of_the_machine_starts_afresh(tmp_path: Path) -> None:
    before = LocalCallLimiter(tmp_path / "calls", limit=3, clock=Clock(9_000_000))
    assert await accepted(before, "u", 5) == 3
    await before.close()
    after = LocalCallLimiter(tmp_path / "calls", limit=3, clock=Clock(20))
    assert await accepted(after, "u", 5) == 3
    await after.close()


@pytest.mark.parametrize("damage", ["cut", "header", "text", "empty", "longer"])
async def test_a_torn_file_is_made_anew(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "calls"
    limiter = LocalCallLimiter(path, limit=3)
    await limiter.close()
    whole = path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(whole[:5000])
        case "header":
            path.write_bytes(bytes(8) + whole[8:])
        case "text":
            path.write_text("not a table")
        case "empty":
            path.write_bytes(b"")
        case "longer":
            path.write_bytes(whole + b"more")
    limiter = LocalCallLimiter(path, limit=3)
    assert await accepted(limiter, "u", 5) == 3
    assert path.stat().st_size == len(whole)
    await limiter.close()


async def test_garbage_in_the_slots_ages_away(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "calls"
    limiter = LocalCallLimiter(path, limit=3, slots=64, clock=clock)
    await limiter.hit("u")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(64 * 256))
    for _ in range(5):
        clock.seconds += 62
        await limiter.hit("u")
    clock.seconds += 62
    assert await accepted(limiter, "u", 5) == 3
    await limiter.close()


async def test_another_layout_gets_a_table_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "calls"
    old = LocalCallLimiter(path, limit=3, window=60)
    new = LocalCallLimiter(path, limit=3, window=30)
    assert await accepted(new, "u", 5) == 3
    assert await accepted(old, "u", 5) == 3  # still on its own map, unharmed
    await old.close()
    await new.close()


async def test_the_file_is_private_and_has_no_holes(tmp_path: Path) -> None:
    limiter = LocalCallLimiter(tmp_path / "calls", limit=3)
    status = (tmp_path / "calls").stat()
    assert status.st_mode & 0o777 == 0o600
    assert status.st_blocks * 512 >= status.st_size
    await limiter.close()


async def test_a_path_that_cannot_be_used_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        LocalCallLimiter(tmp_path / "missing" / "calls", limit=3)


@pytest.mark.parametrize(
    "numbers", [{"limit": 0}, {"limit": 2**32}, {"limit": 1, "window": 0}, {"limit": 1, "slots": 7}]
)
def test_numbers_out_of_range_are_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"must be|needed"):
        LocalCallLimiter(None, **numbers)


async def test_a_forked_child_counts_with_its_parent(tmp_path: Path) -> None:
    limiter = LocalCallLimiter(tmp_path / "calls", limit=50)
    program = f"""
import asyncio, os, pathlib
from distill_grpc.ratelimit import LocalCallLimiter
limiter = LocalCallLimiter(pathlib.Path({str(tmp_path / "calls")!r}), limit=50)
child = os.fork()
async def main():
    return sum([(await limiter.hit("u")).allowed for _ in range(40)])
accepted = asyncio.run(main())
if child == 0:
    os._exit(accepted)
print(accepted + os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    answer = start(program, tmp_path / "calls").communicate(timeout=30)[0]
    assert int(answer) == 50
    assert not (await limiter.hit("u")).allowed
    await limiter.close()


async def test_a_hit_costs_microseconds(tmp_path: Path) -> None:
    limiter = LocalCallLimiter(tmp_path / "calls", limit=100)
    costs = []
    for attempt in range(5):
        started = time.process_time()
        for n in range(1000):
            await limiter.hit(f"user_{attempt}_{n % 100}")
        costs.append((time.process_time() - started) / 1000)
    assert min(costs) < 60e-6  # some 10 measured; the margin is for busy machines
    await limiter.close()

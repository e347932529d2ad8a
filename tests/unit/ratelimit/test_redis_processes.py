"""Processes that share a limit in a real Redis: exact while it is there, bounded when it dies."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ratelimit.conftest import RedisServer

HAMMER = Path(__file__).with_name("hammer.py")
LIMIT = 500


@asynccontextmanager
async def hammers(
    number: int, server: RedisServer, folder: Path, *, key: str, calls: int
) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Processes of one machine that are about to begin."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            HAMMER,
            *(server.url, folder / "calls", str(LIMIT), key, str(calls)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(number)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        yield processes
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def go(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    await process.stdin.drain()


async def end(process: asyncio.subprocess.Process) -> Any:
    """Ends one that goes on, and reads what any of them tells."""
    assert process.stdin is not None
    process.stdin.close()
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return json.loads(out.splitlines()[-1])  # what is logged comes before


@pytest.mark.parametrize("number", [2, 4])
async def test_processes_accept_exactly_the_limit_together(
    redis_server: RedisServer, tmp_path: Path, number: int
) -> None:
    async with hammers(number, redis_server, tmp_path, key="u", calls=LIMIT) as processes:
        await asyncio.gather(*map(go, processes))
        told = await asyncio.gather(*map(end, processes))
    assert sum(one["accepted"] for one in told) == LIMIT
    assert [one["degraded"] for one in told] == [False] * number
    assert all(one["made"] == LIMIT for one in told)


async def test_each_user_has_a_limit_of_their_own_in_every_process(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async with (
        hammers(2, redis_server, tmp_path, key="a", calls=LIMIT) as of_a,
        hammers(2, redis_server, tmp_path, key="b", calls=LIMIT) as of_b,
    ):
        await asyncio.gather(*map(go, [*of_a, *of_b]))
        told_a = await asyncio.gather(*map(end, of_a))
        told_b = await asyncio.gather(*map(end, of_b))
    assert sum(one["accepted"] for one in told_a) == LIMIT
    assert sum(one["accepted"] for one in told_b) == LIMIT


async def test_a_redis_that_is_killed_in_the_middle_costs_no_call_and_at_most_one_more_limit(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async with hammers(2, redis_server, tmp_path, key="u", calls=-1) as processes:
        await asyncio.gather(*map(go, processes))
        await asyncio.sleep(0.2)
        redis_server.stop()
        await asyncio.sleep(1.0)
        told = await asyncio.gather(*map(end, processes))
    # Redis may have counted up to its limit; then the machine counts anew, its processes together.
    assert LIMIT <= sum(one["accepted"] for one in told) <= 2 * LIMIT
    assert all(one["degraded"] and one["now"] for one in told)
    assert all(one["slowest"] < 6.0 for one in told)  # none waits longer than its time for Redis
    assert all(one["made"] > LIMIT for one in told)  # and nobody waits for it


async def test_a_redis_that_comes_back_counts_for_all_again(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async with hammers(2, redis_server, tmp_path, key="u", calls=-1) as processes:
        await asyncio.gather(*map(go, processes))
        redis_server.stop()
        await asyncio.sleep(0.3)
        await redis_server.start()
        await asyncio.sleep(2.5)  # after a failure it is asked again in two seconds
        told = await asyncio.gather(*map(end, processes))
    assert all(one["degraded"] for one in told)
    assert [one["now"] for one in told] == [None, None]
    # Before, while away, and after with empty memory: each counted at most once over.
    assert sum(one["accepted"] for one in told) <= 3 * LIMIT

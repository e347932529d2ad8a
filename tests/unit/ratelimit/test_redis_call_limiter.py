"""Call counts in a real Redis, and what happens while it is away (that part needs no Redis)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio
from structlog.testing import capture_logs

from distill_grpc.ratelimit import LocalCallLimiter, RedisCallLimiter
from tests.unit.ratelimit.conftest import RedisServer


class Fleet:
    """Makes limiters, and closes them whatever becomes of the test."""

    def __init__(self) -> None:
        self.limiters: list[RedisCallLimiter] = []

    def join(self, url: str, **options: Any) -> RedisCallLimiter:
        # A busy machine must not look like an outage where none is meant.
        self.limiters.append(RedisCallLimiter(url, **{"timeout": 10.0, **options}))
        return self.limiters[-1]


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    fleet = Fleet()
    yield fleet
    for limiter in fleet.limiters:
        await limiter.close()


async def accepted(limiter: RedisCallLimiter, key: str, calls: int) -> int:
    verdicts = await asyncio.gather(*(limiter.hit(key) for _ in range(calls)))
    return sum(verdict.allowed for verdict in verdicts)


async def test_machines_accept_exactly_the_limit_together(
    redis_server: RedisServer, fleet: Fleet
) -> None:
    three = [fleet.join(redis_server.url, limit=100) for _ in range(3)]
    counts = await asyncio.gather(*(accepted(each, "user_1", 80) for each in three))
    assert sum(counts) == 100
    assert await accepted(three[0], "user_2", 5) == 5
    assert [each.degraded for each in three] == [None] * 3


async def test_it_tells_what_remains_and_when_to_come_back(
    redis_server: RedisServer, fleet: Fleet
) -> None:
    limiter = fleet.join(redis_server.url, limit=3)
    assert [(await limiter.hit("u")).remaining for _ in range(3)] == [2, 1, 0]
    verdict = await limiter.hit("u")
    assert (verdict.allowed, verdict.remaining) == (False, 0)
    assert 59 < verdict.retry_after < 61.1


async def test_limits_of_different_names_do_not_meet(
    redis_server: RedisServer, fleet: Fleet
) -> None:
    for name in ("", "logins", "registrations"):
        limiter = fleet.join(redis_server.url, limit=1, name=name)
        assert (await limiter.hit("u")).allowed
        assert not (await limiter.hit("u")).allowed


async def test_after_the_named_pause_a_call_is_accepted(
    redis_server: RedisServer, fleet: Fleet
) -> None:
    limiter = fleet.join(redis_server.url, limit=2, window=1.5)
    passed: list[float] = []
    for _ in range(4):
        verdict = await limiter.hit("u")
        if verdict.allowed:
            passed.append(time.monotonic())
            await asyncio.sleep(0.3)
        else:
            await asyncio.sleep(verdict.retry_after)
            assert (await limiter.hit("u")).allowed
            passed.append(time.monotonic())
    assert all(later - first > 1.4 for first, later in zip(passed, passed[2:], strict=False))


async def test_what_is_stored_is_small_and_goes_by_itself(
    redis_server: RedisServer, fleet: Fleet
) -> None:
    limiter = fleet.join(redis_server.url, limit=50)
    await accepted(limiter, "user_1", 60)
    client = redis.asyncio.Redis.from_url(redis_server.url, decode_responses=True)
    assert await client.keys() == ["rate_limit:user_1"]
    assert 60 < await client.ttl("rate_limit:user_1") <= 63
    assert await client.object("encoding", "rate_limit:user_1") in {"listpack", "ziplist"}
    # Spans that are long past, or that a clock set back has put into the future, count no more.
    await client.delete("rate_limit:user_1")
    await client.hset("rate_limit:user_1", mapping={"1000": 50, "99999999999": 50})
    assert (await limiter.hit("user_1")).remaining == 49
    assert await client.hlen("rate_limit:user_1") == 1
    await client.aclose()


async def test_an_outage_and_a_return(redis_server: RedisServer, fleet: Fleet) -> None:
    now = 0.0
    limiter = fleet.join(redis_server.url, limit=5, clock=lambda: now)
    assert await accepted(limiter, "u", 3) == 3
    redis_server.stop()
    with capture_logs() as logs:
        assert await accepted(limiter, "u", 8) == 5  # counted on this machine alone
    assert limiter.degraded is not None
    assert [line["event"] for line in logs] == ["call_limit_redis_is_away"]
    await redis_server.start()
    assert not (await limiter.hit("u")).allowed  # not asked again yet
    now += 2.1
    assert (await limiter.hit("u")).allowed
    assert limiter.degraded is None


async def test_a_restarted_redis_learns_the_script_again(
    redis_server: RedisServer, fleet: Fleet
) -> None:
    limiter = fleet.join(redis_server.url, limit=5)
    await limiter.hit("u")
    client = redis.asyncio.Redis.from_url(redis_server.url)
    await client.script_flush()
    await client.aclose()
    assert (await limiter.hit("u")).remaining == 3
    assert limiter.degraded is None


@pytest.fixture
async def silent_port() -> AsyncIterator[int]:
    """Accepts connections and never answers."""
    connections = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.read()

    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in connections:
        writer.close()
    await server.wait_closed()


async def test_a_redis_that_hangs_costs_half_a_second_once(silent_port: int, fleet: Fleet) -> None:
    limiter = fleet.join(f"redis://127.0.0.1:{silent_port}", limit=5, timeout=0.5)
    started = time.monotonic()
    assert await accepted(limiter, "u", 50) == 5
    first = time.monotonic()
    assert 0.4 < first - started < 4
    assert await accepted(limiter, "v", 50) == 5
    assert time.monotonic() - first < 0.45
    assert limiter.degraded == "Redis cannot be reached: calls are counted per machine"


async def test_while_degraded_one_call_at_a_time_tries_again(
    silent_port: int, fleet: Fleet
) -> None:
    now = 0.0
    limiter = fleet.join(
        f"redis://127.0.0.1:{silent_port}", limit=100, timeout=0.5, clock=lambda: now
    )
    await limiter.hit("u")
    now += 2.1
    trying = asyncio.create_task(limiter.hit("u"))
    await asyncio.sleep(0.01)
    started = time.monotonic()
    assert await accepted(limiter, "u", 20) == 20
    assert time.monotonic() - started < 0.45
    assert (await trying).allowed


async def test_a_closed_port_and_a_given_fallback(unused_port: int, fleet: Fleet) -> None:
    fallback = LocalCallLimiter(None, limit=2)
    limiter = fleet.join(f"redis://:SEKRET@127.0.0.1:{unused_port}/3", limit=5, fallback=fallback)
    with capture_logs() as logs:
        assert await accepted(limiter, "u", 5) == 2
    assert "SEKRET" not in str(logs)
    assert "SEKRET" not in str(limiter.degraded)


async def test_another_service_on_the_port_is_an_outage(unused_port: int, fleet: Fleet) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.test ESMTP\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", unused_port)
    limiter = fleet.join(f"redis://127.0.0.1:{unused_port}", limit=3)
    assert await accepted(limiter, "u", 5) == 3
    assert limiter.degraded is not None
    server.close()
    await server.wait_closed()


def test_a_wrong_address_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="Redis URL"):
        RedisCallLimiter("http://127.0.0.1", limit=1)

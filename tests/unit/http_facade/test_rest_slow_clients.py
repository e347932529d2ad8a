"""Clients that are slow, silent or many: each is cut off in time, and the others do not notice."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from structlog.testing import capture_logs

from distill_grpc.proto.distill.v1.content_service_pb2 import ListRecentResponse
from tests.unit.http_facade.rest_door import Door, opened

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

HEAD = (
    b"POST /watch HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n"
)
MANY = 1000


async def connect(door: Door) -> Connection:
    return await asyncio.open_connection("127.0.0.1", door.port)


async def drip(connection: Connection, begin: bytes, drop: bytes, every: float) -> bytes:
    """Sends a drop at a time until the door has had enough; the first line of what it said."""
    reader, writer = connection
    reading = asyncio.create_task(reader.readline())
    writer.write(begin)
    with suppress(ConnectionError):
        while not reading.done():
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(every)
    try:
        return await reading
    except ConnectionError:
        return b""
    finally:
        writer.close()


@asynccontextmanager
async def connections(door: Door, number: int) -> AsyncIterator[list[Connection]]:
    """So many open connections."""
    made = [await connect(door) for _ in range(number)]
    try:
        yield made
    finally:
        for _, writer in made:
            writer.transport.abort()


async def answered(door: Door, number: int = 50) -> float:
    """Asks as an ordinary client, again and again; the slowest answer in seconds."""
    slowest = 0.0
    for _ in range(number):
        began = time.monotonic()
        assert (await door.ask("GET", "/api")).status == 200
        slowest = max(slowest, time.monotonic() - began)
    return slowest


async def in_time(work: Callable[[], Awaitable[bytes]], seconds: float) -> bytes:
    async with asyncio.timeout(seconds):
        return await work()


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        (b"", b"G"),
        (b"GET /", b"a"),
        (b"GET /api HTTP/1.1\r\nHost: a\r\n", b"X: y\r\n"),
        (b"GET /api HTTP/1.1\r\nHost: a\r\nX: ", b"y"),
    ],
    ids=["method", "address", "headers", "a header"],
)
async def test_a_request_that_drips_is_cut_off(begin: bytes, drop: bytes) -> None:
    async with opened(idle_timeout=0.5) as door:
        connection = await connect(door)
        await in_time(lambda: drip(connection, begin, drop, 0.05), 10)
        assert door.core.calls == []
        await answered(door, 1)


async def test_a_body_that_drips_is_cut_off() -> None:
    async with opened(body_timeout=0.5) as door:
        connection = await connect(door)
        said = await in_time(lambda: drip(connection, HEAD + b"\r\n", b" ", 0.05), 10)
        assert said.startswith(b"HTTP/1.1 400")
        assert door.core.calls == []


async def test_a_second_request_that_drips_is_cut_off_too() -> None:
    async with opened(idle_timeout=0.5) as door:
        reader, writer = await connect(door)
        writer.write(b"GET /api HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))
        begin = b"GET /api HTTP/1.1\r\n"
        said = await in_time(lambda: drip((reader, writer), begin, b"X: y\r\n", 0.05), 10)
        assert said == b""
        assert len(door.core.calls) == 1


async def test_a_client_that_does_not_take_its_answer_is_cut_off() -> None:
    async with opened(send_timeout=0.5) as door:
        large = ListRecentResponse()
        for _ in range(60):
            large.data.add(content="x" * 300_000)
        door.core.responds(large)
        reader, writer = await connect(door)
        writer.transport.pause_reading()
        writer.write(b"GET /content/recent HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(2)
        writer.transport.resume_reading()
        received = 0
        with suppress(ConnectionError):
            async with asyncio.timeout(10):
                while chunk := await reader.read(1 << 20):
                    received += len(chunk)
        assert received < 18_000_000  # it came too late for the rest
        writer.close()
        assert (await door.ask("GET", "/content/recent")).status == 200  # who reads, gets it whole


async def test_slow_clients_do_not_hold_up_the_others() -> None:
    async with opened() as door, connections(door, 300) as slow:
        for number, (_, writer) in enumerate(slow):
            writer.write((HEAD + b"\r\n{", b"GET /ap", b"GET /api HTTP/1.1\r\nHo")[number % 3])
        assert await answered(door) < 2.0


async def test_clients_that_go_away_in_the_middle_of_a_body_are_no_fault() -> None:
    with capture_logs() as logs:
        async with opened() as door, connections(door, 20) as leaving:
            for _, writer in leaving:
                writer.write(HEAD + b"\r\n{")
            await answered(door, 1)
            for _, writer in leaving:
                writer.transport.abort()
            await answered(door, 1)
    assert not [line for line in logs if line["log_level"] in {"error", "warning"}]
    assert {line["status"] for line in logs if line["event"] == "http_request"} == {200, 400}


async def test_a_thousand_idle_connections_do_not_hold_up_the_others() -> None:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < 2 * MANY + 200:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4 * MANY), most))
    async with opened(idle_timeout=60.0) as door, connections(door, MANY) as idle:
        for reader, writer in idle[: MANY // 2]:  # half of them have been served once
            writer.write(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert await answered(door) < 2.0


async def test_idle_connections_are_closed_in_time() -> None:
    async with opened(idle_timeout=0.5) as door, connections(door, 200) as idle:
        async with asyncio.timeout(10):
            for reader, _ in idle:
                assert await reader.read() == b""

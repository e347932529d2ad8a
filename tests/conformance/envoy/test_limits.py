"""What Envoy bounds by itself: connections, waiting, and cores that cannot be reached."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter

import grpc
from google.protobuf.message import Message

from distill_grpc.proto.distill.v1.content_service_pb2 import ListRecentResponse
from tests.conformance.envoy.scripted import Asked, Context, envoy_before, scripted
from tests.envoy_door import needs_envoy

pytestmark = needs_envoy

REQUEST = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"
# So long that no health check happens during a test.
NO_HEALTH_CHECKS = ("--health-interval", "3600")


async def well(_: bytes, __: Context) -> Message:
    return ListRecentResponse()


async def unavailable(_: bytes, context: Context) -> Message:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "a platform failed")
    raise AssertionError


async def connected(envoy: Asked) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = envoy.address.partition(":")
    return await asyncio.open_connection(host, int(port))


async def metric(envoy: Asked, name: str) -> int:
    found = re.search(
        rf"^{name}\{{.*\}} (\d+)$", (await envoy.ask("GET", "/metrics")).raw.decode(), re.MULTILINE
    )
    assert found, name
    return int(found[1])


async def test_there_are_no_more_connections_than_allowed() -> None:
    async with (
        scripted(well) as core,
        envoy_before(core.address, arguments=("--max-connections", "3")) as envoy,
    ):
        kept = []
        for _ in range(3):
            reader, writer = await connected(envoy)
            writer.write(REQUEST)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            kept.append(writer)
        reader, writer = await connected(envoy)
        writer.write(REQUEST)
        assert await _until_closed(reader) == b""
        kept.pop().close()
        async with asyncio.timeout(60):
            while not await _answered(envoy):
                await asyncio.sleep(0.05)
        for each in [*kept, writer]:
            each.close()


async def _until_closed(reader: asyncio.StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""


async def _answered(envoy: Asked) -> bool:
    reader, writer = await connected(envoy)
    try:
        writer.write(REQUEST)
        return (await reader.readline()).startswith(b"HTTP/1.1 200")
    except ConnectionError:
        return False
    finally:
        writer.close()


async def test_headers_that_do_not_arrive_are_not_waited_for() -> None:
    async with (
        scripted(well) as core,
        envoy_before(core.address, arguments=("--header-timeout", "0.5")) as envoy,
    ):
        reader, writer = await connected(envoy)
        writer.write(REQUEST[:-2])
        began = time.monotonic()
        answer = await _until_closed(reader)
        assert 0.3 < time.monotonic() - began < 8
        assert answer.startswith(b"HTTP/1.1 400 "), answer
        assert b'"error":"invalid_argument"' in answer
        assert b'"details":{"headers":"did not arrive within 0.5 seconds"}' in answer
        writer.close()


async def test_a_connection_that_nobody_uses_is_closed() -> None:
    async with (
        scripted(well) as core,
        envoy_before(core.address, arguments=("--idle-timeout", "0.5")) as envoy,
    ):
        reader, writer = await connected(envoy)
        writer.write(REQUEST)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        await _until_closed(reader)
        assert time.monotonic() - began < 8
        writer.close()


async def test_a_core_that_cannot_be_reached_is_left_out_before_its_health_is_asked() -> None:
    async with scripted(well) as stays:
        async with scripted(well) as goes:
            asked = envoy_before(stays.address, goes.address, arguments=NO_HEALTH_CHECKS)
            envoy = await asked.__aenter__()
        try:
            assert await metric(envoy, "envoy_cluster_outlier_detection_ejections_active") == 0
            replies = [await envoy.ask("GET", "/content/recent") for _ in range(60)]
            assert Counter(reply.status for reply in replies) == {200: 60}
            assert await metric(envoy, "envoy_cluster_outlier_detection_ejections_active") == 1
        finally:
            await asked.__aexit__(None, None, None)


async def test_a_core_that_says_that_a_platform_failed_is_not_left_out() -> None:
    async with scripted(unavailable) as one, scripted(unavailable) as other:
        async with envoy_before(one.address, other.address, arguments=NO_HEALTH_CHECKS) as envoy:
            replies = [await envoy.ask("POST", "/watch") for _ in range(30)]
            assert Counter(reply.status for reply in replies) == {503: 30}
            assert await metric(envoy, "envoy_cluster_outlier_detection_ejections_active") == 0
        assert len(one.seen) + len(other.seen) == 30
        assert min(len(one.seen), len(other.seen)) > 0

"""Several cores behind one Envoy; stopping a core, and stopping Envoy."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message

from distill_grpc import app
from distill_grpc.proto.distill.v1.content_service_pb2 import ListRecentResponse
from tests.conformance.envoy.scripted import Context, envoy_before, scripted
from tests.envoy_door import needs_envoy
from tests.service import start_service

pytestmark = needs_envoy

Json = Any


async def empty(_: bytes, __: Context) -> Message:
    return ListRecentResponse()


async def test_calls_are_spread_over_the_cores() -> None:
    async with scripted(empty) as one, scripted(empty) as other:
        async with envoy_before(one.address, other.address) as envoy:
            for _ in range(40):
                assert (await envoy.ask("GET", "/content/recent")).status == 200
        assert min(len(one.seen), len(other.seen)) > 5


async def test_a_core_that_is_gone_is_not_asked_again() -> None:
    async with scripted(empty) as stays:
        async with scripted(empty) as goes:
            asked = envoy_before(stays.address, goes.address)
            envoy = await asked.__aenter__()
            assert (await envoy.ask("GET", "/content/recent")).status == 200
        try:
            replies = [await envoy.ask("GET", "/content/recent") for _ in range(40)]
        finally:
            await asked.__aexit__(None, None, None)
    assert Counter(reply.status for reply in replies) == {200: 40}


async def test_a_core_stops_without_a_failed_call(database_url: str, tmp_path: Path) -> None:
    async with start_service(database_url, tmp_path, mock=True, worker=False) as service:
        failures: list[Json] = []
        stop = asyncio.Event()
        async with app.core(service.settings) as pipeline:
            async with app.grpc_server(service.settings, pipeline) as port:
                asked = envoy_before(service.grpc_address, f"127.0.0.1:{port}")
                envoy = await asked.__aenter__()

                async def keep_asking() -> None:
                    while not stop.is_set():
                        reply = await envoy.ask("GET", "/api")
                        if reply.status != 200:
                            failures.append(reply)

                asking = [asyncio.create_task(keep_asking()) for _ in range(4)]
                await asyncio.sleep(0.5)
            await asyncio.sleep(0.5)
        stop.set()
        await asyncio.gather(*asking)
        await asked.__aexit__(None, None, None)
    assert failures == [], "".join(envoy.envoy.log[-5000:])


async def test_envoy_stops_when_the_calls_in_flight_are_done() -> None:
    began = asyncio.Event()

    async def slow(_: bytes, __: Context) -> Message:
        began.set()
        await asyncio.sleep(1.5)
        return ListRecentResponse()

    async with scripted(slow) as core, envoy_before(core.address) as envoy:
        calls = [asyncio.create_task(envoy.ask("GET", "/content/recent")) for _ in range(3)]
        await began.wait()
        os.kill(envoy.envoy.pid, signal.SIGTERM)
        assert [reply.status for reply in await asyncio.gather(*calls)] == [200] * 3


async def test_envoy_is_healthy_by_the_cores_word() -> None:
    async with (
        scripted(empty) as core,
        envoy_before(core.address) as envoy,
        grpc.aio.insecure_channel(envoy.address) as channel,
    ):
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check", lambda raw: raw, lambda raw: raw
        )
        assert await check(b"") == b"\x08\x01"

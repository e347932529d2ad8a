"""Cores and facades that are told to stop: they say so, serve on for a while, and lose no call."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from distill_grpc import app
from distill_grpc.proto import contract
from distill_grpc.rpc.local import LocalTransport
from distill_grpc.rpc.pipeline import Pipeline
from distill_grpc.settings import Settings, load
from http_facade.remote import RemoteTransport

API = contract.rpc("/distill.v1.DiscoveryService/GetApi")
DRAIN = 1.0
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

Ask = Callable[[], Awaitable[object]]


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return load(
        _env_file=None,
        database_url=database_url,
        data_dir=tmp_path,
        http_address="127.0.0.1:0",
        grpc_address="127.0.0.1:0",
        mock=True,
        api_calls_per_minute=100_000,
    )


@pytest.fixture
async def pipeline(settings: Settings) -> AsyncIterator[Pipeline]:
    async with app.core(settings) as made:
        yield made


@asynccontextmanager
async def asking(ask: Ask, *, clients: int = 4) -> AsyncIterator[Counter[str]]:
    """Clients that ask one thing after the other; counts what came of it."""
    outcomes: Counter[str] = Counter()
    stop = asyncio.Event()

    async def keep_asking() -> None:
        while not stop.is_set():
            outcomes[str(await ask())] += 1
            await asyncio.sleep(0.002)

    asked = [asyncio.create_task(keep_asking()) for _ in range(clients)]
    await asyncio.sleep(0.3)
    try:
        yield outcomes
        await asyncio.sleep(0.3)
    finally:
        stop.set()
        await asyncio.gather(*asked)


def by(transport: RemoteTransport) -> Ask:
    async def ask() -> object:
        outcome = await transport.call(API, API.request_class(), {}, 5.0)
        return outcome.status.message if outcome.status else "well"

    return ask


@pytest.mark.parametrize("drain", [0.0, DRAIN])
async def test_a_facade_loses_no_call_when_one_of_its_cores_stops(
    settings: Settings, pipeline: Pipeline, drain: float
) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(app.grpc_server(settings, pipeline))
        other = app.grpc_server(settings, pipeline, drain=drain)
        addresses = [f"127.0.0.1:{one}", f"127.0.0.1:{await other.__aenter__()}"]
        transport = RemoteTransport(*addresses)
        stack.push_async_callback(transport.close)
        async with asking(by(transport)) as outcomes:
            await other.__aexit__(None, None, None)
    assert set(outcomes) == {"well"}
    assert outcomes["well"] > 20


async def test_a_core_that_came_back_is_called_again(
    settings: Settings, pipeline: Pipeline
) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(app.grpc_server(settings, pipeline))
        async with app.grpc_server(settings, pipeline) as other:
            transport = RemoteTransport(f"127.0.0.1:{one}", f"127.0.0.1:{other}")
            stack.push_async_callback(transport.close)
            await asyncio.gather(*(by(transport)() for _ in range(8)))
        again = settings.model_copy(update={"grpc_address": f"127.0.0.1:{other}"})
        async with app.grpc_server(again, pipeline), asking(by(transport)) as outcomes:
            async with asyncio.timeout(10):
                while not _both_serve(transport):
                    await asyncio.sleep(0.05)
    assert set(outcomes) == {"well"}


def _both_serve(transport: RemoteTransport) -> bool:
    cores = transport._cores
    ready = grpc.ChannelConnectivity.READY
    return all(cores[number].get_state() is ready for number in range(len(cores)))


async def test_a_core_says_first_that_it_stops_and_serves_on(
    settings: Settings, pipeline: Pipeline
) -> None:
    server = app.grpc_server(settings, pipeline, drain=DRAIN)
    port = await server.__aenter__()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        get_api = channel.unary_unary(API.full_name, lambda raw: raw, lambda raw: raw)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
        began = time.monotonic()
        stopping = asyncio.create_task(server.__aexit__(None, None, None))
        await asyncio.sleep(0.1)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as newcomer:
            told = await health_pb2_grpc.HealthStub(newcomer).Check(health_pb2.HealthCheckRequest())
            assert told.status == NOT_SERVING
        while time.monotonic() - began < DRAIN - 0.3:
            assert await get_api(b"")
        await stopping
        assert DRAIN <= time.monotonic() - began < DRAIN + 2


async def test_who_serves_nobody_stops_at_once(settings: Settings, pipeline: Pipeline) -> None:
    transport = LocalTransport(pipeline)
    async with asyncio.timeout(5):
        async with (
            app.grpc_server(settings, pipeline, drain=60),
            app.facade(settings, transport, drain=60),
        ):
            pass


async def test_a_facade_is_unhealthy_first_and_closes_its_connections_in_order(
    settings: Settings, pipeline: Pipeline
) -> None:
    door = app.facade(settings, LocalTransport(pipeline), drain=DRAIN)
    url = f"http://127.0.0.1:{await door.__aenter__()}"
    async with aiohttp.ClientSession() as session:

        async def ask(path: str) -> tuple[int, str | None, Any]:
            async with session.get(url + path) as answer:
                return answer.status, answer.headers.get("Connection"), await answer.json()

        status, connection, body = await ask("/health")
        assert (status, connection, body["status"]) == (200, None, "healthy")

        async def served() -> object:
            return (await ask("/api"))[0]

        async with asking(served) as outcomes:
            stopping = asyncio.create_task(door.__aexit__(None, None, None))
            await asyncio.sleep(0.1)
            status, connection, body = await ask("/health")
            assert (status, connection, body["status"]) == (503, "close", "unhealthy")
            assert body["degraded_parts"] == {"facade": "is stopping"}
            assert (await ask("/api"))[:2] == (200, "close")
        assert set(outcomes) == {"200"}
        await stopping
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask("/api")


async def test_a_facade_finishes_the_requests_that_it_began(
    settings: Settings, pipeline: Pipeline
) -> None:
    slow = _Slow(pipeline)
    door = app.facade(settings, slow)
    url = f"http://127.0.0.1:{await door.__aenter__()}"
    async with aiohttp.ClientSession() as session:
        asked = asyncio.create_task(session.get(f"{url}/api"))
        await slow.began.wait()
        await door.__aexit__(None, None, None)
        async with await asked as answer:
            assert answer.status == 200
            assert (await answer.json())["version"] == app.VERSION


class _Slow(LocalTransport):
    """Takes its time."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(pipeline)
        self.began = asyncio.Event()

    async def call(self, *arguments: Any, **named: Any) -> Any:
        self.began.set()
        await asyncio.sleep(0.5)
        return await super().call(*arguments, **named)

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from raw_server import PUBLIC, Names, Script, Server, public_or_test

from distill_grpc.sources.http import HttpClient

Serve = Callable[..., Awaitable[Server]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts servers: `await serve(script, hosts=…, port=…, tls=…)`."""
    servers: list[Server] = []

    async def start(
        script: Script,
        *,
        hosts: Sequence[str] = (PUBLIC,),
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> Server:
        server = Server(script, port)
        servers.append(server)
        await server.start(hosts, tls)
        return server

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
def names() -> Names:
    return Names()


Clients = Callable[..., HttpClient]


@pytest.fixture
async def clients(names: Names) -> AsyncIterator[Clients]:
    """Makes clients that see `PUBLIC` as a public address and everything else as it is."""
    made: list[HttpClient] = []

    def make(**options: object) -> HttpClient:
        given = {"resolver": names, "allowed": public_or_test, "timeout": 10.0, **options}
        made.append(HttpClient(allow_private_addresses=False, **given))  # type: ignore[arg-type]  # a test's options
        return made[-1]

    yield make
    for client in made:
        await client.close()


@pytest.fixture
def client(clients: Clients) -> HttpClient:
    return clients()


@pytest.fixture(autouse=True)
async def _nothing_left_behind(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    for _ in range(50):
        left = {t for t in asyncio.all_tasks() - before if not t.done()}
        left.discard(asyncio.current_task())  # type: ignore[arg-type]  # never None inside a test
        if not left:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"tasks left behind: {left}")

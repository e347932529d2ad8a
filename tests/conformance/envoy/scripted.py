"""A core whose answers a test decides, and Envoy in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc
from google.protobuf.message import Message
from yarl import URL

from distill_grpc.proto import contract
from tests.envoy_door import EnvoyDoor
from tests.unit.http_facade.rest_door import Reply

Context = grpc.aio.ServicerContext[Any, Any]
Behave = Callable[[bytes, Context], Awaitable[Message]]
Stream = Callable[[bytes, Context], Awaitable[None]]
Seen = tuple[str, dict[str, str | bytes]]

_HEALTH = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}


@dataclass
class ScriptedCore(grpc.GenericRpcHandler):
    """Answers every call with `behave`, and remembers each one's name and metadata."""

    behave: Behave
    stream: Stream | None = None  # answers calls that stream
    seen: list[Seen] = field(default_factory=list)
    address: str = ""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        async def handle(data: bytes, context: Context) -> bytes:
            if details.method == _HEALTH:
                return _SERVING
            self.seen.append((details.method, dict(context.invocation_metadata() or ())))
            return (await self.behave(data, context)).SerializeToString()

        async def handle_stream(data: bytes, context: Context) -> None:
            assert self.stream is not None
            await self.stream(data, context)

        streams = details.method in {rpc.full_name for rpc in contract.rpcs() if rpc.streams}
        if streams:
            return grpc.unary_stream_rpc_method_handler(
                handle_stream, response_serializer=lambda event: event.SerializeToString()
            )
        return grpc.unary_unary_rpc_method_handler(handle)


@asynccontextmanager
async def scripted(
    behave: Behave, *, port: int = 0, stream: Stream | None = None
) -> AsyncIterator[ScriptedCore]:
    """A core on a port of its own."""
    core = ScriptedCore(behave, stream)
    server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers((core,))
    core.address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    await server.start()
    try:
        yield core
    finally:
        await server.stop(None)


@dataclass
class Asked:
    """Envoy, and a client of it."""

    envoy: EnvoyDoor
    url: str
    session: aiohttp.ClientSession

    @property
    def address(self) -> str:
        """`host:port`."""
        return self.url.removeprefix("http://")

    async def ask(self, method: str, path: str, **options: Any) -> Reply:
        """The answer to a request, read whole."""
        url = URL(self.url + path, encoded=True)
        options.setdefault("allow_redirects", False)
        async with self.session.request(method, url, **options) as response:
            return Reply(response.status, response.headers, await response.read())


@asynccontextmanager
async def envoy_before(*cores: str, arguments: tuple[str, ...] = ()) -> AsyncIterator[Asked]:
    """Envoy in front of these addresses."""
    envoy = EnvoyDoor(*cores, arguments=arguments)
    try:
        url = await envoy.url()
        async with aiohttp.ClientSession() as session:
            yield Asked(envoy, url, session)
    finally:
        await envoy.stop()

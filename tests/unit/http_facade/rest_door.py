"""A door on a real socket, in front of a transport whose answers the test decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from yarl import URL

from distill_grpc.proto.contract import Rpc
from http_facade.app import build_app
from http_facade.server import FacadeRunner, start
from http_facade.settings import FacadeSettings
from http_facade.transport import Outcome, Send


@dataclass(frozen=True)
class Call:
    """What the core was asked."""

    rpc: Rpc
    request: Message
    metadata: Mapping[str, str]
    timeout: float
    send: Send | None = None  # of an RPC that streams


Answer = Callable[[Call], Awaitable[Outcome]]


@dataclass
class FakeCore:
    """The other side of the seam: records calls and answers what it was told to."""

    calls: list[Call] = field(default_factory=list)
    answer: Answer | None = None
    closed: bool = False

    async def call(
        self, rpc: Rpc, request: Message, metadata: Mapping[str, str], timeout: float
    ) -> Outcome:
        call = Call(rpc, request, dict(metadata), timeout)
        self.calls.append(call)
        if self.answer is None:
            return Outcome(response=rpc.response_class())
        return await self.answer(call)

    async def stream(
        self,
        rpc: Rpc,
        request: Message,
        metadata: Mapping[str, str],
        timeout: float,
        send: Send,
    ) -> Outcome:
        call = Call(rpc, request, dict(metadata), timeout, send)
        self.calls.append(call)
        if self.answer is not None:
            return await self.answer(call)
        done = rpc.response_class()
        getattr(done, rpc.events[-1]).SetInParent()
        await send(done)
        return Outcome()

    async def close(self) -> None:
        self.closed = True

    def responds(self, response: Message, **metadata: str) -> None:
        told = {name.replace("_", "-"): value for name, value in metadata.items()}

        async def answer(_: Call) -> Outcome:
            return Outcome(response=response, metadata=told)

        self.answer = answer

    def fails(self, status: Status, **metadata: str) -> None:
        told = {name.replace("_", "-"): value for name, value in metadata.items()}

        async def answer(_: Call) -> Outcome:
            return Outcome(status=status, metadata=told)

        self.answer = answer

    @property
    def last(self) -> Call:
        return self.calls[-1]


@dataclass
class Reply:
    """An answer, read whole."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.raw)


@dataclass
class Door:
    """A served facade and a client of it."""

    core: FakeCore
    runner: FacadeRunner
    port: int
    session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, **options: Any) -> Reply:
        url = URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)
        options.setdefault("allow_redirects", False)
        async with self.session.request(method, url, **options) as response:
            return Reply(response.status, response.headers, await response.read())

    async def raw(self, data: bytes, *, wait: float = 5.0) -> bytes:
        """Writes bytes as they are and reads until the door closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            await writer.drain()
            async with asyncio.timeout(wait):
                return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def opened(core: Any = None, **changes: Any) -> AsyncIterator[Door]:
    """A door with these settings changed."""
    core = core or FakeCore()
    settings = FacadeSettings(
        **{"address": "127.0.0.1:0", "version": "9.9.9", "linger_timeout": 0.1, **changes}
    )
    runner = await start(build_app(core, settings), settings)
    try:
        async with aiohttp.ClientSession() as session:
            yield Door(core, runner, runner.addresses[0][1], session)
    finally:
        await runner.cleanup()

"""A real server on loopback that can misbehave byte by byte, and a name server to reach it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address

from distill_grpc.sources.addresses import Address, is_public


def _can_bind(host: str) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


# Plays the public internet: a loopback address that the tests' rule lets through. macOS has only
# 127.0.0.1 of its network, so there the other loopback plays it.
PUBLIC = "127.0.0.2" if _can_bind("127.0.0.2") else "::1"
# Where a canary listens: everything that must not be reached.
PRIVATE = [host for host in ("127.0.0.1", "::1") if host != PUBLIC and _can_bind(host)]

Script = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One request that came in, and the way to answer it."""

    def __init__(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.head = head
        self.method, self.path, _ = head.split("\r\n", 1)[0].split(" ", 2)
        self.headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])
        }
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes | str) -> None:
        self.writer.write(data.encode() if isinstance(data, str) else data)
        await self.writer.drain()
        await asyncio.sleep(0)  # drain alone lets nobody else run while the buffers have room

    async def hang(self) -> None:
        """Says nothing more until the client has gone."""
        await self.reader.read()

    async def answer(
        self, body: bytes | str = b"", *, status: str = "200 OK", headers: Sequence[str] = ()
    ) -> None:
        body = body.encode() if isinstance(body, str) else body
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        await self.send("\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body)

    async def redirect(self, location: str, status: int = 302) -> None:
        await self.answer(status=f"{status} Moved", headers=[f"Location: {location}"])


class Server:
    """Runs `script` for every request; keeps connections open unless the script closes them."""

    def __init__(self, script: Script, port: int) -> None:
        self.script = script
        self.requests: list[Exchange] = []
        self.connections = 0
        self.open = 0
        self.port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []

    def url(self, path: str = "/", host: str = PUBLIC, scheme: str = "http") -> str:
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}{path}"

    async def start(self, hosts: Sequence[str], tls: ssl.SSLContext | None) -> None:
        for host in hosts:
            server = await asyncio.start_server(self._connected, host, self.port, ssl=tls)
            self.port = server.sockets[0].getsockname()[1]
            self._servers.append(server)

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def quiet(self) -> None:
        """Returns when every connection is closed; fails where that takes too long."""
        for _ in range(200):
            if not self.open:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{self.open} connections are still open")

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip("\r\n")
                exchange = Exchange(head, reader, writer)
                self.requests.append(exchange)
                await self.script(exchange)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, or the test is over
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


class Names:
    """A name server: answers from its table, one entry of a list after the other."""

    def __init__(self) -> None:
        self.table: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []

    def set(self, name: str, *answers: list[str]) -> None:
        self.table[name] = list(answers)

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        answers = self.table.get(host)
        if answers is None:
            raise OSError("no such name")
        return answers.pop(0) if len(answers) > 1 else answers[0]


def public_or_test(address: Address) -> bool:
    return address == ip_address(PUBLIC) or is_public(address)

"""A name server on loopback, and a lookup that asks it: names whose addresses change as they are asked.

The server speaks DNS (RFC 1035) over UDP as far as A and AAAA go, with a time to live of zero.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from types import TracebackType

_A, _AAAA, _IN = 1, 28, 1
_HEADER = struct.Struct("!6H")
_ANSWER = struct.Struct("!HHHIH")
_NO_SUCH_NAME = 3


class DnsServer(asyncio.DatagramProtocol):
    """Answers from its table: of a name's entries one after the other, the last one for ever.

    An entry is a list of addresses of either family; it is used up by one question of each.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.address: tuple[str, int] = ("", 0)
        self._table: dict[str, list[Sequence[str]]] = {}
        self._transport: asyncio.DatagramTransport | None = None

    def set(self, name: str, *entries: Sequence[str]) -> None:
        """Gives a name its entries."""
        self._table[name] = list(entries)

    async def __aenter__(self) -> DnsServer:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", 0)
        )
        self.address = self._transport.get_extra_info("sockname")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answers one question."""
        name, kind, question = _read_question(data)
        entries = self._table.get(name, [])
        addresses: Sequence[str] = entries[0] if entries else ()
        if kind == _AAAA:  # asked for last
            self.asked.append(name)
            if len(entries) > 1:
                entries.pop(0)
        wanted = [ip_address(a) for a in addresses if (":" in a) == (kind == _AAAA)]
        code = 0 if entries else _NO_SUCH_NAME
        header = _HEADER.pack(int.from_bytes(data[:2], "big"), 0x8580 | code, 1, len(wanted), 0, 0)
        # 0xC00C points at the name of the question; the next number but two is the time to live.
        answers = b"".join(
            _ANSWER.pack(0xC00C, kind, _IN, 0, len(a.packed)) + a.packed for a in wanted
        )
        assert self._transport is not None
        self._transport.sendto(header + question + answers, addr)


class DnsLookup:
    """The `resolver` of an `HttpClient` that asks a server, and reads numbers as the system does."""

    def __init__(self, server: DnsServer, localhost: Sequence[str]) -> None:
        self._server = server
        self._localhost = localhost

    async def __call__(self, host: str) -> Sequence[str]:
        """The addresses of a host; OSError where it has none."""
        if host.rstrip(".").lower() == "localhost":
            return self._localhost
        with suppress(OSError, UnicodeError):
            infos = socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
            return [str(info[4][0]) for info in infos]
        found = [*await self._ask(host, _A), *await self._ask(host, _AAAA)]
        if not found:
            raise OSError("no such name")
        return found

    async def _ask(self, host: str, kind: int) -> list[str]:
        labels = host.rstrip(".").encode("ascii").split(b".")
        if not all(0 < len(label) < 64 for label in labels):
            raise OSError("not a name")
        name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
        number = secrets.randbelow(1 << 16)
        query = _HEADER.pack(number, 0x0100, 1, 0, 0, 0) + name + struct.pack("!2H", kind, _IN)
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            await loop.sock_connect(client, self._server.address)
            await loop.sock_sendall(client, query)
            async with asyncio.timeout(5):
                data = await loop.sock_recv(client, 4096)
        count = _HEADER.unpack_from(data)[3]
        at, found = len(query), []
        for _ in range(count):
            length = _ANSWER.unpack_from(data, at)[4]
            at += _ANSWER.size
            found.append(str(ip_address(data[at : at + length])))
            at += length
        return found


def _read_question(data: bytes) -> tuple[str, int, bytes]:
    """Name, type and the bytes of the first question."""
    at, labels = _HEADER.size, []
    while length := data[at]:
        labels.append(data[at + 1 : at + 1 + length].decode("ascii").lower())
        at += 1 + length
    (kind,) = struct.unpack_from("!H", data, at + 1)
    return ".".join(labels), kind, data[_HEADER.size : at + 5]

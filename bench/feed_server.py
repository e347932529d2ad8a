"""A web server of feeds that never change, made to cost as little as the machine allows.

Whoever names the validator gets a 304, everybody else a small feed with it. `/seen` tells how many
304s there were, and the seconds between the first and the last of them; asking begins a new count.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

_ETAG = b'"bench-1"'
_FEED = b"""<?xml version="1.0"?><rss version="2.0"><channel><title>Quiet</title>
<link>http://quiet.example/</link><description>Nothing new.</description>
<item><guid>1</guid><title>The only entry</title><description>It stays.</description></item>
</channel></rss>"""
_UNCHANGED = b"HTTP/1.1 304 Not Modified\r\nETag: " + _ETAG + b"\r\n\r\n"


class _Counts:
    unchanged = 0
    first = 0.0
    last = 0.0


class _Client(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head, self._data = self._data[:end], self._data[end + 4 :]
            self._transport.write(_answer(head))  # type: ignore[attr-defined]


def _answer(head: bytes) -> bytes:
    if head.startswith(b"GET /seen "):
        seen = {"unchanged": _Counts.unchanged, "seconds": _Counts.last - _Counts.first}
        _Counts.unchanged = 0
        return _whole(json.dumps(seen).encode(), b"application/json")
    if _ETAG in head:
        _Counts.last = time.monotonic()
        if not _Counts.unchanged:
            _Counts.first = _Counts.last
        _Counts.unchanged += 1
        return _UNCHANGED
    return _whole(_FEED, b"application/rss+xml", b"ETag: " + _ETAG + b"\r\n")


def _whole(body: bytes, kind: bytes, headers: bytes = b"") -> bytes:
    length = str(len(body)).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\nContent-Length: " + length
    return head + b"\r\n" + headers + b"\r\n" + body


async def main(port: int) -> None:
    """Serves on every address of this machine, so that each feed can have a host of its own."""
    server = await asyncio.get_running_loop().create_server(_Client, "0.0.0.0", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

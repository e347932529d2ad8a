"""Connections of `HttpClient`: pools by what they may connect to, and places at each host."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from distill_grpc.sources import addresses
from distill_grpc.sources.http_failures import failure

_HEADER_BYTES = 16 * 1024  # of one header; real security policies exceed aiohttp's own 8 KiB
_HEADERS = 128
CONNECT_TIMEOUT = 10.0  # seconds for name, connection and TLS together
_READ_BUFFER = 64 * 1024


class Sessions:
    """Pools of connections by what they may connect to, made late because they need the event loop.

    A connection of one is never used for the other.
    """

    def __init__(self) -> None:
        self._by_kind: dict[str, aiohttp.ClientSession] = {}
        self._closed = False

    def get(
        self,
        kind: str,
        lookup: addresses.Lookup,
        allowed: addresses.Rule,
        tls: ssl.SSLContext | None,
    ) -> aiohttp.ClientSession:
        """The pool of this kind."""
        if self._closed:
            raise RuntimeError("the HTTP client is closed")
        if kind not in self._by_kind:
            connector = aiohttp.TCPConnector(
                resolver=addresses.GuardedResolver(lookup, allowed),
                socket_factory=addresses.guarded_socket(allowed),
                use_dns_cache=False,  # the pool of open connections does what it would
                ssl=True if tls is None else tls,
            )
            self._by_kind[kind] = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # it would count bytes before decoding, if at all
                trust_env=False,
                read_bufsize=_READ_BUFFER,
                max_line_size=_HEADER_BYTES,
                max_field_size=_HEADER_BYTES,
                max_headers=_HEADERS,
            )
        return self._by_kind[kind]

    async def close(self) -> None:
        """Closes every connection."""
        self._closed = True
        for session in self._by_kind.values():
            await session.close()


class Places:
    """At most so many requests to one host at a time; keeps nothing of hosts not in use."""

    def __init__(self, per_host: int, patience: float) -> None:
        self._per_host = per_host
        self.patience = patience
        self._semaphores: dict[str, asyncio.Semaphore] = {}
        self._users: Counter[str] = Counter()

    @asynccontextmanager
    async def hold(self, host: str) -> AsyncIterator[None]:
        """Waits for a place at `host`. Raises `PlatformError` (`timeout`)."""
        places = self._semaphores.setdefault(host, asyncio.Semaphore(self._per_host))
        self._users[host] += 1
        try:
            try:
                async with asyncio.timeout(self.patience):
                    await places.acquire()
            except TimeoutError:
                raise failure("timeout") from None
            try:
                yield
            finally:
                places.release()
        finally:
            self._users[host] -= 1
            if not self._users[host]:
                del self._users[host], self._semaphores[host]

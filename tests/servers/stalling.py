"""How a server keeps those waiting who ask it: for any API, whatever it would answer."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Protocol

from aiohttp import web


class Stalling(Protocol):
    """A server with a request that it is at, and an event that ends every wait."""

    current: web.BaseRequest
    release: asyncio.Event


async def slow(server: Stalling, _body: Any) -> web.StreamResponse:
    """Answers when nobody waits any more."""
    await server.release.wait()
    return web.json_response({"error": {"message": "too late"}}, status=500)


async def breaking_off(server: Stalling, _body: Any) -> web.StreamResponse:
    """Goes away in the middle of its answer."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(server.current)
    await response.write(b'{"')
    assert server.current.transport is not None
    server.current.transport.close()
    return response


async def trickling(server: Stalling, _body: Any) -> web.StreamResponse:
    """Sends a byte now and then."""
    return await _without_end(server, b" ", 0.2)


async def flood(server: Stalling, _body: Any) -> web.StreamResponse:
    """Sends and sends."""
    return await _without_end(server, b" " * 1_000_000, 0)


async def _without_end(server: Stalling, piece: bytes, pause: float) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(server.current)
    with contextlib.suppress(ConnectionResetError):
        while not server.release.is_set():
            await response.write(piece)
            await asyncio.sleep(pause)
    return response

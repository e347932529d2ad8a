"""Runs the application on a socket, and lets it go without losing a request."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from http_facade.app import FACADE, Facade
from http_facade.settings import FacadeSettings

_log = structlog.get_logger()

_BACKLOG = 1024
_UNREADABLE = "This is not an HTTP request that can be read."
_LONG_LINE = "The address is too long."
_LAST_WORDS = 1.0  # seconds before the end of the grace, in which streams are told
_LARGE_HEADERS = "A header is too long, or there are too many."


async def start(
    app: web.Application,
    settings: FacadeSettings,
    *,
    reuse_port: bool = False,
    sock: socket.socket | None = None,
) -> FacadeRunner:
    """Serves `app` on `settings.address`, or on a socket that is bound already.

    `await runner.cleanup()` stops accepting, finishes the requests in flight within the grace and
    closes the transport; `await runner.drain()` before it makes clients go elsewhere. OSError where
    the address is taken.
    """
    host, port = settings.host_and_port()
    runner = FacadeRunner(app, settings)
    await runner.setup()
    site: web.BaseSite
    if sock is not None:
        site = web.SockSite(runner, sock, backlog=_BACKLOG)
    else:
        site = web.TCPSite(runner, host, port, backlog=_BACKLOG, reuse_port=reuse_port or None)
    try:
        await site.start()
    except BaseException:
        await runner.cleanup()
        raise
    return runner


class FacadeRunner(web.AppRunner):
    """An aiohttp runner whose connections answer unreadable requests in the seed's error body."""

    def __init__(self, app: web.Application, settings: FacadeSettings) -> None:
        super().__init__(app, shutdown_timeout=settings.grace)
        self._facade = app[FACADE]
        self._grace = settings.grace
        self._send_timeout = settings.send_timeout
        self._limits = {
            "max_line_size": settings.line_limit,
            "max_field_size": settings.header_limit,
            "max_headers": settings.header_count,
            "keepalive_timeout": settings.idle_timeout,
            "lingering_time": settings.linger_timeout,
            "auto_decompress": False,
            "access_log": None,
        }

    async def drain(self, seconds: float) -> None:
        """Serves on for so long, while `/health` is unhealthy and answers close their connections.

        Where nobody has asked for as long as that, there is nobody to wait for.
        """
        self._facade.stop()
        if seconds and self._facade.asked_within(seconds):
            _log.info("http_draining", seconds=seconds)
            await asyncio.sleep(seconds)

    async def cleanup(self) -> None:
        """Streams that are still open near the end of the grace are ended with a word to their clients."""
        patience = max(0.0, self._grace - _LAST_WORDS)
        ending = asyncio.get_running_loop().call_later(patience, self._facade.streams.stop)
        try:
            await super().cleanup()
        finally:
            ending.cancel()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(self._facade, made, self._limits, self._send_timeout)


class _Server(web.Server):
    """Hands requests to the facade directly: it routes by itself, for targets such as `*` too."""

    def __init__(
        self, facade: Facade, made: web.Server, limits: dict[str, Any], send_timeout: float
    ) -> None:
        super().__init__(facade.handle, request_factory=made.request_factory)
        self._facade = facade
        self._limits = limits
        self._send_timeout = send_timeout

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, self._facade, self._limits, self._send_timeout)


class _Connection(web.RequestHandler):
    """One client's connection."""

    __slots__ = ("_facade", "_limits", "_send_timeout")

    def __init__(
        self, server: _Server, facade: Facade, limits: dict[str, Any], send_timeout: float
    ) -> None:
        super().__init__(server, loop=server._loop, **limits)
        self._facade = facade
        self._limits = limits
        self._send_timeout = send_timeout

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called when the client has gone."""
        self._facade.streams.lost(self)
        super().connection_lost(exc)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Sends the answer; a client that does not take it in time is cut off."""
        try:
            async with asyncio.timeout(self._send_timeout):
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:
            _log.info("http_answer_not_taken", seconds=self._send_timeout)
            if self.transport is not None:
                self.transport.abort()
            return resp, True

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 -- aiohttp's, in words for its own pages
    ) -> web.StreamResponse:
        """Called for bytes that aiohttp's parser refuses; always closes the connection."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun already")
        _log.info("http_unreadable", status=status, error=type(exc).__name__ if exc else "")
        return self._facade.refuse_garbage(*self._why(exc))

    def _why(self, exc: BaseException | None) -> tuple[str, int]:
        """What is wrong with bytes that were refused, in words and as an HTTP status."""
        if isinstance(exc, LineTooLong) and exc.args[1] == self._limits["max_line_size"]:
            return _LONG_LINE, 414
        if isinstance(exc, LineTooLong) or "Too many headers" in str(exc):
            return _LARGE_HEADERS, 431
        return _UNREADABLE, 400

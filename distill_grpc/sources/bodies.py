"""Reads the body of an answer: decoded, no larger than wanted, no slower than bearable."""

from __future__ import annotations

import asyncio
import io

import aiohttp
import structlog

from distill_grpc.sources import decoding
from distill_grpc.sources.base import PlatformError
from distill_grpc.sources.http_failures import CAUSES, failure

_log = structlog.get_logger()

WINDOW = 5.0  # seconds over which the speed is judged
SLOWEST = 1024  # bytes a second, on the wire
ERROR_BYTES = 256 * 1024  # read of an answer of 400 and above: enough for its explanation


async def read(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """The decoded body, `limit` bytes at most. Raises `PlatformError` and the `CAUSES`.

    Of a status of 400 and above what can be read is returned, cut where it cannot: what a failing
    platform says in its headers must not be lost to the state of its error page.
    """
    # Closed, so that a failure that is kept somewhere does not keep the bytes through its traceback.
    with io.BytesIO() as content:
        if answer.status < 400:
            await _read_into(content, answer, limit)
            return content.getvalue()
        try:
            await _read_into(content, answer, min(limit, ERROR_BYTES))
        except (PlatformError, *CAUSES) as error:
            _log.debug("http_error_body_cut", status=answer.status, cause=type(error).__name__)
        return content.getvalue()


async def _read_into(content: io.BytesIO, answer: aiohttp.ClientResponse, limit: int) -> None:
    most_on_the_wire = limit + limit // 64 + 1024  # encoding adds a little to what does not shrink
    stream = _PacedReader(answer.content)
    decoder: decoding.Decoder | None = None
    on_the_wire = 0
    while data := await stream.read():
        if decoder is None:  # only now: an answer without a body may name any encoding
            decoder = decoding.decoder(answer.headers.getall("Content-Encoding", []))
        for piece in decoder.feed(data):
            room = limit - content.tell()
            content.write(piece[:room])
            if len(piece) > room:
                raise failure("too_large")
        on_the_wire += len(data)
        if on_the_wire > most_on_the_wire:
            raise failure("too_large")
    if decoder is not None:
        decoder.finish()


class _PacedReader:
    """Reads a stream that must deliver `SLOWEST` in every `WINDOW`."""

    def __init__(self, stream: aiohttp.StreamReader) -> None:
        self._stream = stream
        self._time = asyncio.get_running_loop().time
        self._received = 0
        self._window_ends = self._time() + WINDOW

    async def read(self) -> bytes:
        """What has come in, empty at the end. Raises `PlatformError` (`too_slow`)."""
        while True:
            if self._time() >= self._window_ends:
                if self._received < SLOWEST * WINDOW:
                    raise failure("too_slow")
                self._received = 0
                self._window_ends = self._time() + WINDOW
            try:
                async with asyncio.timeout_at(self._window_ends):
                    data = await self._stream.readany()
            except TimeoutError:
                continue
            self._received += len(data)
            return data

"""Streams of events on their way to a client, as server-sent events (the HTML standard, section 9.2).

Headers go out with the first event: what fails before it is an ordinary answer. After it an error is an event
`error` with the error's body, and a stream that ends without `done` or `error` was cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from aiohttp import web
from google.protobuf.message import Message

from distill_grpc.proto.contract import EVENT_STREAM
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from http_facade.errors import status_of
from http_facade.transcode import Endpoint
from http_facade.transport import Outcome, Send

# Proxies such as nginx hold answers back until they are whole, unless they are told not to.
HEADERS: Mapping[str, str] = {
    "Content-Type": f"{EVENT_STREAM}; charset=utf-8",
    "X-Accel-Buffering": "no",
}
_COMMENT = b":\n\n"
# What came of a stream that this door broke off: it stops, or nobody is there to read why (nginx: 499).
_STOPPING = Outcome(status=status_of(ErrorReason.UNAVAILABLE, retry_in=1.0))
_GONE = Outcome(status=status_of(ErrorReason.UNAVAILABLE), metadata={"x-http-code": "499"})

Interruption = Literal["client_gone", "not_taken", "stopping"]
Ask = Callable[[Send], Awaitable[Outcome]]


def frame(kind: str, data: bytes) -> bytes:
    """An event. `data` is JSON, in which no line ends."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


class EventStream:
    """The stream that answers one request."""

    def __init__(
        self,
        request: web.BaseRequest,
        endpoint: Endpoint,
        headers: Mapping[str, str],
        *,
        send_timeout: float,
        heartbeat: float,
    ) -> None:
        """Seconds: `send_timeout` for a client to take an event, `heartbeat` of silence until a comment."""
        self.response = web.StreamResponse(headers={**headers, **HEADERS})
        self.events = 0
        self.interrupted: Interruption | None = None
        self._request = request
        self._endpoint = endpoint
        self._send_timeout = send_timeout
        self._heartbeat = heartbeat
        self._work: asyncio.Future[Outcome] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._wrote = False  # since the last look at it

    @property
    def begun(self) -> bool:
        """True once the client was sent something."""
        return self.response.prepared

    async def run(self, ask: Ask) -> Outcome:
        """Hands on the events that `ask` sends; returns what came of it."""
        self._work = asyncio.ensure_future(ask(self._send))
        try:
            await asyncio.wait({self._work})
        finally:
            self._work.cancel()
            if self._beating is not None:
                self._beating.cancel()
            await asyncio.wait({task for task in (self._work, self._beating) if task is not None})
        if self._work.cancelled():
            return _STOPPING if self.interrupted == "stopping" else _GONE
        return self._work.result()

    def interrupt(self, why: Interruption) -> None:
        """Ends the work for this client."""
        if self.interrupted is None and self._work is not None and not self._work.done():
            self.interrupted = why
            self._work.cancel()

    async def end(self, error: bytes | None = None) -> None:
        """Says the error, where there is one, and that this is all."""
        if self.interrupted in {"client_gone", "not_taken"}:
            return
        try:
            async with asyncio.timeout(self._send_timeout):
                await self.response.prepare(self._request)  # where no event has
                if error is not None:
                    await self.response.write(frame("error", error))
                await self.response.write_eof()
        except TimeoutError:
            self.interrupted = "not_taken"
            self._cut_off()
        except ConnectionError:
            self.interrupted = "client_gone"

    async def _send(self, event: Message) -> None:
        await self._write(frame(*self._endpoint.event(event)))
        self.events += 1

    async def _write(self, data: bytes) -> None:
        self._wrote = True
        try:
            async with asyncio.timeout(self._send_timeout):
                if not self.begun:
                    await self.response.prepare(self._request)
                    self._beating = asyncio.create_task(self._beat())
                await self.response.write(data)
        except TimeoutError:
            self.interrupt("not_taken")
            self._cut_off()
        except ConnectionError:
            self.interrupt("client_gone")
        if self.interrupted:
            await asyncio.sleep(0)  # where the work itself writes, its cancellation comes here

    def _cut_off(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()

    async def _beat(self) -> None:
        """A comment after each silence: nobody on the way takes the connection for dead."""
        while not self.interrupted:
            self._wrote = False
            await asyncio.sleep(self._heartbeat)
            if not self._wrote:
                await self._write(_COMMENT)


class OpenStreams:
    """The streams that are being sent, by the connections that they go over."""

    def __init__(self) -> None:
        self._streams: dict[object, EventStream] = {}

    async def run(self, stream: EventStream, connection: object, ask: Ask) -> Outcome:
        """See `EventStream.run`; meanwhile the stream is open."""
        self._streams[connection] = stream
        try:
            return await stream.run(ask)
        finally:
            del self._streams[connection]

    def lost(self, connection: object) -> None:
        """Whoever was there has gone."""
        if (stream := self._streams.get(connection)) is not None:
            stream.interrupt("client_gone")

    def stop(self) -> None:
        """Ends them all, each with a word to its client."""
        for stream in list(self._streams.values()):
            stream.interrupt("stopping")

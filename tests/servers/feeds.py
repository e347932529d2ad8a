"""A web server for feeds: programmable by path, and it remembers what it was asked."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType

from aiohttp import web


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer. With an etag or a date, a request that names it gets a 304."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/xml"
    etag: str = ""
    last_modified: str = ""
    location: str = ""
    compressed: bool = False
    delay: float = 0.0  # seconds before the answer
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """A request that came in, and the status it got."""

    path: str
    headers: Mapping[str, str]
    status: int


class FeedServer:
    """Serves feeds on the loopback interface. Use it as `async with`."""

    def __init__(self) -> None:
        self.ledger: list[Asked] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._answers: dict[str, list[Answer]] = {}
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> FeedServer:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"http://127.0.0.1:{self._port}{path}"

    def serve(self, path: str, *answers: Answer) -> str:
        """From now on `path` gives these answers in turn, the last one for ever; its address."""
        self._answers[path] = list(answers)
        return self.url(path)

    def asked(self, path: str) -> list[Asked]:
        """The requests for a path so far."""
        return [asked for asked in self.ledger if asked.path == path]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            answers = self._answers.get(request.path_qs) or [Answer(status=404)]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            await asyncio.sleep(answer.delay)
            response = self._response(request, answer)
        finally:
            self.in_flight -= 1
        self.ledger.append(Asked(request.path_qs, request.headers, response.status))
        return response

    def _response(self, request: web.Request, answer: Answer) -> web.Response:
        headers = {"Content-Type": answer.content_type, **answer.headers}
        named = {"ETag": answer.etag, "Last-Modified": answer.last_modified}
        headers |= {name: value for name, value in named.items() if value}
        if answer.location:
            headers["Location"] = answer.location
        if answer.status == 200 and self._is_known(request, answer):
            headers.pop("Content-Type")
            return web.Response(status=304, headers=headers)
        body = answer.body
        if answer.compressed:
            body = gzip.compress(body)
            headers["Content-Encoding"] = "gzip"
        return web.Response(status=answer.status, body=body, headers=headers)

    @staticmethod
    def _is_known(request: web.Request, answer: Answer) -> bool:
        if answer.etag:
            return request.headers.get("If-None-Match") == answer.etag
        known = request.headers.get("If-Modified-Since")
        return bool(answer.last_modified) and known == answer.last_modified

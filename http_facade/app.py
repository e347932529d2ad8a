"""The REST door as one handler: every request goes through `Facade.handle`, top to bottom."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeAlias
from urllib.parse import urlsplit

import orjson
import structlog
from aiohttp import web
from google.protobuf.message import Message
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status
from structlog.contextvars import bind_contextvars, clear_contextvars

from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from http_facade import docs, errors, forwarded, metrics
from http_facade.answers import (
    REVALIDATED,
    Answer,
    base_headers,
    compress,
    revalidate,
    to_response,
)
from http_facade.bodies import read_body
from http_facade.cors import Cors
from http_facade.errors import Refusal, status_of
from http_facade.health import Unhealthy, is_health
from http_facade.openapi import document
from http_facade.routes import Match, Route, RouteTable
from http_facade.settings import FacadeSettings
from http_facade.streams import EventStream, OpenStreams
from http_facade.transcode import Endpoint
from http_facade.transport import Outcome, Send, Transport

_log = structlog.get_logger()

Page = Callable[[], Awaitable[Answer]]
Target: TypeAlias = Endpoint | Page

_UNMATCHED = "unmatched"
_ALL_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_GRACE = 1.0  # seconds
_AWAY = frozenset({code_pb2.UNAVAILABLE, code_pb2.DEADLINE_EXCEEDED})


class Facade:
    """Answers HTTP requests by calling the core through a transport."""

    def __init__(self, transport: Transport, settings: FacadeSettings) -> None:
        """Raises `RouteError` or TypeError where the contract cannot be served."""
        self._transport = transport
        self._settings = settings
        self._cors = Cors(settings.cors_origins)
        self._unhealthy = Unhealthy(settings.version)
        self._stopping = False
        self.streams = OpenStreams()
        self._asked_at = float("-inf")
        rpcs = contract.rpcs()
        openapi = orjson.dumps(document(rpcs, settings))
        pages: dict[str, Page] = {
            "/": docs.redirect,
            "/docs": docs.page,
            "/openapi.json": _fixed(Answer(200, openapi, {"Cache-Control": REVALIDATED})),
            "/metrics": metrics.exposition,
        }
        routes: list[Route[Target]] = []
        routes += [Route(r.http_method, r.path, r.full_name, Endpoint(r)) for r in rpcs]
        routes += [Route("GET", path, path, page) for path, page in pages.items()]
        self._table = RouteTable(routes)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The response to any request; never raises but for cancellation."""
        began = time.perf_counter()
        self._asked_at = time.monotonic()
        request_id = forwarded.request_id(request.headers)
        clear_contextvars()
        bind_contextvars(request_id=request_id)
        with metrics.IN_FLIGHT.track_inprogress():
            route, answer = await self._routed(request, request_id)
            if isinstance(answer, EventStream):
                took = time.perf_counter() - began
                told = {"events": answer.events, "interrupted": answer.interrupted}
                self._record(request.method, route, 200, took, request_id, **told)
                return answer.response
            answer.headers = {**self._cors.headers(request.headers), **answer.headers}
            revalidate(answer, request.headers.get("If-None-Match", ""))
            accepted = request.headers.get("Accept-Encoding", "")
            if self._stopping:
                answer.headers["Connection"] = "close"
            await compress(answer, accepted, at_least=self._settings.compress_from)
            response = to_response(answer, request_id)
        self._record(request.method, route, answer.status, time.perf_counter() - began, request_id)
        return response

    def refuse_garbage(self, message: str, http_status: int) -> web.Response:
        """The response to bytes that are no HTTP request, or too many of them."""
        status = status_of(ErrorReason.INVALID_ARGUMENT, message)
        asked = {"x-http-code": str(http_status)}
        answer = self._error(status, "/", asked, headers={"Connection": "close"})
        request_id = forwarded.request_id({})
        self._record("", _UNMATCHED, answer.status, 0.0, request_id)
        return to_response(answer, request_id)

    def stop(self) -> None:
        """From now on `/health` is unhealthy, and every answer closes its connection."""
        self._stopping = True

    def asked_within(self, seconds: float) -> bool:
        """True where a request came within the last `seconds`."""
        return time.monotonic() - self._asked_at <= seconds

    async def close(self) -> None:
        """Lets go of the transport."""
        await self._transport.close()

    async def _routed(
        self, request: web.BaseRequest, request_id: str
    ) -> tuple[str, Answer | EventStream]:
        """The route's template, for logs and metrics, and the answer; a stream has been sent."""
        path, query = _target(request.raw_path)
        route = _UNMATCHED
        try:
            match = self._match(request.method, path)
            if match.route is None:
                return route, self._options(request, match)
            route = match.route.template
            target = match.route.target
            if not isinstance(target, Endpoint):
                return route, await target()
            if self._stopping and is_health(target.rpc):
                return route, Answer(503, target.reply(self._unhealthy.stopping())[0])
            metadata = forwarded.metadata(
                request.headers,
                request_id,
                rpc=target.rpc,
                peer=request.remote or "",
                simulate=self._settings.simulate,
            )
            if request.method == "HEAD":
                metadata["x-http-method"] = "HEAD"
            message = await self._message(request, target, match, query)
            return route, await self._call(request, target, message, metadata, path)
        except Refusal as refusal:
            return route, self._error(refusal.status, path, headers=refusal.headers)
        except Exception:
            _log.exception("http_request_failed", method=request.method, route=route)
            return route, self._error(status_of(ErrorReason.INTERNAL_ERROR), path)

    def _match(self, method: str, path: str) -> Match[Target]:
        """The match of a request; without a route only where it asks for its options."""
        if path == "*" and method == "OPTIONS":
            return Match(_ALL_METHODS, None, {})
        match = self._table.find(method, path)
        if match.route is None and method != "OPTIONS":
            raise Refusal(
                ErrorReason.METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(match.allowed)}
            )
        return match

    def _options(self, request: web.BaseRequest, match: Match[Target]) -> Answer:
        allow = {"Allow": ", ".join(match.allowed)}
        return Answer(
            204, headers={**allow, **self._cors.preflight(request.headers, match.allowed)}
        )

    async def _message(
        self, request: web.BaseRequest, endpoint: Endpoint, match: Match[Target], query: str
    ) -> Message:
        settings = self._settings
        body = await read_body(
            request,
            limit=settings.body_limit,
            timeout=settings.body_timeout,
            any_type=endpoint.rpc.takes_raw,
        )
        content_type = request.headers.get("Content-Type", "")
        return endpoint.request(match.variables, query, body, content_type)

    async def _call(
        self,
        request: web.BaseRequest,
        endpoint: Endpoint,
        message: Message,
        metadata: Mapping[str, str],
        path: str,
    ) -> Answer | EventStream:
        rpc = endpoint.rpc
        if rpc.streams:
            return await self._stream(request, endpoint, message, metadata, path)
        outcome = await self._ask(rpc, message, metadata)
        if outcome.status is not None:
            played = "x-distill-simulate" in metadata
            if is_health(rpc) and outcome.status.code in _AWAY and not played:
                away = self._unhealthy.core_away(outcome.status)
                return Answer(503, endpoint.reply(away)[0])
            return self._error(outcome.status, path, outcome.metadata)
        if outcome.response is None:
            raise RuntimeError(f"the transport answered {rpc.full_name} with nothing")
        status = errors.http_code(outcome.metadata)
        for_all = rpc.public and rpc.http_method == "GET" and not rpc.optional_token
        headers = {"Cache-Control": REVALIDATED} if for_all and status == 200 else {}
        body, content_type = endpoint.reply(outcome.response)
        return Answer(status, body, headers, content_type, changes=is_health(rpc))

    async def _stream(
        self,
        request: web.BaseRequest,
        endpoint: Endpoint,
        message: Message,
        metadata: Mapping[str, str],
        path: str,
    ) -> Answer | EventStream:
        settings = self._settings
        stream = EventStream(
            request,
            endpoint,
            base_headers(self._cors.headers(request.headers), metadata["x-request-id"]),
            send_timeout=settings.send_timeout,
            heartbeat=settings.heartbeat,
        )
        if self._stopping:
            stream.response.force_close()
        ask = partial(self._ask, endpoint.rpc, message, metadata)
        outcome = await self.streams.run(stream, request.protocol, ask)
        if outcome.status is None:
            await stream.end()
            return stream
        error = self._error(outcome.status, path, outcome.metadata)
        if not stream.begun:
            return error
        await stream.end(error.body)
        return stream

    async def _ask(
        self,
        rpc: contract.Rpc,
        message: Message,
        metadata: Mapping[str, str],
        send: Send | None = None,
    ) -> Outcome:
        deadline = self._settings.deadline if send is None else self._settings.stream_deadline
        try:
            # The transport keeps the deadline; this is for one that is stuck itself.
            async with asyncio.timeout(deadline + _GRACE):
                if send is not None:
                    return await self._transport.stream(rpc, message, metadata, deadline, send)
                return await self._transport.call(rpc, message, metadata, deadline)
        except TimeoutError:
            _log.error("transport_stuck", rpc=rpc.full_name, deadline=deadline)
            return Outcome(status=status_of(ErrorReason.DEADLINE_EXCEEDED))
        except Exception:
            _log.exception("transport_failed", rpc=rpc.full_name)
            return Outcome(status=status_of(ErrorReason.INTERNAL_ERROR))

    def _error(
        self,
        status: Status,
        path: str,
        metadata: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        answer = errors.render(status, metadata or {}, path=path)
        body = orjson.dumps(answer.body)
        return Answer(answer.http_status, body, {**answer.headers, **(headers or {})})

    def _record(
        self,
        method: str,
        route: str,
        status: int,
        seconds: float,
        request_id: str,
        **more: object,
    ) -> None:
        metrics.observe(route=route, method=method, status=status, seconds=seconds)
        _log.info(
            "http_request",
            method=method,
            route=route,
            status=status,
            ms=round(seconds * 1000, 2),
            request_id=request_id,
            **more,
        )


FACADE = web.AppKey("facade", Facade)


def build_app(transport: Transport, settings: FacadeSettings) -> web.Application:
    """The door as an aiohttp application; closes `transport` when it is cleaned up.

    Raises `RouteError` or TypeError where the contract cannot be served.
    """
    facade = Facade(transport, settings)
    app = web.Application(client_max_size=settings.body_limit)
    app[FACADE] = facade
    app.router.add_route("*", "/{path:.*}", facade.handle, expect_handler=_leave_it_to_the_facade)

    async def close(_: web.Application) -> None:
        await facade.close()

    app.on_cleanup.append(close)
    return app


async def _leave_it_to_the_facade(_: web.Request) -> None:
    """Expectations are met in `bodies.py`, once headers are accepted."""


def _fixed(answer: Answer) -> Page:
    async def page() -> Answer:
        return replace(answer, headers=dict(answer.headers))

    return page


def _target(raw: str) -> tuple[str, str]:
    """Path and query of a request target (RFC 9112, 3.2), both still percent-encoded."""
    if not raw.startswith("/") and raw != "*":
        try:
            parts = urlsplit(raw)
        except ValueError:
            return "/", ""
        return parts.path or "/", parts.query
    path, _, query = raw.partition("?")
    return path, query

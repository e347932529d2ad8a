"""The gRPC server: every service of the contract, health, and reflection where it is wanted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, TypeAlias

import grpc
import structlog
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.proto import contract
from distill_grpc.rpc.addresses import (
    FORWARDED_FOR,
    Network,
    client_address,
    forwarded,
    peer_address,
)
from distill_grpc.rpc.call import Call, CallFailed
from distill_grpc.rpc.pipeline import Pipeline
from distill_grpc.rpc.status import to_status
from distill_grpc.rpc.usage import Usage, WatchedHealth

log = structlog.get_logger()

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

MAX_MESSAGE = 4 * 1024 * 1024
# A call without a deadline of its own gets this one, in seconds; one that streams the other.
DEADLINE = 30.0
STREAM_DEADLINE = 300.0
# Seconds for a client to take an event, once the window that HTTP/2 gives it is full.
TAKEN = 60.0
# Seconds for news and the last answers to leave when the server stops.
FAREWELL = 0.2

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.max_concurrent_streams", 100),
    ("grpc.so_reuseport", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
)


class GrpcServer:
    """A core listening on an address."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        address: str,
        with_reflection: bool,
        trusted: Sequence[Network] = (),
    ) -> None:
        """`trusted` are doors and proxies, which tell whom they carry calls for."""
        self._server = grpc.aio.server(options=_OPTIONS)
        self._usage = Usage()
        self._health = WatchedHealth(self._usage)
        self._names = [service.full_name for service in contract.services()]
        for service in contract.services():
            handlers = {
                rpc.name: _handler(pipeline, rpc, self._usage, trusted)
                for rpc in contract.rpcs()
                if rpc.service is service and rpc.full_name in pipeline.full_names
            }
            generic = grpc.method_handlers_generic_handler(service.full_name, handlers)
            self._server.add_generic_rpc_handlers((generic,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if with_reflection:
            own = [reflection.SERVICE_NAME, health.SERVICE_NAME]
            reflection.enable_server_reflection([*self._names, *own], self._server)
        self.port = self._server.add_insecure_port(address)

    async def start(self) -> None:
        """Begins to answer, and reports itself as serving."""
        await self._server.start()
        await self._report(health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, *, drain: float = 0.0, grace: float = 10.0) -> None:
        """Says that it stops, serves on for `drain` seconds, then takes no more calls.

        Health checkers learn it at once, others by GOAWAY at the end of the drain; calls in flight
        then have `grace` seconds to finish. Where nobody has called for as long as the drain would
        take, there is nobody to wait for.
        """
        with contextlib.suppress(
            TimeoutError
        ):  # one that watches and does not read holds up nothing
            async with asyncio.timeout(FAREWELL):
                await self._report(health_pb2.HealthCheckResponse.NOT_SERVING)
        if drain and self._usage.within(drain):
            log.info("grpc_draining", seconds=drain)
            await asyncio.sleep(drain)
        stopping = asyncio.create_task(self._server.stop(grace))
        await self._usage.wait_for_none(grace)
        # What is left are clients that watch the health, and those would stay for ever.
        await self._server.stop(FAREWELL)
        await stopping

    async def _report(self, status: int) -> None:
        for name in ["", *self._names]:
            await self._health.set(name, status)


def _handler(
    pipeline: Pipeline, rpc: contract.Rpc, usage: Usage, trusted: Sequence[Network]
) -> grpc.RpcMethodHandler[Any, Any]:
    def called(context: Context) -> Call:
        metadata = _metadata(context.invocation_metadata() or ())
        chain = [*forwarded(metadata.get(FORWARDED_FOR)), peer_address(context.peer())]
        return Call(rpc, metadata, address=client_address(chain, trusted))

    async def handle(data: bytes, context: Context) -> Message:
        call = called(context)
        try:
            with usage:
                response = await _run(pipeline, call, data, context.time_remaining())
        except CallFailed as failed:
            await _abort(context, call, failed)
        await context.send_initial_metadata(tuple(call.response_metadata.items()))
        return response

    async def handle_stream(data: bytes, context: Context) -> None:
        call = called(context)
        call.send = _Events(context, call).send
        try:
            with usage:
                last = await _run(pipeline, call, data, context.time_remaining())
                await call.send(last)
        except CallFailed as failed:
            await _abort(context, call, failed)

    serialize = rpc.response_class.SerializeToString
    if rpc.streams:
        return grpc.unary_stream_rpc_method_handler(handle_stream, response_serializer=serialize)
    return grpc.unary_unary_rpc_method_handler(handle, response_serializer=serialize)


class _Events:
    """Sends the events of one call, the first of them after the metadata."""

    def __init__(self, context: Context, call: Call) -> None:
        self._context = context
        self._call = call
        self._begun = False

    async def send(self, event: Message) -> None:
        """Raises `CallFailed` where the client does not take it in time."""
        try:
            async with asyncio.timeout(TAKEN):
                if not self._begun:
                    self._begun = True
                    told = tuple(self._call.response_metadata.items())
                    await self._context.send_initial_metadata(told)
                await self._context.write(event)
        except TimeoutError:
            log.info("grpc_event_not_taken", seconds=TAKEN)
            raise CallFailed(_late()) from None


async def _abort(context: Context, call: Call, failed: CallFailed) -> NoReturn:
    context.set_trailing_metadata(
        (
            *call.response_metadata.items(),
            ("grpc-status-details-bin", failed.status.SerializeToString()),
        )
    )
    await context.abort(_code(failed.status.code), failed.status.message)


def _late() -> Status:
    return to_status(DistillError(ErrorReason.DEADLINE_EXCEEDED), now=clock.utc_now())


async def _run(pipeline: Pipeline, call: Call, data: bytes, remaining: float | None) -> Message:
    request = call.rpc.request_class()
    try:
        request.ParseFromString(data)
    except DecodeError:
        request.Clear()
        call.unreadable = True
    longest = STREAM_DEADLINE if call.rpc.streams else DEADLINE
    try:
        async with asyncio.timeout(longest if remaining is None else min(remaining, longest)):
            return await pipeline.run(call, request)
    except TimeoutError:
        raise CallFailed(_late()) from None


def _metadata(pairs: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """Text metadata by key. A key that comes twice is no key: nothing may hide behind another."""
    found: dict[str, str] = {}
    repeated: set[str] = set()
    for key, value in pairs:
        if isinstance(value, bytes):
            continue
        if key in found:
            repeated.add(key)
        found[key] = value
    return {key: value for key, value in found.items() if key not in repeated}


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _code(number: int) -> grpc.StatusCode:
    return _CODES.get(number, grpc.StatusCode.UNKNOWN)

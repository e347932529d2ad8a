"""The transport over the wire, against a real gRPC server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from distill_grpc.proto.distill.v1.watch_service_pb2 import WatchRequest, WatchResponse
from http_facade.errors import render, status_of
from http_facade.remote import RemoteTransport
from http_facade.transport import Outcome
from tests.unit.http_facade.rest_door import opened

WATCH = contract.rpc("/distill.v1.WatchService/Watch")
Context = grpc.aio.ServicerContext
Behaviour = Callable[[Message, Context], Awaitable[Message]]


@asynccontextmanager
async def core(behave: Behaviour, *, port: int = 0) -> AsyncIterator[int]:
    """A core with one service of one method; yields its port."""
    handler = grpc.unary_unary_rpc_method_handler(
        behave,
        request_deserializer=WatchRequest.FromString,
        response_serializer=WatchResponse.SerializeToString,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("distill.v1.WatchService", {"Watch": handler}),)
    )
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(None)


@asynccontextmanager
async def remote(port: int) -> AsyncIterator[RemoteTransport]:
    transport = RemoteTransport(f"127.0.0.1:{port}")
    try:
        yield transport
    finally:
        await transport.close()


async def call(transport: RemoteTransport, **metadata: str) -> Outcome:
    return await transport.call(WATCH, WatchRequest(), metadata, 5.0)


async def watching(_: Message, context: Context) -> Message:
    await context.send_initial_metadata((("x-http-code", "201"),))
    context.set_trailing_metadata((("x-later", "1"), ("x-raw-bin", b"\xff")))
    return WatchResponse(status=WatchResponse.watching)


async def test_a_response_comes_with_the_metadata_of_both_ends() -> None:
    async with core(watching) as port, remote(port) as transport:
        outcome = await call(transport)
    assert outcome.response == WatchResponse(status=WatchResponse.watching)
    assert outcome.status is None
    assert outcome.metadata["x-http-code"] == "201"
    assert outcome.metadata["x-later"] == "1"
    assert "x-raw-bin" not in outcome.metadata


async def test_request_metadata_and_deadline_arrive() -> None:
    seen: dict[str, Any] = {}

    async def look(_: Message, context: Context) -> Message:
        seen.update(context.invocation_metadata() or ())
        seen["remaining"] = context.time_remaining()
        return WatchResponse()

    async with core(look) as port, remote(port) as transport:
        await transport.call(WATCH, WatchRequest(), {"authorization": "Bearer x"}, 3.0)
    assert seen["authorization"] == "Bearer x"
    assert 0 < seen["remaining"] < 3.5  # gRPC rounds up


async def test_the_status_of_an_error_arrives_whole() -> None:
    sent = status_of(
        ErrorReason.SYNC_IN_PROGRESS, "Busy.", details={"job_id": "sync_1"}, retry_in=5
    )

    async def fail(_: Message, context: Context) -> Message:
        trailer = (("grpc-status-details-bin", sent.SerializeToString()), ("x-http-code", "402"))
        await context.abort(grpc.StatusCode.ABORTED, "Busy.", trailing_metadata=trailer)
        raise AssertionError

    async with core(fail) as port, remote(port) as transport:
        outcome = await call(transport)
    assert outcome.status == sent
    assert outcome.response is None
    assert outcome.metadata["x-http-code"] == "402"


async def test_a_core_that_breaks_is_an_internal_error_without_its_words() -> None:
    async def explode(_: Message, context: Context) -> Message:
        raise RuntimeError("secret")

    async with core(explode) as port, remote(port) as transport:
        outcome = await call(transport)
    assert outcome.status is not None
    answer = render(outcome.status, outcome.metadata, path="/watch")
    assert answer.http_status == 500
    assert "secret" not in str(answer.body)


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"\x00"])
async def test_unreadable_details_fall_back_to_the_code(garbage: bytes) -> None:
    async def fail(_: Message, context: Context) -> Message:
        trailer = (("grpc-status-details-bin", garbage),)
        await context.abort(grpc.StatusCode.NOT_FOUND, "x", trailing_metadata=trailer)
        raise AssertionError

    async with core(fail) as port, remote(port) as transport:
        outcome = await call(transport)
    assert outcome.status is not None
    assert render(outcome.status, {}, path="/").http_status == 404


async def test_a_core_that_is_away_is_told_at_once_and_found_when_it_is_back(
    unused_port: int,
) -> None:
    async with remote(unused_port) as transport:
        began = time.perf_counter()
        outcome = await call(transport)
        assert time.perf_counter() - began < 2
        assert outcome.status is not None
        answer = render(outcome.status, {}, path="/watch")
        assert (answer.http_status, answer.body["error"]) == (503, "unavailable")
        assert answer.headers["Retry-After"] == "1"
        async with core(watching, port=unused_port):
            tries = 0
            while (await call(transport)).response is None:
                tries += 1
                assert tries < 100
                await asyncio.sleep(0.05)


async def test_a_slow_core_is_given_up_at_the_deadline() -> None:
    async def slow(_: Message, context: Context) -> Message:
        await asyncio.sleep(30)
        return WatchResponse()

    async with core(slow) as port, remote(port) as transport:
        outcome = await transport.call(WATCH, WatchRequest(), {}, 0.1)
    assert outcome.status is not None
    assert render(outcome.status, {}, path="/").body["error"] == "deadline_exceeded"


async def test_a_core_without_the_rpc_is_an_internal_error() -> None:
    rpc = contract.rpc("/distill.v1.WatchService/Unwatch")
    async with core(watching) as port, remote(port) as transport:
        outcome = await transport.call(rpc, rpc.request_class(), {}, 5.0)
    assert outcome.status is not None
    assert render(outcome.status, {}, path="/").http_status == 500


async def test_metadata_that_grpc_refuses_is_an_outcome_and_no_exception() -> None:
    async with core(watching) as port, remote(port) as transport:
        outcome = await call(transport, authorization="ü\n")
    assert outcome.response is None
    assert outcome.status is not None
    assert isinstance(outcome.status, Status)


async def test_calls_are_spread_over_connections() -> None:
    peers: set[str] = set()

    async def look(_: Message, context: Context) -> Message:
        peers.add(context.peer())
        return WatchResponse()

    async with core(look) as port, remote(port) as transport:
        await asyncio.gather(*(call(transport) for _ in range(8)))
    assert len(peers) == 2


async def test_cancelling_a_request_cancels_its_call() -> None:
    cancelled = asyncio.Event()
    began = asyncio.Event()

    async def slow(_: Message, context: Context) -> Message:
        began.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return WatchResponse()

    async with core(slow) as port, remote(port) as transport:
        task = asyncio.create_task(call(transport))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_a_door_over_the_wire_answers_as_the_core_says() -> None:
    async with core(watching) as port, opened(RemoteTransport(f"127.0.0.1:{port}")) as door:
        reply = await door.ask("POST", "/watch")
        assert (reply.status, reply.json) == (201, {"status": "watching"})
        assert (await door.ask("GET", "/health")).status == 500  # not served by this core

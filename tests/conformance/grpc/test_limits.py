"""Clients of the gRPC port that are too large, too many or no gRPC clients: the others go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import grpc
import pytest

from distill_grpc.proto.distill.v1.discovery_service_pb2 import GetMetadataRequest
from distill_grpc.proto.distill.v1.discovery_service_pb2_grpc import DiscoveryServiceStub
from tests.service import Service

# The preface and an empty SETTINGS frame: a client that is there, and asks nothing (RFC 9113, 3.4).
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
# A HEADERS frame that announces 16 MB, and one of a stream that goes on for ever.
HUGE_FRAME = PREFACE + b"\xff\xff\xff\1\4\0\0\0\1"
MANY = 300


async def answered(service: Service, number: int = 20) -> float:
    """Calls as an ordinary client, again and again; the slowest answer in seconds."""
    stub = DiscoveryServiceStub(service.channel)
    slowest = 0.0
    for _ in range(number):
        began = time.monotonic()
        await stub.GetMetadata(GetMetadataRequest(), metadata=service.metadata("limits"))
        slowest = max(slowest, time.monotonic() - began)
    return slowest


@asynccontextmanager
async def connections(
    service: Service, number: int, say: bytes
) -> AsyncIterator[list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    """So many open connections that have said this."""
    host, _, port = service.grpc_address.rpartition(":")
    made = [await asyncio.open_connection(host, int(port)) for _ in range(number)]
    for _, writer in made:
        writer.write(say)
    try:
        yield made
    finally:
        for _, writer in made:
            writer.transport.abort()


@pytest.mark.parametrize("number", [1, 100])
async def test_metadata_over_the_limit_is_refused(idle: Service, number: int) -> None:
    stub = DiscoveryServiceStub(idle.channel)
    size = 64 * 1024 // number
    more = [(f"x-large-{n}", "a" * size) for n in range(number)]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetMetadata(GetMetadataRequest(), metadata=[*idle.metadata("limits"), *more])
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await answered(idle, 1)


async def test_a_hundred_small_entries_of_metadata_are_no_trouble(idle: Service) -> None:
    stub = DiscoveryServiceStub(idle.channel)
    more = [(f"x-small-{n}", "a") for n in range(100)]
    await stub.GetMetadata(GetMetadataRequest(), metadata=[*idle.metadata("limits"), *more])


@pytest.mark.parametrize("say", [b"", PREFACE, PREFACE[:10]], ids=["silent", "idle", "half"])
async def test_many_idle_connections_do_not_hold_up_the_others(idle: Service, say: bytes) -> None:
    async with connections(idle, MANY, say):
        assert await answered(idle) < 3.0


@pytest.mark.parametrize(
    "say",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        HUGE_FRAME,
        b"\0" * 99,
    ],
    ids=["HTTP/1", "TLS", "a huge frame", "zeros"],
)
async def test_who_does_not_speak_grpc_is_cut_off(idle: Service, say: bytes) -> None:
    async with connections(idle, 20, say) as made:
        async with asyncio.timeout(30):
            for reader, _ in made:
                with suppress(ConnectionError):
                    while await reader.read(65_536):
                        pass
        assert await answered(idle) < 3.0

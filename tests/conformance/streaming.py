"""Streams read at any door, by gRPC or as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
from google.protobuf import json_format

from distill_grpc.event_reader import EventReader
from distill_grpc.proto import contract
from http_facade.json_encoding import encode
from tests.conformance.asking import AnyDoor
from tests.conformance.calls import method
from tests.service import Door, Service

Json = Any
ASK = contract.rpc("/distill.v1.ContentService/AskStream")
SEARCH = contract.rpc("/distill.v1.ContentService/SearchStream")


@asynccontextmanager
async def opened(
    service: Service, rpc: contract.Rpc, body: Json, *, user: str, door: Door = "local"
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer, not read yet."""
    url = await service.address(door) + rpc.path
    headers = {"Authorization": f"Bearer {service.token(user)}"}
    async with service.http.post(url, json=body, headers=headers) as response:
        yield response


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Json]]:
    """Each event's name and JSON, as they come."""
    assert response.status == 200, await response.text()
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.headers["X-Request-Id"]
    reader = EventReader(1 << 24)
    async for data in response.content.iter_any():
        for event in reader.feed(data):
            yield event.kind, orjson.loads(event.data)


async def streamed(
    service: Service, rpc: contract.Rpc, body: Json, *, user: str, door: AnyDoor = "local"
) -> list[tuple[str, Json]]:
    """All events of a stream by name, each with what is in it."""
    if door == "grpc":
        request = json_format.ParseDict(body, rpc.request_class())
        call = method(service.channel, rpc)(request, metadata=service.metadata(user), timeout=30)
        found = [(event.WhichOneof("event"), encode(event)) async for event in call]
    else:
        async with opened(service, rpc, body, user=user, door=door) as response:
            found = [event async for event in events(response)]
    assert found[-1][0] == "done"
    assert all(list(told) == [kind] for kind, told in found)
    return [(kind, told[kind]) for kind, told in found]

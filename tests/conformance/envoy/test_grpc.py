"""gRPC and gRPC-Web through Envoy."""

from __future__ import annotations

import base64
import struct
from typing import Any
from urllib.parse import unquote

import aiohttp
import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from distill_grpc.proto.distill.v1 import watch_service_pb2_grpc
from distill_grpc.proto.distill.v1.watch_service_pb2 import WatchRequest, WatchResponse
from tests.conformance.envoy.scripted import Asked
from tests.envoy_door import needs_envoy
from tests.service import Service

pytestmark = needs_envoy


def watching(channel: grpc.aio.Channel) -> Any:
    # The generated stubs carry no types.
    return watch_service_pb2_grpc.WatchServiceStub(channel)  # type: ignore[no-untyped-call]


WATCH = "/distill.v1.WatchService/Watch"


async def test_a_call_goes_through_with_its_metadata(
    idle: Service, envoy: Asked, user: str
) -> None:
    async with grpc.aio.insecure_channel(envoy.address) as channel:
        stub = watching(channel)
        call = stub.Watch(
            WatchRequest(), metadata=idle.metadata(user, **{"x-request-id": "grpc-1"})
        )
        assert (await call).status == WatchResponse.watching
        told = dict(await call.initial_metadata())
    assert (told["x-http-code"], told["x-request-id"]) == ("201", "grpc-1")


async def test_an_error_keeps_its_details(envoy: Asked) -> None:
    async with grpc.aio.insecure_channel(envoy.address) as channel:
        stub = watching(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Watch(WatchRequest())
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    told = dict(refused.value.trailing_metadata() or ())
    info = ErrorInfo()
    Status.FromString(told["grpc-status-details-bin"]).details[0].Unpack(info)
    assert info.reason == "AUTHENTICATION_FAILED"


async def test_a_deadline_of_the_client_holds(idle: Service, envoy: Asked) -> None:
    async with grpc.aio.insecure_channel(envoy.address) as channel:
        stub = watching(channel)
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await stub.Watch(WatchRequest(), metadata=idle.metadata(), timeout=0.0005)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_the_standard_services_are_there(envoy: Asked) -> None:
    async with grpc.aio.insecure_channel(envoy.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == 1
        stream = stub.Watch(health_pb2.HealthCheckRequest(service="distill.v1.WatchService"))
        assert (await stream.read()).status == 1  # a stream that does not end
        stream.cancel()
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await reflection.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = (await reflection.read()).list_services_response.service
        assert "distill.v1.WatchService" in {service.name for service in listed}
        await reflection.done_writing()


def frame(message: bytes, flag: int = 0) -> bytes:
    return struct.pack(">BI", flag, len(message)) + message


def frames(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        flag, length = struct.unpack(">BI", data[:5])
        found.append((flag, data[5 : 5 + length]))
        data = data[5 + length :]
    return found


def decoded(text: bytes) -> bytes:
    """The bytes of base64 that is padded wherever a part of the answer ended."""
    return b"".join(base64.b64decode(text[i : i + 4]) for i in range(0, len(text), 4))


@pytest.mark.parametrize("text", [False, True])
async def test_a_browser_calls_by_grpc_web(
    idle: Service, envoy: Asked, user: str, text: bool
) -> None:
    kind = "application/grpc-web-text" if text else "application/grpc-web+proto"
    headers = {
        "Content-Type": kind,
        "Accept": kind,
        "X-Grpc-Web": "1",
        "Origin": "https://app.example",
        "Authorization": f"Bearer {idle.token(user)}",
    }
    data = frame(WatchRequest().SerializeToString())
    reply = await envoy.ask(
        "POST", WATCH, data=base64.b64encode(data) if text else data, headers=headers
    )
    assert reply.status == 200
    assert reply.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Grpc-Status" in reply.headers["Access-Control-Expose-Headers"]
    raw = decoded(reply.raw) if text else reply.raw
    (flag, message), (trailer_flag, trailers) = frames(raw)
    assert (flag, trailer_flag) == (0, 128)
    assert WatchResponse.FromString(message).status == WatchResponse.watching
    assert b"grpc-status:0" in trailers


async def test_an_error_by_grpc_web_has_its_status(envoy: Asked) -> None:
    headers = {"Content-Type": "application/grpc-web+proto", "X-Grpc-Web": "1"}
    reply = await envoy.ask("POST", WATCH, data=frame(b""), headers=headers)
    assert reply.status == 200
    told = dict(reply.headers)
    for _, message in frames(reply.raw):
        lines = message.decode().split("\r\n")
        told |= {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    lowered = {name.lower(): value for name, value in told.items()}
    assert lowered["grpc-status"] == "16"
    assert "authentication" in unquote(lowered["grpc-message"])


async def test_a_browser_may_ask_before_it_calls_by_grpc_web(envoy: Asked) -> None:
    headers = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-grpc-web,content-type",
    }
    reply = await envoy.ask("OPTIONS", WATCH, headers=headers)
    assert reply.status == 204
    assert reply.headers["Access-Control-Allow-Methods"] == "OPTIONS, POST"
    assert "X-Grpc-Web" in reply.headers["Access-Control-Allow-Headers"]


async def test_json_at_a_grpc_path_is_no_way_in(envoy: Asked) -> None:
    reply = await envoy.ask("POST", WATCH, json={})
    assert (reply.status, reply.json["error"]) == (404, "not_found")


async def test_grpc_at_a_rest_path_is_answered_in_grpc(envoy: Asked) -> None:
    async with grpc.aio.insecure_channel(envoy.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await channel.unary_unary("/watch", lambda raw: raw, lambda raw: raw)(b"")
    assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_http2_without_tls_is_spoken(envoy: Asked) -> None:
    # gRPC channels above speak it; HTTP/1.1 is for everybody else.
    async with aiohttp.ClientSession() as session, session.get(envoy.url + "/api") as response:
        assert response.version == aiohttp.HttpVersion11

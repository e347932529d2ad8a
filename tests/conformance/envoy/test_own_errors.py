"""What Envoy refuses or answers by itself has the seeds' bodies and an id."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import pytest

from tests.conformance.envoy.scripted import Asked, envoy_before
from tests.envoy_door import needs_envoy
from tests.service import Service

pytestmark = needs_envoy

Json = Any
LIMIT = 1 << 20
JSON = {"Content-Type": "application/json"}


async def raw(envoy: Asked, data: bytes) -> tuple[int, dict[str, str], Json]:
    """Writes bytes as they are; the status, the headers and the body that come back."""
    host, _, port = envoy.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        async with asyncio.timeout(60):
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            headers = {
                k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])
            }
            body = await reader.readexactly(int(headers["content-length"]))
        return int(lines[0].split()[1]), headers, json.loads(body)
    finally:
        writer.close()


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET /api HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /watch HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /watch HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /api HTTP/1.1\r\nHost: a\r\nA\0: b\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_bytes_that_are_no_request_get_the_error_body(envoy: Asked, data: bytes) -> None:
    status, headers, body = await raw(envoy, data)
    assert (status, body["error"]) == (400, "invalid_argument")
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert headers["x-request-id"]
    assert headers["server"] == "distill"


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /api HTTP/1.1\r\nHost: a\r\nX: " + b"b" * 20_000 + b"\r\n\r\n",
        b"GET /api HTTP/1.1\r\n" + b"".join(b"X%d: b\r\n" % i for i in range(200)) + b"\r\n",
    ],
    ids=["address", "header", "headers"],
)
async def test_headers_that_are_too_large_are_told_as_that(envoy: Asked, data: bytes) -> None:
    status, headers, body = await raw(envoy, data)
    assert (status, body["error"]) == (431, "invalid_argument")
    assert headers["x-request-id"]


async def test_headers_that_are_too_large_have_the_body_of_the_other_paths(envoy: Asked) -> None:
    data = b"GET /api/v1/posts HTTP/1.1\r\nHost: a\r\nX: " + b"b" * 20_000 + b"\r\n\r\n"
    status, _, body = await raw(envoy, data)
    assert (status, body["error"]) == (431, "invalid_argument")


async def test_under_the_other_seeds_paths_its_body_is_used(envoy: Asked) -> None:
    head = b"POST /api/v1/posts HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    status, _, body = await raw(envoy, head)
    assert status in {400, 404}
    assert set(body) == {"detail", "code", "field_errors"}


async def test_a_body_of_exactly_the_limit_is_taken(idle: Service, envoy: Asked) -> None:
    headers = {**JSON, "Authorization": f"Bearer {idle.token('large')}"}
    body = b"{}" + b" " * (LIMIT - 2)
    reply = await envoy.ask("POST", "/unwatch", data=BytesIO(body), headers=headers)
    assert reply.status == 200
    reply = await envoy.ask("POST", "/unwatch", data=BytesIO(body + b" "), headers=headers)
    assert (reply.status, reply.json["details"]) == (413, {"limit": f"{LIMIT} bytes"})


async def test_a_body_of_unknown_length_over_the_limit_is_refused(envoy: Asked) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * (LIMIT // 16)

    reply = await envoy.ask("POST", "/unwatch", data=chunks(), headers=JSON)
    assert (reply.status, reply.json["error"]) == (413, "payload_too_large")


async def test_a_body_that_would_not_fit_the_buffer_is_refused(envoy: Asked) -> None:
    head = b"POST /watch HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, _, body = await raw(envoy, head + b"500000\r\n" + b" " * 0x500000 + b"\r\n0\r\n\r\n")
    assert (status, body["error"]) == (413, "payload_too_large")
    assert body["details"] == {"limit": f"{LIMIT} bytes"}


async def test_a_body_that_does_not_arrive_is_not_waited_for(envoy: Asked) -> None:
    head = b"POST /watch HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"
    status, _, body = await raw(envoy, head)
    assert (status, body["error"]) == (400, "invalid_argument")
    assert body["details"] == {"body": "did not arrive within 1 seconds"}


async def test_without_a_core_the_door_says_so(unused_port: int) -> None:
    async with envoy_before(f"127.0.0.1:{unused_port}") as envoy:
        reply = await envoy.ask("GET", "/metadata", headers={"X-Request-Id": "away-1"})
        assert (reply.status, reply.json["error"]) == (503, "unavailable")
        assert reply.json["message"] == "The service is temporarily unavailable."
        assert int(reply.headers["Retry-After"]) > 0
        assert "retry_after" in reply.json
        assert reply.headers["X-Request-Id"] == "away-1"
        health = await envoy.ask("GET", "/health")
        assert health.status == 503
        assert health.json["status"] == "unhealthy"
        assert set(health.json["degraded_parts"]) == {"core"}
        assert {"version", "uptime", "active_users", "platform_api_status"} <= set(health.json)
        simulated = {"X-Distill-Simulate": "unavailable"}
        assert (await envoy.ask("GET", "/health", headers=simulated)).json["error"] == "unavailable"
        assert (await envoy.ask("GET", "/openapi.json")).status == 200


async def test_answers_are_compressed_where_the_client_wants_it(envoy: Asked) -> None:
    packed = await envoy.ask("GET", "/capabilities", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in packed.headers["Vary"]
    plain = await envoy.ask("GET", "/capabilities", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert packed.json == plain.json

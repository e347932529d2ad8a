"""Sizes, types, times and broken framing: every refusal has the error body and an id."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import orjson
import pytest

from distill_grpc.proto.distill.v1.content_service_pb2 import ListRecentResponse
from http_facade.answers import accepts_gzip
from http_facade.transport import Outcome
from tests.unit.http_facade.rest_door import Call, Door, opened

JSON = {"Content-Type": "application/json"}


def refusal(raw: bytes) -> tuple[int, dict[str, object]]:
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"\r\nX-Request-Id: " in head
    return int(head.split()[1]), orjson.loads(body)


async def test_a_body_over_the_limit_is_refused_by_its_length(door: Door) -> None:
    head = b"POST /watch HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    status, body = refusal(await door.raw(head + b"Content-Length: 1048577\r\n\r\n{"))
    assert (status, body["error"]) == (413, "payload_too_large")


async def test_a_chunked_body_over_the_limit_is_refused_while_it_arrives() -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 1000

    async with opened(body_limit=10_000) as door:
        reply = await door.ask("POST", "/watch", data=endless(), headers=JSON)
        assert reply.status == 413
        assert reply.json["details"] == {"limit": "10000 bytes"}
        assert door.core.calls == []


async def test_a_body_of_exactly_the_limit_is_taken() -> None:
    async with opened(body_limit=1000) as door:
        body = b"{}" + b" " * 998
        assert (await door.ask("POST", "/watch", data=body, headers=JSON)).status == 200
        assert (await door.ask("POST", "/watch", data=body + b" ", headers=JSON)).status == 413


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON; charset=UTF-8",
        'application/json; charset="utf-8"',
        "application/merge-patch+json",
    ],
)
async def test_json_types_are_taken(door: Door, kind: str) -> None:
    reply = await door.ask("POST", "/watch", data=b"{}", headers={"Content-Type": kind})
    assert reply.status == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "application/json; charset=utf-16", "json", "", ";;"]
)
async def test_other_types_are_refused(door: Door, kind: str) -> None:
    reply = await door.ask("POST", "/watch", data=b"{}", headers={"Content-Type": kind})
    assert (reply.status, reply.json["error"]) == (415, "unsupported_media_type")


async def test_a_form_is_refused_with_what_curl_needs(door: Door) -> None:
    reply = await door.ask("POST", "/watch", data={"a": "1"})
    assert reply.status == 415
    assert "-H 'Content-Type: application/json'" in reply.json["message"]


async def test_a_body_without_a_type_is_taken_for_json(door: Door) -> None:
    head = b"POST /watch HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    assert (await door.raw(head)).startswith(b"HTTP/1.1 200")


async def test_a_compressed_body_is_refused_unopened(door: Door) -> None:
    headers = {**JSON, "Content-Encoding": "gzip"}
    reply = await door.ask("POST", "/watch", data=gzip.compress(b"{}"), headers=headers)
    assert reply.status == 415
    assert reply.json["details"] == {"content_encoding": "gzip"}


async def test_a_body_that_does_not_arrive_is_not_waited_for() -> None:
    async with opened(body_timeout=0.1) as door:
        head = b"POST /watch HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"
        status, body = refusal(await door.raw(head))
        assert status == 400
        assert body["details"] == {"body": "did not arrive within 0.1 seconds"}


async def test_a_silent_connection_is_closed() -> None:
    async with opened(idle_timeout=0.1) as door:
        assert await door.raw(b"GET /api HTTP/1.1\r\nHost:") == b""


async def test_a_client_that_waits_for_100_is_invited_only_where_its_headers_are_fit(
    door: Door,
) -> None:
    head = (
        b"POST /watch HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\n"
    )
    fit = await door.raw(head + b"Content-Length: 2\r\n\r\n{}")
    assert fit.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
    large = await door.raw(head + b"Content-Length: 9999999\r\n\r\n")
    assert large.startswith(b"HTTP/1.1 413")
    strange = head.replace(b"100-continue", b"magic") + b"Content-Length: 2\r\n\r\n{}"
    assert refusal(await door.raw(strange))[1]["details"] == {
        "expect": "must be 100-continue (RFC 9110, 10.1.1)"
    }


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /api HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /watch HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /api HTTP/1.1\r\nHost: a\r\nA\0: b\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_bytes_that_are_no_request_get_the_error_body(door: Door, data: bytes) -> None:
    status, body = refusal(await door.raw(data))
    assert (status, body["error"]) == (400, "invalid_argument")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /api?" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /api HTTP/1.1\r\nHost: a\r\nX: " + b"b" * 9300 + b"\r\n\r\n", 431),
        (b"GET /api HTTP/1.1\r\nHost: a\r\n" + b"X" * 9300 + b": b\r\n\r\n", 431),
        (b"GET /api HTTP/1.1\r\n" + b"".join(b"X%d: b\r\n" % i for i in range(200)) + b"\r\n", 431),
    ],
    ids=["address", "query", "header", "name of a header", "headers"],
)
async def test_what_is_too_long_is_told_as_that(door: Door, data: bytes, expected: int) -> None:
    status, body = refusal(await door.raw(data))
    assert (status, body["error"]) == (expected, "invalid_argument")
    assert door.core.calls == []


async def test_a_broken_chunk_gets_the_error_body(door: Door) -> None:
    head = b"POST /watch HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, body = refusal(await door.raw(head + b"zz\r\n"))
    assert (status, body["error"]) == (400, "invalid_argument")


async def test_large_answers_are_compressed_where_the_client_wants_it(door: Door) -> None:
    response = ListRecentResponse()
    for index in range(50):
        response.data.add(id=f"item_{index}", content="words " * 20)
    door.core.responds(response)
    plain = await door.ask("GET", "/content/recent", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert plain.headers["Vary"] == "Accept-Encoding"
    packed = await door.ask("GET", "/content/recent", headers={"Accept-Encoding": "br, gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) < len(plain.raw) / 4
    assert packed.raw == plain.raw  # the client unpacked it
    small = await door.ask("GET", "/health", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in small.headers


async def test_very_large_answers_are_compressed_too(door: Door) -> None:
    response = ListRecentResponse()
    response.data.add(content="x" * 300_000)
    door.core.responds(response)
    reply = await door.ask("GET", "/content/recent", headers={"Accept-Encoding": "gzip"})
    assert reply.headers["Content-Encoding"] == "gzip"
    assert reply.json["data"][0]["content"] == "x" * 300_000


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000, br", False),
        ("gzip;q=0.001", True),
    ],
)
def test_what_a_client_says_about_gzip_is_understood(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted


async def test_closing_the_door_finishes_requests_in_flight() -> None:
    async with opened() as door:
        began, release = asyncio.Event(), asyncio.Event()

        async def slow(call: Call) -> Outcome:
            began.set()
            await release.wait()
            return Outcome(response=call.rpc.response_class())

        door.core.answer = slow
        asking = asyncio.create_task(door.ask("GET", "/api"))
        await began.wait()
        closing = asyncio.create_task(door.runner.cleanup())
        await asyncio.sleep(0.05)
        assert not closing.done()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", door.port)
        release.set()
        assert (await asking).status == 200
        await closing
        assert door.core.closed

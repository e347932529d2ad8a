"""Bodies that are no JSON go through the door as they are, with the headers that their RPC asks for."""

from __future__ import annotations

import pytest
from google.api.httpbody_pb2 import HttpBody

from distill_grpc.proto.distill.v1 import webhook_service_pb2 as pb
from tests.unit.http_facade.rest_door import Door, opened

PATH = "/webhooks/github/some-key"


@pytest.mark.parametrize("body", [b"", b" ", b"{", b"\x00\xff\r\n", b"{}", b"x" * (1 << 20)])
async def test_a_body_reaches_the_core_byte_by_byte(body: bytes) -> None:
    async with opened() as door:
        door.core.responds(HttpBody())
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        reply = await door.ask("POST", PATH, data=_stream(body), headers=headers)
        assert (reply.status, reply.raw) == (200, b"")
        sent = door.core.last.request
        assert isinstance(sent, pb.ReceiveWebhookRequest)
        assert (sent.source, sent.key) == ("github", "some-key")
        assert sent.body.data == body
        assert sent.body.content_type == headers["Content-Type"]


async def _stream(body: bytes):  # type: ignore[no-untyped-def]  # what aiohttp takes
    yield body


async def test_exactly_the_headers_that_the_rpc_asks_for_travel_on() -> None:
    async with opened() as door:
        door.core.responds(HttpBody())
        sent = {
            "X-Hub-Signature-256": "sha256=00",
            "X-GitHub-Delivery": "d-1",
            "X-Forwarded-For": "10.0.0.1",
            "X-User-Id": "somebody",
            "Cookie": "a=b",
        }
        await door.ask("POST", PATH, data=b"x", headers=sent)
        metadata = dict(door.core.last.metadata)
        assert {metadata.pop("x-request-id"), metadata.pop("x-forwarded-for")}
        assert metadata == {"x-hub-signature-256": "sha256=00", "x-github-delivery": "d-1"}
        await door.ask("GET", f"{PATH}?crc_token=a", headers=sent)
        assert set(door.core.last.metadata) == {"x-request-id", "x-forwarded-for"}


async def test_a_header_that_can_be_read_in_two_ways_is_left_out() -> None:
    async with opened() as door:
        door.core.responds(HttpBody())
        twice = [("X-Hub-Signature-256", "sha256=00"), ("X-Hub-Signature-256", "sha256=01")]
        for headers in (
            twice,
            [("X-Hub-Signature-256", "é")],
            [("X-Hub-Signature-256", "a" * 1001)],
        ):
            await door.ask("POST", PATH, data=b"x", headers=headers)
            assert set(door.core.last.metadata) == {"x-request-id", "x-forwarded-for"}


async def test_a_compressed_body_is_refused(door: Door) -> None:
    reply = await door.ask("POST", PATH, data=b"x", headers={"Content-Encoding": "br"})
    assert (reply.status, reply.json["error"]) == (415, "unsupported_media_type")


async def test_an_answer_brings_its_type_and_its_bytes(door: Door) -> None:
    door.core.responds(HttpBody(content_type="text/plain; charset=utf-8", data=b"<b>\x00"))
    reply = await door.ask("GET", f"{PATH}?hub.mode=subscribe")
    assert (reply.status, reply.raw) == (200, b"<b>\x00")
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]


async def test_a_dot_leads_into_a_message(door: Door) -> None:
    door.core.responds(HttpBody())
    query = "hub.mode=subscribe&hub.topic=https%3A%2F%2Fa.example%2F&hub.lease_seconds=60&else=1"
    assert (await door.ask("GET", f"{PATH}?{query}")).status == 200
    assert door.core.last.request == pb.VerifyWebhookRequest(
        source="github",
        key="some-key",
        hub={"mode": "subscribe", "topic": "https://a.example/", "lease_seconds": 60},
    )
    for query, field in (
        ("hub.lease_seconds=x", "hub.lease_seconds"),
        ("hub.mode=a&hub.mode=b", "hub.mode"),
    ):
        reply = await door.ask("GET", f"{PATH}?{query}")
        assert (reply.status, set(reply.json["details"])) == (400, {field})

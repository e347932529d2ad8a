"""Requests to messages: paths, query strings, bodies and the headers that travel on."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from multidict import CIMultiDict

from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1.connection_service_pb2 import PutConnectionRequest
from distill_grpc.proto.distill.v1.content_service_pb2 import (
    GetSummaryRequest,
    ListRecentRequest,
    SearchRequest,
)
from distill_grpc.proto.distill.v1.watch_service_pb2 import WatchRequest, WatchResponse
from tests.unit.http_facade.rest_door import Door, opened


async def test_a_body_becomes_the_request_message(door: Door) -> None:
    body = {"options": {"backfill_days": 7, "sync_frequency": "30m"}}
    reply = await door.ask("POST", "/watch", json=body)
    assert reply.status == 200
    expected = WatchRequest(options={"backfill_days": 7, "sync_frequency": "30m"})
    assert door.core.last.request == expected
    assert door.core.last.rpc.full_name == "/distill.v1.WatchService/Watch"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"headers": {"Content-Type": "application/json"}},
        {"headers": {"Content-Type": "application/x-www-form-urlencoded"}, "data": b""},
        {"headers": {"Content-Type": "application/json"}, "data": b" \n"},
    ],
)
async def test_a_post_without_a_body_is_an_empty_message(
    door: Door, options: dict[str, Any]
) -> None:
    assert (await door.ask("POST", "/watch", **options)).status == 200
    assert door.core.last.request == WatchRequest()


async def test_path_and_body_come_together(door: Door) -> None:
    body = {"settings": {"feeds": ["https://e.example/feed"]}, "credentials": {"n": 3}}
    assert (await door.ask("PUT", "/connections/rss", json=body)).status == 200
    expected = PutConnectionRequest(source="rss")
    expected.settings.update({"feeds": ["https://e.example/feed"]})
    expected.credentials.update({"n": 3})
    assert door.core.last.request == expected


async def test_a_field_of_the_path_is_not_taken_again_in_body_or_query(door: Door) -> None:
    reply = await door.ask("PUT", "/connections/rss", json={"source": "github"})
    assert reply.status == 400
    assert reply.json["details"] == {"source": "unknown field; allowed: credentials, settings"}
    reply = await door.ask("GET", "/content/summary/daily?period=weekly")
    assert reply.json["details"] == {"period": "unknown parameter; allowed: date, tz"}
    assert door.core.calls == []


@pytest.mark.parametrize("text", ["daily", "a b", "a/b", "ü", "100%", "..", "a+b"])
async def test_a_path_variable_is_percent_decoded(door: Door, text: str) -> None:
    await door.ask("GET", f"/content/summary/{quote(text, safe='')}")
    assert door.core.last.request == GetSummaryRequest(period=text)


async def test_a_path_that_is_no_utf8_or_holds_nul_is_refused(door: Door) -> None:
    assert (await door.ask("GET", "/content/summary/%ff")).status == 400
    reply = await door.ask("GET", "/content/summary/a%00b")
    assert reply.json["details"] == {"period": "must not contain NUL characters"}


async def test_a_query_string_becomes_typed_fields(door: Door) -> None:
    query = "hours=48&limit=5&include_raw=true&page_token=a%2Bb+c"
    assert (await door.ask("GET", f"/content/recent?{query}")).status == 200
    expected = ListRecentRequest(hours=48, limit=5, include_raw=True, page_token="a+b c")
    assert door.core.last.request == expected


@pytest.mark.parametrize(
    "query",
    ["sources=rss,github&sources=mail", "sources=rss&sources=github&sources=mail"],
)
async def test_lists_are_repeated_or_separated_by_commas(door: Door, query: str) -> None:
    await door.ask("GET", f"/content/recent?{query}")
    assert door.core.last.request == ListRecentRequest(sources=["rss", "github", "mail"])


@pytest.mark.parametrize(
    ("query", "details"),
    [
        ("hours=x", {"hours": "must be a whole number"}),
        ("hours=", {"hours": "must be a whole number"}),
        ("hours=1.0", {"hours": "must be a whole number"}),
        ("hours=%D9%A3", {"hours": "must be a whole number"}),
        ("hours=99999999999", {"hours": "must be from -2147483648 to 2147483647"}),
        ("hours=1&hours=2", {"hours": "must be given once"}),
        ("include_raw=1", {"include_raw": "must be true or false"}),
        ("include_raw=True", {"include_raw": "must be true or false"}),
        ("page_token=%00", {"page_token": "must not contain NUL characters"}),
        ("page_token=%ff", {"query": "must be UTF-8"}),
        (
            "hour=1",
            {"hour": "unknown parameter; allowed: hours, limit, include_raw, sources, page_token"},
        ),
        (
            "&".join(f"p{i}=1" for i in range(101)),
            {"query": "must not have more than 100 parameters"},
        ),
    ],
)
async def test_a_wrong_parameter_is_named_with_its_rule(
    door: Door, query: str, details: dict[str, str]
) -> None:
    reply = await door.ask("GET", f"/content/recent?{query}")
    assert reply.status == 400
    assert reply.json["error"] == "invalid_argument"
    assert reply.json["details"] == details
    assert door.core.calls == []


async def test_an_endpoint_with_a_body_takes_no_query(door: Door) -> None:
    reply = await door.ask("POST", "/sync?force=true")
    assert reply.json["details"] == {
        "force": "unknown parameter; this endpoint takes none in its query"
    }


def test_whoever_sends_something_may_send_an_empty_object() -> None:
    senders = [rpc for rpc in contract.rpcs() if rpc.http_method in {"POST", "PUT", "PATCH"}]
    assert [rpc.name for rpc in senders if not rpc.body] == []


async def test_an_endpoint_without_a_body_refuses_one(door: Door) -> None:
    reply = await door.ask("DELETE", "/connections/rss", json={"a": 1})
    assert reply.json["details"] == {"body": "this endpoint takes none"}


async def test_instants_in_a_body_are_read(door: Door) -> None:
    body = {"query": "x", "since": "2024-01-10T10:00:00+01:00"}
    await door.ask("POST", "/content/search", json=body)
    request = door.core.last.request
    assert isinstance(request, SearchRequest)
    assert request.since.ToJsonString() == "2024-01-10T09:00:00Z"


async def test_only_the_headers_of_the_seam_travel_on(door: Door) -> None:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    headers = {
        "Authorization": "Bearer abc",
        "X-Request-Id": "id-1.x_Y",
        "traceparent": trace,
        "tracestate": "v=1",
        "x-user-id": "root",
        "x-internal": "1",
        "grpc-timeout": "1S",
        "x-http-code": "500",
        "evil-bin": "AAAA",
        "X-Distill-Simulate": "rate_limited",
    }
    reply = await door.ask("GET", "/metadata", headers=headers)
    assert door.core.last.metadata == {
        "authorization": "Bearer abc",
        "x-request-id": "id-1.x_Y",
        "traceparent": trace,
        "tracestate": "v=1",
        "x-forwarded-for": "127.0.0.1",
    }
    assert reply.headers["X-Request-Id"] == "id-1.x_Y"
    assert door.core.last.timeout == 30.0


@pytest.mark.parametrize(
    ("said", "carried"),
    [
        ("203.0.113.7", "203.0.113.7, 127.0.0.1"),
        ("10.0.0.1, 2001:db8::7", "10.0.0.1, 2001:db8::7, 127.0.0.1"),
        ("unknown", "127.0.0.1"),
        ("1" * 3000, "127.0.0.1"),
    ],
)
async def test_the_core_is_told_who_speaks_to_this_door_after_who_is_said_to(
    door: Door, said: str, carried: str
) -> None:
    await door.ask("GET", "/api", headers={"X-Forwarded-For": said})
    assert door.core.last.metadata["x-forwarded-for"] == carried


async def test_an_idempotency_key_travels_on_where_it_is_looked_at(door: Door) -> None:
    headers = {"Idempotency-Key": "a-1"}
    await door.ask("POST", "/watch", headers=headers)
    assert door.core.last.metadata["idempotency-key"] == "a-1"
    await door.ask("POST", "/unwatch", headers=headers)
    assert "idempotency-key" not in door.core.last.metadata


@pytest.mark.parametrize(
    "headers",
    [
        CIMultiDict([("Idempotency-Key", "a"), ("Idempotency-Key", "b")]),
        CIMultiDict([("Idempotency-Key", "a b")]),
        CIMultiDict([("Idempotency-Key", "")]),
        CIMultiDict([("Idempotency-Key", "a" * 256)]),
    ],
)
async def test_an_idempotency_key_that_is_none_is_refused(
    door: Door, headers: CIMultiDict[str]
) -> None:
    reply = await door.ask("POST", "/watch", headers=headers)
    assert (reply.status, set(reply.json["details"])) == (400, {"idempotency-key"})
    assert door.core.calls == []


async def test_simulation_travels_on_in_mock_mode_only() -> None:
    async with opened(simulate=True) as door:
        await door.ask("GET", "/api", headers={"X-Distill-Simulate": "rate_limited"})
        assert door.core.last.metadata["x-distill-simulate"] == "rate_limited"
        # The core says which codes there are; it repeats nothing of this.
        await door.ask("GET", "/api", headers={"X-Distill-Simulate": "RATE_LIMITED"})
        assert door.core.last.metadata["x-distill-simulate"] == "RATE_LIMITED"
        await door.ask("GET", "/api", headers={"X-Distill-Simulate": "x\u00e9"})
        assert "x-distill-simulate" not in door.core.last.metadata


async def test_two_authorizations_are_no_authorization(door: Door) -> None:
    both = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")]
    reply = await door.ask("GET", "/metadata", headers=both)
    assert reply.status == 401
    assert reply.json["error"] == "authentication_failed"
    assert door.core.calls == []
    assert (await door.ask("GET", "/api", headers=both)).status == 200
    assert "authorization" not in door.core.last.metadata


@pytest.mark.parametrize("identity", ["", "a b", "a" * 129, "ü", "<x>"])
async def test_an_unfit_request_id_is_replaced(door: Door, identity: str) -> None:
    reply = await door.ask("GET", "/api", headers={"X-Request-Id": identity})
    assert reply.headers["X-Request-Id"] != identity
    assert len(reply.headers["X-Request-Id"]) == 32
    assert door.core.last.metadata["x-request-id"] == reply.headers["X-Request-Id"]


@pytest.mark.parametrize(("told", "status"), [("201", 201), ("202", 202), ("abc", 200), ("", 200)])
async def test_the_core_decides_the_status_of_success(door: Door, told: str, status: int) -> None:
    door.core.responds(WatchResponse(status=WatchResponse.watching), x_http_code=told)
    reply = await door.ask("POST", "/watch")
    assert reply.status == status
    assert reply.raw == b'{"status":"watching"}'

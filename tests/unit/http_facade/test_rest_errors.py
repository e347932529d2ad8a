"""Statuses to error bodies of both seeds, and failures that the core never saw."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1.discovery_service_pb2 import GetHealthResponse
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from http_facade.errors import render, status_of
from http_facade.transport import Outcome
from tests.unit.http_facade.rest_door import Call, Door, opened

NOW = datetime(2024, 1, 10, 10, 0, 0, 500_000, tzinfo=UTC)
REASONS = [value.number for value in ErrorReason.DESCRIPTOR.values if value.number]


def packed(code: int, *details: Any, message: str = "said") -> Status:
    status = Status(code=code, message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def info(reason: str, **metadata: str) -> ErrorInfo:
    return ErrorInfo(reason=reason, domain="distill.dev", metadata=metadata)


@pytest.mark.parametrize("reason", REASONS, ids=contract.error_code)
async def test_every_reason_of_the_catalogue_comes_out_as_the_catalogue_says(
    door: Door, reason: int
) -> None:
    rules = contract.error_rules(reason)
    door.core.fails(status_of(reason))
    reply = await door.ask("GET", "/metadata")
    assert reply.status == rules.http_status
    assert reply.json == {
        "error": contract.error_code(reason),
        "message": rules.message,
        "user_action_required": rules.user_action_required,
    }
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    assert ("WWW-Authenticate" in reply.headers) == (rules.http_status == 401)


def test_the_metadata_may_ask_for_another_http_status() -> None:
    status = status_of(ErrorReason.NOT_FOUND)
    assert render(status, {"x-http-code": "410"}, path="/").http_status == 410
    for nonsense in ("200", "999", "4x4", "٤٠٤", ""):
        assert render(status, {"x-http-code": nonsense}, path="/").http_status == 404


def test_facts_of_an_error_are_details_and_reserved_ones_are_not() -> None:
    status = packed(
        code_pb2.ABORTED,
        info("SYNC_IN_PROGRESS", job_id="sync_1", user_action_required="true"),
    )
    answer = render(status, {}, path="/sync")
    assert answer.body == {
        "error": "sync_in_progress",
        "message": "said",
        "details": {"job_id": "sync_1"},
        "user_action_required": True,
    }


def test_field_violations_are_details_or_field_errors() -> None:
    broken = BadRequest()
    broken.field_violations.add(field="a", description="must be 1")
    broken.field_violations.add(field="b.c", description="must be short")
    broken.field_violations.add(field="a", description="must be odd")
    status = packed(code_pb2.INVALID_ARGUMENT, info("INVALID_ARGUMENT"), broken)
    fields = {"a": "must be 1; must be odd", "b.c": "must be short"}
    assert render(status, {}, path="/watch").body["details"] == fields
    assert render(status, {}, path="/api/v1/posts").body == {
        "detail": "said",
        "code": "INVALID_ARGUMENT",
        "field_errors": fields,
    }


def test_errors_of_no_field_have_the_same_structure() -> None:
    status = packed(code_pb2.NOT_FOUND, info("NOT_FOUND"))
    body = {"detail": "said", "code": "NOT_FOUND", "field_errors": {}}
    assert render(status, {}, path="/api/v1/posts").body == body


def test_a_wait_is_told_as_an_instant_and_as_seconds() -> None:
    by_instant = packed(8, info("RATE_LIMITED", retry_after="2024-01-10T11:00:00Z"))
    answer = render(by_instant, {}, path="/sync", now=NOW)
    assert answer.body["retry_after"] == "2024-01-10T11:00:00Z"
    assert answer.headers == {"Retry-After": "3600"}
    wait = RetryInfo()
    wait.retry_delay.FromMilliseconds(1500)
    answer = render(packed(8, info("RATE_LIMITED"), wait), {}, path="/sync", now=NOW)
    assert answer.body["retry_after"] == "2024-01-10T10:00:02Z"
    assert answer.headers == {"Retry-After": "2"}
    past = packed(8, info("RATE_LIMITED", retry_after="2020-01-01T00:00:00+00:00"))
    assert render(past, {}, path="/", now=NOW).headers == {"Retry-After": "0"}
    publishing = render(by_instant, {}, path="/api/v1/posts", now=NOW)
    assert publishing.headers == {"Retry-After": "3600"}
    assert "retry_after" not in publishing.body
    nonsense = packed(8, info("RATE_LIMITED", retry_after="soon"))
    assert render(nonsense, {}, path="/", now=NOW).headers == {}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (packed(code_pb2.UNKNOWN, message="Exception: secret"), (500, "internal_error")),
        (packed(code_pb2.UNAVAILABLE, message="ipv4:10.0.0.1"), (503, "unavailable")),
        (packed(code_pb2.DEADLINE_EXCEEDED), (504, "deadline_exceeded")),
        (packed(code_pb2.UNAUTHENTICATED), (401, "authentication_failed")),
        (packed(code_pb2.NOT_FOUND), (404, "not_found")),
        (packed(code_pb2.UNIMPLEMENTED), (500, "internal_error")),
        (packed(code_pb2.INTERNAL, info("NO_SUCH_REASON")), (500, "internal_error")),
        (
            packed(5, ErrorInfo(reason="NOT_WATCHING", domain="elsewhere.example")),
            (404, "not_found"),
        ),
    ],
)
def test_a_status_without_a_reason_of_ours_shows_only_the_catalogues_text(
    status: Status, expected: tuple[int, str]
) -> None:
    answer = render(status, {}, path="/watch")
    assert (answer.http_status, answer.body["error"]) == expected
    assert answer.body["message"] != status.message


@pytest.mark.parametrize("fault", [RuntimeError("secret"), ValueError("x"), KeyError("y")])
async def test_a_fault_of_the_door_itself_tells_nothing_of_the_inside(
    door: Door, fault: Exception
) -> None:
    async def breaks(_: Call) -> Outcome:
        raise fault

    door.core.answer = breaks
    reply = await door.ask("GET", "/metadata", headers={"X-Request-Id": "r1"})
    assert (reply.status, reply.json["error"]) == (500, "internal_error")
    assert b"secret" not in reply.raw
    assert b"Traceback" not in reply.raw
    assert reply.headers["X-Request-Id"] == "r1"


async def test_a_transport_that_answers_with_nothing_is_a_fault(door: Door) -> None:
    async def nothing(_: Call) -> Outcome:
        return Outcome()

    door.core.answer = nothing
    assert (await door.ask("GET", "/metadata")).status == 500


async def test_a_response_that_cannot_be_printed_is_a_fault(door: Door) -> None:
    response = GetHealthResponse()
    response.last_sync_cycle.seconds = 2**60
    door.core.responds(response)
    assert (await door.ask("GET", "/health")).json["error"] == "internal_error"


async def test_a_transport_that_is_stuck_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("http_facade.app._GRACE", 0.05)

    async def stuck(_: Call) -> Outcome:
        await asyncio.sleep(60)
        raise AssertionError

    async with opened(deadline=0.05) as door:
        door.core.answer = stuck
        reply = await door.ask("GET", "/metadata")
        assert (reply.status, reply.json["error"]) == (504, "deadline_exceeded")


async def test_health_of_a_door_without_its_core_has_the_seeds_shape(door: Door) -> None:
    door.core.fails(status_of(ErrorReason.UNAVAILABLE))
    reply = await door.ask("GET", "/health")
    assert reply.status == 503
    assert reply.json == {
        "status": "unhealthy",
        "version": "9.9.9",
        "uptime": "0:00:00",
        "active_users": 0,
        "platform_api_status": "unknown",
        "degraded_parts": {"core": "The service is temporarily unavailable."},
    }
    assert (await door.ask("GET", "/api")).json["error"] == "unavailable"


async def test_the_core_may_call_itself_unhealthy(door: Door) -> None:
    door.core.responds(GetHealthResponse(status=GetHealthResponse.unhealthy), x_http_code="503")
    reply = await door.ask("GET", "/health")
    assert (reply.status, reply.json["status"]) == (503, "unhealthy")


async def test_a_simulated_error_of_health_is_the_standard_error() -> None:
    async with opened(simulate=True) as door:
        door.core.fails(status_of(ErrorReason.UNAVAILABLE))
        headers = {"X-Distill-Simulate": "unavailable"}
        assert (await door.ask("GET", "/health", headers=headers)).json["error"] == "unavailable"


async def test_every_answer_has_the_protective_headers(door: Door) -> None:
    for path in ("/api", "/metadata", "/nope"):
        headers = (await door.ask("GET", path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["Server"] == "distill"
        assert headers["Cache-Control"] == ("no-cache" if path == "/api" else "no-store")

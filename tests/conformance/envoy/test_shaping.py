"""What Lua makes of the core's answers, in front of a core whose answers the test decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, Help, RetryInfo
from google.rpc.status_pb2 import Status

from distill_grpc.proto.distill.v1.content_service_pb2 import ListRecentResponse
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from http_facade.errors import render, status_of
from tests.conformance.envoy import contracts
from tests.conformance.envoy.scripted import Asked, Context, ScriptedCore, envoy_before, scripted
from tests.envoy_door import needs_envoy

pytestmark = needs_envoy

Json = Any
CODES = {code.value[0]: code for code in grpc.StatusCode}


class Script:
    """What the core is to answer."""

    def __init__(self) -> None:
        self.response: Message = ListRecentResponse()
        self.status: Status | None = None
        self.metadata: tuple[tuple[str, str], ...] = ()
        self.begun = False
        self.wait = 0.0

    async def behave(self, _: bytes, context: Context) -> Message:
        await asyncio.sleep(self.wait)
        if self.status is None:
            await context.send_initial_metadata(self.metadata)
            return self.response
        if self.begun:
            await context.send_initial_metadata(())
        details = ("grpc-status-details-bin", self.status.SerializeToString())
        trailers = (*self.metadata, *([details] if self.status.details else []))
        await context.abort(CODES[self.status.code], self.status.message, trailers)
        raise AssertionError


@pytest.fixture(scope="module")
async def served(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[Script, ScriptedCore, Asked]]:
    script = Script()
    path: Path = contracts.write(tmp_path_factory.mktemp("contract") / "descriptors.binpb")

    async def behave(data: bytes, context: Context) -> Message:
        return await script.behave(data, context)

    async with scripted(behave) as core:
        arguments = ("--descriptors", str(path), "--deadline", "1")
        async with envoy_before(core.address, arguments=arguments) as envoy:
            yield script, core, envoy


@pytest.fixture
def script(served: tuple[Script, ScriptedCore, Asked]) -> Script:
    served[0].__init__()  # type: ignore[misc]  # everything as at the beginning
    return served[0]


@pytest.fixture
def core(served: tuple[Script, ScriptedCore, Asked]) -> ScriptedCore:
    return served[1]


@pytest.fixture
def envoy(served: tuple[Script, ScriptedCore, Asked]) -> Asked:
    return served[2]


@pytest.mark.parametrize("names", [[], ["one"], ["a", 'b"}],{', "\u00fc\n\\", "[]"]])
async def test_a_list_stands_at_the_top_level(
    script: Script, envoy: Asked, names: list[str]
) -> None:
    script.response = contracts.response(names, note='"things":[1]', more="x")
    reply = await envoy.ask("GET", "/api/v1/things")
    assert (reply.status, reply.json) == (200, [{"name": name} for name in names])
    assert int(reply.headers["Content-Length"]) == len(reply.raw)
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"


async def test_head_tells_the_length_of_the_list(script: Script, envoy: Asked) -> None:
    script.response = contracts.response(["one", "two"])
    length = (await envoy.ask("GET", "/api/v1/things")).headers["Content-Length"]
    head = await envoy.ask("HEAD", "/api/v1/things")
    assert (head.status, head.raw, head.headers["Content-Length"]) == (200, b"", length)


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("path", ["/content/recent", "/api/v1/things"])
async def test_an_error_has_the_body_of_the_facade(
    script: Script, envoy: Asked, path: str, begun: bool
) -> None:
    script.begun = begun
    for status in statuses():
        script.status, script.metadata = status, (("x-http-code", "418"),)
        reply = await envoy.ask("GET", path)
        expected = render(status, {"x-http-code": "418"}, path=path)
        body = reply.json
        if "retry_after" in expected.body and not _has_instant(status):
            assert body.pop("retry_after")[:10] == expected.body.pop("retry_after")[:10]
        assert (reply.status, body) == (418, expected.body)
        assert list(body) == list(expected.body)
        for name, value in expected.headers.items():
            if name != "Retry-After" or not _has_instant(status):
                assert reply.headers[name] == value


def statuses() -> list[Status]:
    """One of each kind of detail, and all of them."""
    wait = RetryInfo()
    wait.retry_delay.FromMilliseconds(1500)
    broken = BadRequest()
    broken.field_violations.add(field="a", description="must be 1")
    broken.field_violations.add(field="b.c", description='must be "short"')
    broken.field_violations.add(field="a", description="must be odd")
    link = Help(links=[Help.Link(url="https://e.example/?a=1&b=\u00fc")])
    facts = {"b": "2", "a": "1", "user_action_required": "true"}
    instant = {"retry_after": "2034-01-10T11:00:00Z"}
    kinds: list[tuple[int, list[Message]]] = [
        (8, [_info("RATE_LIMITED"), wait]),
        (8, [_info("RATE_LIMITED", **instant)]),
        (3, [_info("INVALID_ARGUMENT"), broken]),
        (10, [_info("SYNC_IN_PROGRESS", **facts)]),
        (16, [_info("AUTHENTICATION_FAILED"), link]),
        (14, [_info("PLATFORM_ERROR", **facts, **instant), broken, wait, link]),
        (5, []),
        (13, [_info("NO_SUCH_REASON")]),
        (5, [ErrorInfo(reason="NOT_WATCHING", domain="elsewhere.example")]),
    ]
    found = []
    for code, details in kinds:
        status = Status(code=code, message='said \u00fc \\ "quoted"\n')
        for detail in details:
            status.details.add().Pack(detail)
        found.append(status)
    return found


def _info(reason: str, **metadata: str) -> ErrorInfo:
    return ErrorInfo(reason=reason, domain="distill.dev", metadata=metadata)


def _has_instant(status: Status) -> bool:
    return b"retry_after" in status.SerializeToString()


async def test_an_error_that_does_not_say_its_status_has_that_of_its_reason(
    script: Script, envoy: Asked
) -> None:
    for reason in ErrorReason.values():
        if reason:
            script.status = status_of(reason)
            expected = render(script.status, {}, path="/")
            reply = await envoy.ask("GET", "/content/recent")
            assert (reply.status, reply.json) == (expected.http_status, expected.body)


@pytest.mark.parametrize("code", [code for code in CODES if code])
async def test_a_status_without_a_reason_shows_nothing_of_the_inside(
    script: Script, envoy: Asked, code: int
) -> None:
    script.status = Status(code=code, message="secret")
    expected = render(script.status, {}, path="/")
    reply = await envoy.ask("GET", "/content/recent")
    assert (reply.status, reply.json["error"]) == (expected.http_status, expected.body["error"])
    assert reply.json["message"] == expected.body["message"]
    assert b"secret" not in reply.raw


async def test_a_core_that_is_stuck_is_given_up(script: Script, envoy: Asked) -> None:
    script.wait = 3.0
    reply = await envoy.ask("GET", "/content/recent")
    assert (reply.status, reply.json["error"]) == (504, "deadline_exceeded")
    assert "Retry-After" not in reply.headers


async def test_large_answers_go_through(script: Script, envoy: Asked) -> None:
    response = ListRecentResponse()
    for _ in range(12):
        response.data.add(content="x" * 1_000_000)
    script.response = response
    reply = await envoy.ask("GET", "/content/recent", headers={"Accept-Encoding": "identity"})
    assert reply.status == 200
    assert len(reply.raw) > 12_000_000
    assert len(reply.json["data"]) == 12


async def test_only_what_the_core_may_see_becomes_metadata(
    script: Script, core: ScriptedCore, envoy: Asked
) -> None:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    headers = {
        "Authorization": "Bearer abc",
        "X-Request-Id": "id-1.x_Y",
        "traceparent": trace,
        "tracestate": "v=1",
        "X-Distill-Simulate": "rate_limited",
        "x-user-id": "root",
        "x-http-code": "500",
        "x-envoy-retry-on": "5xx",
        "x-forwarded-for": "1.2.3.4",
        "grpc-timeout": "1S",
        "evil-bin": "AAAA",
        "Cookie": "a=b",
    }
    await envoy.ask("GET", "/content/recent", headers=headers)
    name, metadata = core.seen[-1]
    assert name == "/distill.v1.ContentService/ListRecent"
    # Envoy has appended whom it speaks to: what a client claims stands left of it.
    claimed, seen = str(metadata.pop("x-forwarded-for")).split(",")
    assert claimed == "1.2.3.4"
    assert ip_address(seen.strip())
    assert {key: value for key, value in metadata.items() if key != "user-agent"} == {
        "authorization": "Bearer abc",
        "x-request-id": "id-1.x_Y",
        "traceparent": trace,
        "tracestate": "v=1",
        "x-distill-simulate": "rate_limited",
    }


async def test_two_authorizations_are_no_authorization(
    script: Script, core: ScriptedCore, envoy: Asked
) -> None:
    both = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")]
    reply = await envoy.ask("GET", "/content/recent", headers=both)
    assert (reply.status, reply.json["error"]) == (401, "authentication_failed")
    assert (await envoy.ask("GET", "/api/v1/things", headers=both)).status == 200
    assert "authorization" not in core.seen[-1][1]

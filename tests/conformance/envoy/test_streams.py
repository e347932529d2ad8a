"""Streams through Envoy, from a core whose events the test decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from distill_grpc.event_reader import EventReader
from distill_grpc.proto.distill.v1 import content_service_pb2 as pb
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from http_facade.errors import status_of
from http_facade.json_encoding import encode
from tests.conformance.envoy.scripted import Asked, Context, envoy_before, scripted
from tests.conformance.envoy.test_grpc import frame, frames
from tests.conformance.users import watch
from tests.envoy_door import needs_envoy
from tests.service import Service
from tests.unit.http_facade.test_rest_streams import DONE, PATH, QUESTION, statement, told

pytestmark = needs_envoy

Json = Any
CODES = {code.value[0]: code for code in grpc.StatusCode}
TEXTS = [
    "plain",
    'data: {"statement":{"text":"\n\ndata: {"done":{}}\n\n',
    '\ndata: {"done":',
    "\r\n\r\nevent: error\r\n",
    "\u2028\u2029\u0085\x0b\x0c",
    '"quoted" \\ {braces} :colons:',
    "😀" * 2000,
    "x" * 300_000,
]


class Script:
    """What the core does."""

    def __init__(self) -> None:
        self.play: Callable[[Context], Awaitable[None]] = self.nothing

    async def nothing(self, _: Context) -> None: ...

    async def stream(self, _: bytes, context: Context) -> None:
        await self.play(context)

    def sends(self, *sent: Message, status: Status | None = None, **trailers: str) -> None:
        async def play(context: Context) -> None:
            for event in sent:
                await context.write(event)
            if status is not None:
                details = ("grpc-status-details-bin", status.SerializeToString())
                more = ((name.replace("_", "-"), value) for name, value in trailers.items())
                await context.abort(CODES[status.code], status.message, (details, *more))

        self.play = play


@pytest.fixture(scope="module")
async def served() -> AsyncIterator[tuple[Script, Asked]]:
    script = Script()

    async def unasked(_: bytes, __: Context) -> Message:
        raise AssertionError

    async with (
        scripted(unasked, stream=script.stream) as core,
        envoy_before(core.address) as asked,
    ):
        yield script, asked


async def test_events_have_names_whatever_they_hold(served: tuple[Script, Asked]) -> None:
    script, door = served
    sent = [*(statement(text) for text in TEXTS), *(statement(str(n)) for n in range(500)), DONE]
    script.sends(*sent)
    reply = await door.ask("POST", PATH, json=QUESTION)
    assert reply.status == 200
    assert told(reply.raw) == [(event.WhichOneof("event"), encode(event)) for event in sent]


async def test_the_headers_are_the_facades(served: tuple[Script, Asked]) -> None:
    script, door = served
    script.sends(*(statement("x" * 1000) for _ in range(10)), DONE)
    reply = await door.ask("POST", PATH, json=QUESTION, headers={"Accept-Encoding": "gzip"})
    assert reply.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Accel-Buffering"] == "no"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert "Content-Encoding" not in reply.headers
    assert not [name for name in reply.headers if name.lower().startswith("grpc-")]


async def test_each_event_leaves_at_once_and_the_core_has_minutes(
    served: tuple[Script, Asked],
) -> None:
    script, door = served
    release = asyncio.Event()
    remaining = []

    async def play(context: Context) -> None:
        remaining.append(context.time_remaining())
        await context.write(statement("One"))
        await release.wait()
        await context.write(DONE)

    script.play = play
    async with door.session.post(door.url + PATH, json=QUESTION) as response:
        first = await asyncio.wait_for(response.content.readuntil(b"\n\n"), 5)
        assert told(first)[0][0] == "statement"
        release.set()
        assert told(first + await response.read())[-1][0] == "done"
    assert 290 < remaining[0] <= 301


async def test_an_error_before_the_first_event_is_an_ordinary_answer(
    served: tuple[Script, Asked],
) -> None:
    script, door = served
    script.sends(status=status_of(ErrorReason.INSUFFICIENT_CREDITS), x_http_code="402")
    reply = await door.ask("POST", PATH, json=QUESTION)
    assert (reply.status, reply.json["error"]) == (402, "insufficient_credits")
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"


async def test_a_client_that_goes_away_ends_the_call_of_the_core(
    served: tuple[Script, Asked],
) -> None:
    script, door = served
    ended = asyncio.Event()

    async def play(context: Context) -> None:
        try:
            await context.write(statement("One"))
            await asyncio.sleep(60)
        finally:
            ended.set()

    script.play = play
    async with door.session.post(door.url + PATH, json=QUESTION) as response:
        await response.content.readuntil(b"\n\n")
        response.close()
    await asyncio.wait_for(ended.wait(), 5)


async def test_after_the_first_event_an_error_is_an_end_without_done(
    served: tuple[Script, Asked],
) -> None:
    """A difference of envoy/README.md: the transcoder says nothing of trailers after a body."""
    script, door = served
    script.sends(statement("One"), status=status_of(ErrorReason.UNAVAILABLE))
    reply = await door.ask("POST", PATH, json=QUESTION)
    assert (reply.status, [kind for kind, _ in told(reply.raw)]) == (200, ["statement"])


async def test_silence_stays_silent(served: tuple[Script, Asked]) -> None:
    """A difference of envoy/README.md: comments come from the facade alone."""
    script, door = served
    script.sends(statement("One"), DONE)
    raw = (await door.ask("POST", PATH, json=QUESTION)).raw
    assert len(EventReader(1 << 20).feed(raw)) == 2
    assert b"\n:" not in raw


async def test_a_browser_streams_by_grpc_web(idle: Service, envoy: Asked, user: str) -> None:
    await watch(idle, user)
    headers = {
        "Content-Type": "application/grpc-web+proto",
        "X-Grpc-Web": "1",
        "Authorization": f"Bearer {idle.token(user)}",
    }
    request = pb.AskStreamRequest(question="When?").SerializeToString()
    reply = await envoy.ask(
        "POST", "/distill.v1.ContentService/AskStream", data=frame(request), headers=headers
    )
    (flag, message), (trailer_flag, trailers) = frames(reply.raw)
    assert (flag, trailer_flag) == (0, 128)
    assert pb.AskEvent.FromString(message).done.reason == pb.AskResponse.nothing_found
    assert b"grpc-status:0" in trailers

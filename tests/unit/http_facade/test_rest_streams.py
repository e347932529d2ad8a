"""Streams of events: what goes over the wire, and how each of them ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from google.protobuf.message import Message
from structlog.testing import capture_logs

from distill_grpc.event_reader import Event, EventReader
from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1 import content_service_pb2 as pb
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from http_facade.errors import status_of
from http_facade.transport import Outcome
from tests.unit.http_facade.rest_door import Call, Door, FakeCore, opened

PATH = "/content/ask:stream"
QUESTION = {"question": "When?"}
DONE = pb.AskEvent(done=pb.AskDone(metadata={"model_used": "passages"}))
GENTLE = status_of(ErrorReason.UNAVAILABLE, retry_in=1.0)

Play = Callable[[Call], Awaitable[Outcome]]


def statement(text: str) -> Message:
    return pb.AskEvent(statement={"text": text})


def events(raw: bytes) -> list[Event]:
    return EventReader(1 << 24).feed(raw)


def told(raw: bytes) -> list[tuple[str, Any]]:
    return [(event.kind, orjson.loads(event.data)) for event in events(raw)]


def sends(*sent: Message, outcome: Outcome | None = None) -> FakeCore:
    async def play(call: Call) -> Outcome:
        assert call.send is not None
        for event in sent:
            await call.send(event)
        return outcome or Outcome()

    return FakeCore(answer=play)


class Held:
    """A core that sends one event, then nothing until it is let go or cancelled."""

    def __init__(self, *sent: Message) -> None:
        self.sent = sent
        self.begun, self.ended, self.release = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.cancelled = False

    async def __call__(self, call: Call) -> Outcome:
        assert call.send is not None
        try:
            for event in self.sent:
                await call.send(event)
            self.begun.set()
            await self.release.wait()
            await call.send(DONE)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.ended.set()
        return Outcome()


def request(door: Door, **headers: str) -> Any:
    url = f"http://127.0.0.1:{door.port}{PATH}"
    return door.session.post(url, json=QUESTION, headers=headers)


async def test_events_are_named_and_hold_the_json_of_unary_answers() -> None:
    core = sends(statement("One\u2028two\n\n: three\r"), DONE)
    async with opened(core) as door:
        reply = await door.ask("POST", PATH, json=QUESTION)
    assert reply.status == 200
    assert told(reply.raw) == [
        ("statement", {"statement": {"text": "One\u2028two\n\n: three\r", "items": []}}),
        (
            "done",
            {
                "done": {
                    "metadata": {
                        "model_used": "passages",
                        "processing_time": "",
                        "confidence": 0.0,
                        "warnings": [],
                    }
                }
            },
        ),
    ]
    assert core.last.request == pb.AskStreamRequest(question="When?")
    assert core.last.timeout == 300


async def test_the_headers_let_nothing_on_the_way_hold_events_back() -> None:
    async with opened(sends(DONE), cors_origins=("https://app.example",)) as door:
        headers = {
            "Accept-Encoding": "gzip",
            "Origin": "https://app.example",
            "X-Request-Id": "stream-1",
        }
        reply = await door.ask("POST", PATH, json=QUESTION, headers=headers)
    assert reply.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Accel-Buffering"] == "no"
    assert reply.headers["X-Request-Id"] == "stream-1"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Content-Encoding" not in reply.headers


async def test_each_event_leaves_at_once() -> None:
    held = Held(statement("One"))
    async with opened(FakeCore(answer=held)) as door, request(door) as response:
        first = await asyncio.wait_for(response.content.readuntil(b"\n\n"), 5)
        assert told(first)[0][0] == "statement"
        assert not held.ended.is_set()
        held.release.set()
        assert told(await response.read())[-1][0] == "done"


async def test_an_error_before_the_first_event_is_an_ordinary_answer() -> None:
    failed = Outcome(
        status=status_of(ErrorReason.INSUFFICIENT_CREDITS), metadata={"x-http-code": "402"}
    )
    async with opened(sends(outcome=failed)) as door:
        reply = await door.ask("POST", PATH, json=QUESTION)
    assert (reply.status, reply.json["error"]) == (402, "insufficient_credits")
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"


async def test_an_error_after_it_is_the_last_event() -> None:
    async with opened(sends(statement("One"), outcome=Outcome(status=GENTLE))) as door:
        reply = await door.ask("POST", PATH, json=QUESTION)
    (first, _), (last, error) = told(reply.raw)
    assert (reply.status, first, last) == (200, "statement", "error")
    assert (error["error"], error["user_action_required"]) == ("unavailable", False)
    assert error["retry_after"]


async def test_a_fault_of_the_transport_shows_nothing_of_the_inside() -> None:
    async def break_down(call: Call) -> Outcome:
        assert call.send is not None
        await call.send(statement("One"))
        raise ValueError("password=hunter2")

    async with opened(FakeCore(answer=break_down)) as door:
        reply = await door.ask("POST", PATH, json=QUESTION)
    assert b"hunter2" not in reply.raw
    assert told(reply.raw)[-1][1]["error"] == "internal_error"


async def test_a_core_that_sends_nothing_ends_the_stream_without_a_fault() -> None:
    async with opened(sends()) as door:
        reply = await door.ask("POST", PATH, json=QUESTION)
    assert (reply.status, reply.raw) == (200, b"")


async def test_silence_is_filled_with_comments_that_are_no_events() -> None:
    held = Held(statement("One"))
    async with opened(FakeCore(answer=held), heartbeat=0.05) as door, request(door) as response:
        raw = await asyncio.wait_for(response.content.readuntil(b":\n\n:\n\n"), 5)
        held.release.set()
        raw += await response.read()
    assert [kind for kind, _ in told(raw)] == ["statement", "done"]


async def test_before_the_first_event_nothing_is_sent() -> None:
    held = Held()
    async with opened(FakeCore(answer=held), heartbeat=0.02) as door:
        task = asyncio.create_task(door.ask("POST", PATH, json=QUESTION))
        await held.begun.wait()
        await asyncio.sleep(0.1)
        held.release.set()
        assert (await task).raw.startswith(b"event: done\n")


@pytest.mark.parametrize("sent", [(), (statement("One"),)])
async def test_a_client_that_goes_away_ends_the_call_of_the_core(sent: tuple[Message, ...]) -> None:
    held = Held(*sent)
    with capture_logs() as lines:
        async with opened(FakeCore(answer=held)) as door:
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            body = orjson.dumps(QUESTION)
            writer.write(
                b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (PATH.encode(), len(body), body)
            )
            await held.begun.wait()
            if sent:
                await reader.readuntil(b"statement")
            writer.transport.abort()
            await asyncio.wait_for(held.ended.wait(), 2)
            assert held.cancelled
            async with asyncio.timeout(2):
                while not [line for line in lines if line["event"] == "http_request"]:
                    await asyncio.sleep(0.01)
    (line,) = [line for line in lines if line["event"] == "http_request"]
    assert line["status"] == (200 if sent else 499)
    assert not [line for line in lines if line["log_level"] in {"error", "critical"}]


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    stuck = asyncio.Event()

    async def flood(call: Call) -> Outcome:
        assert call.send is not None
        try:
            while True:
                await call.send(statement("x" * 100_000))
        except asyncio.CancelledError:
            stuck.set()
            raise

    with capture_logs() as lines:
        async with (
            opened(FakeCore(answer=flood), send_timeout=0.3) as door,
            request(door) as response,
        ):
            await asyncio.wait_for(stuck.wait(), 10)
            with pytest.raises(aiohttp.ClientError):
                await response.read()
    (line,) = [line for line in lines if line["event"] == "http_request"]
    assert line["interrupted"] == "not_taken"


async def test_a_client_that_does_not_take_the_end_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def wait(_response: web.StreamResponse, _data: bytes = b"") -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(web.StreamResponse, "write_eof", wait)
    with capture_logs() as lines:
        core = sends(statement("One"), DONE)
        async with opened(core, send_timeout=0.1) as door, request(door) as response:
            with pytest.raises(aiohttp.ClientError):
                await asyncio.wait_for(response.read(), 5)
    (line,) = [line for line in lines if line["event"] == "http_request"]
    assert (line["status"], line["interrupted"]) == (200, "not_taken")


async def test_a_door_that_closes_lets_streams_end_within_the_grace() -> None:
    held = Held(statement("One"))
    async with opened(FakeCore(answer=held), grace=5.0) as door, request(door) as response:
        await held.begun.wait()
        closing = asyncio.create_task(door.runner.cleanup())
        await asyncio.sleep(0.05)
        held.release.set()
        assert told(await response.read())[-1][0] == "done"
        await asyncio.wait_for(closing, 5)


async def test_after_the_grace_a_stream_ends_with_a_word_to_its_client() -> None:
    held = Held(statement("One"))
    async with opened(FakeCore(answer=held), grace=1.1) as door, request(door) as response:
        await held.begun.wait()
        closing = asyncio.create_task(door.runner.cleanup())
        last, error = told(await asyncio.wait_for(response.read(), 5))[-1]
        assert (last, error["error"]) == ("error", "unavailable")
        assert held.cancelled
        await asyncio.wait_for(closing, 5)


async def test_a_stuck_transport_is_given_up() -> None:
    held = Held(statement("One"))
    async with opened(FakeCore(answer=held), stream_deadline=-0.7) as door:
        reply = await door.ask("POST", PATH, json=QUESTION)
    assert told(reply.raw)[-1][1]["error"] == "deadline_exceeded"
    assert held.cancelled


async def test_the_connection_serves_on_after_a_stream() -> None:
    async with opened(sends(statement("One"), DONE)) as door:
        for _ in range(3):
            assert (await door.ask("POST", PATH, json=QUESTION)).status == 200
        assert door.session.connector is not None
        assert len(door.session.connector._conns) == 1  # type: ignore[attr-defined]  # the pool


async def test_http_1_0_gets_the_events_until_the_connection_closes() -> None:
    async with opened(sends(statement("One"), DONE)) as door:
        raw = await door.raw(
            b"POST %b HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n"
            b'{"question":"a"}' % PATH.encode()
        )
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200")
    assert b"chunked" not in head
    assert [kind for kind, _ in told(body)] == ["statement", "done"]


async def test_events_and_the_end_are_logged() -> None:
    with capture_logs() as lines:
        async with opened(sends(statement("One"), DONE)) as door:
            await door.ask("POST", PATH, json=QUESTION)
    (line,) = [line for line in lines if line["event"] == "http_request"]
    assert (line["route"], line["status"], line["events"], line["interrupted"]) == (
        PATH,
        200,
        2,
        None,
    )


def test_every_stream_of_the_contract_ends_with_done() -> None:
    streams = [rpc for rpc in contract.rpcs() if rpc.streams]
    assert {rpc.name for rpc in streams} == {"SearchStream", "AskStream"}
    for rpc in streams:
        assert rpc.events[-1] == "done"
        assert "error" not in rpc.events

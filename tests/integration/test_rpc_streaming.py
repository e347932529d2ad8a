"""Streams pass the same concerns as other calls, and end as those do, over both transports."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from structlog.testing import capture_logs

from distill_grpc.auth import LocalIssuer, TokenVerifier
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1 import content_service_pb2 as pb
from distill_grpc.ratelimit import LocalCallLimiter
from distill_grpc.rpc import server as grpc_server
from distill_grpc.rpc.access_log import access_log
from distill_grpc.rpc.authentication import authentication
from distill_grpc.rpc.call import Call
from distill_grpc.rpc.error_translation import error_translation
from distill_grpc.rpc.local import LocalTransport
from distill_grpc.rpc.pipeline import Pipeline
from distill_grpc.rpc.rate_limiting import rate_limiting
from distill_grpc.rpc.request_id import request_id
from distill_grpc.rpc.server import GrpcServer
from distill_grpc.rpc.simulation import simulation
from distill_grpc.rpc.stream_limit import stream_limit
from distill_grpc.rpc.validation import validation
from http_facade.remote import RemoteTransport
from http_facade.transport import Outcome, Transport

ASK = contract.rpc("/distill.v1.ContentService/AskStream")
QUESTION = pb.AskStreamRequest(question="When?")
DONE = pb.AskEvent(done=pb.AskDone())
SECRET = "password=hunter2 in /srv/distill/app.py"
PER_MINUTE = 40

Behaviour = Callable[[Call], Awaitable[None]]


def statement(text: str) -> pb.AskEvent:
    return pb.AskEvent(statement={"text": text})


class Servicer:
    """Streams what a test wants, then the end."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = self.one
        self.calls = 0

    async def one(self, call: Call) -> None:
        await call.send(statement("One"))

    async def ask_stream(self, _request: Message, call: Call) -> Message:
        self.calls += 1
        await self.behaviour(call)
        return DONE

    def __getattr__(self, _name: str) -> Any:
        return self.ask_stream


class Reader:
    """Whoever takes the events."""

    def __init__(self) -> None:
        self.events: list[Message] = []
        self.first = asyncio.Event()

    async def take(self, event: Message) -> None:
        self.events.append(event)
        self.first.set()


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> LocalIssuer:
    return LocalIssuer.load(tmp_path_factory.mktemp("issuer"))


@pytest.fixture
def servicer() -> Servicer:
    return Servicer()


@pytest.fixture
async def pipeline(issuer: LocalIssuer, servicer: Servicer) -> AsyncIterator[Pipeline]:
    limiter = LocalCallLimiter(None, limit=PER_MINUTE)
    yield Pipeline(
        [
            request_id,
            access_log,
            error_translation,
            simulation,
            authentication(defaultdict(lambda: TokenVerifier([issuer.trusted()])), action_url=None),
            rate_limiting(limiter, per_minute=PER_MINUTE),
            validation,
        ],
        {"distill.v1.ContentService": servicer},
        of_streams=[stream_limit(at_once=2)],
    )
    await limiter.close()


@asynccontextmanager
async def served(pipeline: Pipeline) -> AsyncIterator[GrpcServer]:
    server = GrpcServer(pipeline, address="127.0.0.1:0", with_reflection=False)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(grace=0)


@pytest.fixture(params=["local", "remote"])
async def transport(request: pytest.FixtureRequest, pipeline: Pipeline) -> AsyncIterator[Transport]:
    if request.param == "local":
        yield LocalTransport(pipeline)
        return
    async with served(pipeline) as server:
        remote = RemoteTransport(f"127.0.0.1:{server.port}", channels=1)
        yield remote
        await remote.close()


@pytest.fixture
def metadata(issuer: LocalIssuer) -> dict[str, str]:
    token = issuer.issue(user_id="u", email=None, expires_in=timedelta(minutes=5))
    return {"authorization": f"Bearer {token}", "x-request-id": "test-1"}


async def ask(
    transport: Transport, metadata: dict[str, str], **changes: Any
) -> tuple[Outcome, list[Message]]:
    reader = Reader()
    request = changes.pop("request", QUESTION)
    timeout = changes.pop("timeout", 5.0)
    outcome = await transport.stream(ASK, request, metadata | changes, timeout, reader.take)
    return outcome, reader.events


def reason(outcome: Outcome) -> str:
    assert outcome.status is not None
    found = ErrorInfo()
    outcome.status.details[0].Unpack(found)
    return found.reason


async def test_events_come_in_order_and_the_last_is_what_the_method_returned(
    transport: Transport, metadata: dict[str, str], servicer: Servicer
) -> None:
    async def many(call: Call) -> None:
        for number in range(100):
            await call.send(statement(str(number)))

    servicer.behaviour = many
    with capture_logs() as lines:
        outcome, events = await ask(transport, metadata)
    assert outcome.status is None
    assert events == [*(statement(str(number)) for number in range(100)), DONE]
    (line,) = [line for line in lines if line["event"] == "rpc"]
    assert (line["code"], line["user_id"]) == ("OK", "u")


@pytest.mark.parametrize("token", ["", "Bearer not.a.token", "Basic YTpi"])
async def test_without_a_good_token_nothing_begins(
    transport: Transport, servicer: Servicer, token: str
) -> None:
    outcome, events = await ask(transport, {"authorization": token} if token else {})
    assert (reason(outcome), events, servicer.calls) == ("AUTHENTICATION_FAILED", [], 0)


async def test_a_wrong_field_is_named(
    transport: Transport, metadata: dict[str, str], servicer: Servicer
) -> None:
    wrong = pb.AskStreamRequest(question="x" * 1001)
    outcome, events = await ask(transport, metadata, request=wrong)
    assert (reason(outcome), events, servicer.calls) == ("INVALID_ARGUMENT", [], 0)
    assert outcome.status is not None
    broken = BadRequest()
    outcome.status.details[1].Unpack(broken)
    assert broken.field_violations[0].field == "question"


async def test_streams_count_as_calls(
    transport: Transport, metadata: dict[str, str], servicer: Servicer
) -> None:
    for _ in range(PER_MINUTE):
        outcome, _ = await ask(transport, metadata)
        assert outcome.status is None
    outcome, events = await ask(transport, metadata)
    assert (reason(outcome), events, servicer.calls) == ("RATE_LIMITED", [], PER_MINUTE)


async def test_a_client_may_ask_for_an_error_in_mock_mode(
    transport: Transport, metadata: dict[str, str]
) -> None:
    outcome, events = await ask(transport, metadata, **{"x-distill-simulate": "not_watching"})
    assert (reason(outcome), events) == ("NOT_WATCHING", [])


async def test_only_so_many_streams_of_a_user_are_open_at_once(
    transport: Transport, metadata: dict[str, str], servicer: Servicer, issuer: LocalIssuer
) -> None:
    release = asyncio.Event()

    async def wait(call: Call) -> None:
        await call.send(statement("One"))
        await release.wait()

    servicer.behaviour = wait
    readers = [Reader(), Reader()]
    open_ones = [
        asyncio.create_task(transport.stream(ASK, QUESTION, metadata, 5.0, reader.take))
        for reader in readers
    ]
    for reader in readers:
        await asyncio.wait_for(reader.first.wait(), 5)
    outcome, _ = await ask(transport, metadata)
    assert reason(outcome) == "RATE_LIMITED"
    other = issuer.issue(user_id="other", email=None, expires_in=timedelta(minutes=5))
    release.set()
    outcome, _ = await ask(transport, {"authorization": f"Bearer {other}"})
    assert outcome.status is None
    await asyncio.gather(*open_ones)
    outcome, _ = await ask(transport, metadata)
    assert outcome.status is None


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("kind", [ValueError, RuntimeError, OSError])
async def test_nothing_of_a_fault_reaches_the_caller_however_late_it_comes(
    transport: Transport,
    metadata: dict[str, str],
    servicer: Servicer,
    kind: type[Exception],
    after: int,
) -> None:
    async def break_down(call: Call) -> None:
        for number in range(after):
            await call.send(statement(str(number)))
        raise kind(SECRET)

    servicer.behaviour = break_down
    with capture_logs() as lines:
        outcome, events = await ask(transport, metadata)
    assert outcome.status is not None
    assert (outcome.status.code, reason(outcome)) == (code_pb2.INTERNAL, "INTERNAL_ERROR")
    assert len(events) == after
    assert "hunter2" not in f"{outcome} {events}"
    assert outcome.metadata["x-request-id"] == "test-1"
    (fault,) = [line for line in lines if line["event"] == "call_failed"]
    assert SECRET in str(fault["exc_info"])
    (line,) = [line for line in lines if line["event"] == "rpc"]
    assert line["code"] == "INTERNAL"


async def test_an_error_of_ours_after_events_keeps_its_details(
    transport: Transport, metadata: dict[str, str], servicer: Servicer
) -> None:
    async def refuse(call: Call) -> None:
        await call.send(statement("One"))
        raise DistillError(ErrorReason.INSUFFICIENT_CREDITS, "Grüße, no credits")

    servicer.behaviour = refuse
    outcome, events = await ask(transport, metadata)
    assert outcome.status is not None
    assert (len(events), outcome.status.message) == (1, "Grüße, no credits")
    assert outcome.metadata["x-http-code"] == "402"


async def test_a_stream_that_takes_too_long_is_ended(
    transport: Transport, metadata: dict[str, str], servicer: Servicer
) -> None:
    ended = asyncio.Event()

    async def linger(call: Call) -> None:
        try:
            await call.send(statement("One"))
            await asyncio.sleep(60)
        finally:
            ended.set()

    servicer.behaviour = linger
    outcome, events = await ask(transport, metadata, timeout=0.3)
    assert (reason(outcome), len(events)) == ("DEADLINE_EXCEEDED", 1)
    await asyncio.wait_for(ended.wait(), 5)


async def test_who_goes_away_ends_the_work(
    transport: Transport, metadata: dict[str, str], servicer: Servicer
) -> None:
    ended = asyncio.Event()

    async def linger(call: Call) -> None:
        try:
            await call.send(statement("One"))
            await asyncio.sleep(60)
        finally:
            ended.set()

    servicer.behaviour = linger
    reader = Reader()
    with capture_logs() as lines:
        task = asyncio.create_task(transport.stream(ASK, QUESTION, metadata, 5.0, reader.take))
        await asyncio.wait_for(reader.first.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(ended.wait(), 2)
        async with asyncio.timeout(2):
            while not [line for line in lines if line["event"] == "rpc"]:
                await asyncio.sleep(0.01)
    (line,) = [line for line in lines if line["event"] == "rpc"]
    assert line["code"] == "CANCELLED"
    assert not [line for line in lines if line["log_level"] == "error"]


async def test_a_slow_reader_holds_the_sender_back(
    transport: Transport, metadata: dict[str, str], servicer: Servicer
) -> None:
    sent = 0
    largest = "x" * 100_000

    async def flood(call: Call) -> None:
        nonlocal sent
        for _ in range(199):
            sent += 1
            await call.send(statement(largest))

    servicer.behaviour = flood
    release, first = asyncio.Event(), asyncio.Event()
    taken = 0

    async def take(_event: Message) -> None:
        nonlocal taken
        first.set()
        await release.wait()
        taken += 1

    task = asyncio.create_task(transport.stream(ASK, QUESTION, metadata, 30.0, take))
    await first.wait()
    await asyncio.sleep(0.3)
    # gRPC's windows hold some megabytes; 20 are never sent to who takes none.
    assert sent < 120
    release.set()
    assert (await task).status is None
    assert taken == 200


async def test_who_never_reads_is_given_up(
    pipeline: Pipeline,
    metadata: dict[str, str],
    servicer: Servicer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpc_server, "TAKEN", 0.3)
    ended = asyncio.Event()

    async def flood(call: Call) -> None:
        try:
            while True:
                await call.send(statement("x" * 100_000))
        finally:
            ended.set()

    servicer.behaviour = flood
    async with served(pipeline) as server:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")
        call = channel.unary_stream(
            ASK.full_name,
            request_serializer=ASK.request_class.SerializeToString,
            response_deserializer=ASK.response_class.FromString,
        )(QUESTION, metadata=tuple(metadata.items()))
        await call.read()
        await asyncio.wait_for(ended.wait(), 10)
        await channel.close()


async def test_what_is_no_message_is_refused_over_the_wire(
    pipeline: Pipeline, metadata: dict[str, str]
) -> None:
    async with (
        served(pipeline) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        call = channel.unary_stream(ASK.full_name)(b"\xff\xff", metadata=tuple(metadata.items()))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    told = dict(refused.value.trailing_metadata() or ())
    assert Status.FromString(told["grpc-status-details-bin"]).code == code_pb2.INVALID_ARGUMENT


@pytest.mark.parametrize("in_time", [True, False])
async def test_a_server_that_stops_lets_a_stream_end_within_the_grace(
    pipeline: Pipeline, metadata: dict[str, str], servicer: Servicer, in_time: bool
) -> None:
    release = asyncio.Event()

    async def wait(call: Call) -> None:
        await call.send(statement("One"))
        await release.wait()

    servicer.behaviour = wait
    server = GrpcServer(pipeline, address="127.0.0.1:0", with_reflection=False)
    await server.start()
    remote = RemoteTransport(f"127.0.0.1:{server.port}", channels=1)
    reader = Reader()
    asked = asyncio.create_task(remote.stream(ASK, QUESTION, metadata, 20.0, reader.take))
    await asyncio.wait_for(reader.first.wait(), 5)
    stopping = asyncio.create_task(server.stop(grace=5.0 if in_time else 0.3))
    await asyncio.sleep(0.1)
    assert not asked.done()
    if in_time:
        release.set()
    outcome = await asyncio.wait_for(asked, 4)
    assert (outcome.status is None) is in_time
    assert in_time or reason(outcome) == "UNAVAILABLE"
    assert len(reader.events) == (2 if in_time else 1)
    await stopping
    await remote.close()


async def test_an_rpc_that_does_not_stream_has_nothing_to_send_by() -> None:
    with pytest.raises(TypeError):
        await Call(contract.rpc("/distill.v1.ContentService/Ask"), {}).send(DONE)

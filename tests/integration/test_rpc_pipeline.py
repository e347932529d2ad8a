"""The pipeline of concerns and both transports in front of it, with a servicer that misbehaves."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from distill_grpc.auth import LocalIssuer, TokenVerifier
from distill_grpc.db.engine import create_engine
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.proto import contract
from distill_grpc.proto.distill.publishing.v1 import post_service_pb2
from distill_grpc.proto.distill.v1 import discovery_service_pb2, watch_service_pb2
from distill_grpc.ratelimit import LocalCallLimiter
from distill_grpc.rpc.access_log import access_log
from distill_grpc.rpc.authentication import authentication
from distill_grpc.rpc.call import Call, CallFailed, Step
from distill_grpc.rpc.error_translation import error_translation
from distill_grpc.rpc.local import LocalTransport
from distill_grpc.rpc.pipeline import Pipeline
from distill_grpc.rpc.rate_limiting import rate_limiting
from distill_grpc.rpc.request_id import request_id
from distill_grpc.rpc.server import GrpcServer
from distill_grpc.rpc.validation import validation, violations
from http_facade.remote import RemoteTransport
from http_facade.transport import Outcome, Transport

WATCH = contract.rpc("/distill.v1.WatchService/Watch")
API = contract.rpc("/distill.v1.DiscoveryService/GetApi")
SECRET = "password=hunter2 in /srv/distill/app.py"

Behaviour = Callable[[Call], Awaitable[None]]


class Servicer:
    """Answers every RPC of the contract with an empty message, after doing what a test wants."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = self.nothing
        self.requests: list[Message] = []

    async def nothing(self, _call: Call) -> None: ...

    def __getattr__(self, _name: str) -> Any:
        async def answer(request: Message, call: Call) -> Message:
            self.requests.append(request)
            await self.behaviour(call)
            return call.rpc.response_class()

        return answer


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> LocalIssuer:
    return LocalIssuer.load(tmp_path_factory.mktemp("issuer"))


@pytest.fixture
def servicer() -> Servicer:
    return Servicer()


@pytest.fixture
async def pipeline(issuer: LocalIssuer, servicer: Servicer) -> AsyncIterator[Pipeline]:
    limiter = LocalCallLimiter(None, limit=1000)
    yield Pipeline(
        [
            request_id,
            access_log,
            error_translation,
            authentication(defaultdict(lambda: TokenVerifier([issuer.trusted()])), action_url=None),
            rate_limiting(limiter, per_minute=1000),
            validation,
        ],
        {service.full_name: servicer for service in contract.services()},
    )
    await limiter.close()


@pytest.fixture(params=["local", "remote"])
async def transport(request: pytest.FixtureRequest, pipeline: Pipeline) -> AsyncIterator[Transport]:
    """Both ways to the core; what they say must be the same."""
    if request.param == "local":
        yield LocalTransport(pipeline)
        return
    server = GrpcServer(pipeline, address="127.0.0.1:0", with_reflection=False)
    await server.start()
    remote = RemoteTransport(f"127.0.0.1:{server.port}", channels=1)
    yield remote
    await remote.close()
    await server.stop(grace=0)


@pytest.fixture
def metadata(issuer: LocalIssuer) -> dict[str, str]:
    token = issuer.issue(user_id="u", email=None, expires_in=timedelta(minutes=5))
    return {"authorization": f"Bearer {token}", "x-request-id": "test-1"}


def info(outcome: Outcome) -> ErrorInfo:
    assert outcome.status is not None
    found = ErrorInfo()
    outcome.status.details[0].Unpack(found)
    return found


async def watch(
    transport: Transport, metadata: dict[str, str], timeout: float = 5.0, **options: Any
) -> Outcome:
    request = watch_service_pb2.WatchRequest(options=options) if options else WATCH.request_class()
    return await transport.call(WATCH, request, metadata, timeout)


async def test_a_good_call_passes_every_concern(
    transport: Transport, metadata: dict[str, str], servicer: Servicer
) -> None:
    async def accept(call: Call) -> None:
        assert call.caller.user_id == "u"
        call.answer_with(201)

    servicer.behaviour = accept
    outcome = await watch(transport, metadata, backfill_days=3)
    assert outcome.status is None
    assert isinstance(outcome.response, watch_service_pb2.WatchResponse)
    assert outcome.metadata["x-http-code"] == "201"
    assert outcome.metadata["x-request-id"] == "test-1"
    (request,) = servicer.requests
    assert request == watch_service_pb2.WatchRequest(options={"backfill_days": 3})


@pytest.mark.parametrize("kind", [ValueError, KeyError, RuntimeError, AssertionError, OSError])
async def test_nothing_of_a_fault_reaches_the_caller_and_all_of_it_the_log(
    transport: Transport,
    metadata: dict[str, str],
    servicer: Servicer,
    kind: type[Exception],
) -> None:
    async def break_down(_call: Call) -> None:
        raise kind(SECRET)

    servicer.behaviour = break_down
    with capture_logs() as lines:
        outcome = await watch(transport, metadata)
    assert outcome.status is not None
    assert outcome.status.code == code_pb2.INTERNAL
    assert info(outcome).reason == "INTERNAL_ERROR"
    assert "hunter2" not in str(outcome)
    assert outcome.metadata["x-request-id"] == "test-1"
    (fault,) = [line for line in lines if line["event"] == "call_failed"]
    assert SECRET in str(fault["exc_info"])
    (line,) = [line for line in lines if line["event"] == "rpc"]
    assert (line["code"], line["user_id"]) == ("INTERNAL", "u")


@pytest.mark.parametrize(
    ("raised", "code", "reason"),
    [
        (TimeoutError(SECRET), code_pb2.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
        (psycopg.OperationalError(SECRET), code_pb2.UNAVAILABLE, "UNAVAILABLE"),
        (psycopg.errors.QueryCanceled(SECRET), code_pb2.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
        (
            exc.OperationalError("SELECT", {}, psycopg.OperationalError(SECRET)),
            code_pb2.UNAVAILABLE,
            "UNAVAILABLE",
        ),
        (exc.TimeoutError(SECRET), code_pb2.UNAVAILABLE, "UNAVAILABLE"),
        (
            exc.ProgrammingError("SELECT", {}, psycopg.errors.UndefinedTable(SECRET)),
            code_pb2.INTERNAL,
            "INTERNAL_ERROR",
        ),
    ],
)
async def test_what_a_failing_database_means_to_the_caller(
    transport: Transport,
    metadata: dict[str, str],
    servicer: Servicer,
    raised: Exception,
    code: int,
    reason: str,
) -> None:
    async def fail(_call: Call) -> None:
        raise raised

    servicer.behaviour = fail
    outcome = await watch(transport, metadata)
    assert outcome.status is not None
    assert (outcome.status.code, info(outcome).reason) == (code, reason)
    assert "hunter2" not in str(outcome)


async def test_an_error_of_ours_travels_whole(
    transport: Transport, metadata: dict[str, str], servicer: Servicer
) -> None:
    async def refuse(_call: Call) -> None:
        raise DistillError(
            ErrorReason.INSUFFICIENT_CREDITS, "Grüße, no credits", details={"plan": "frei"}
        )

    servicer.behaviour = refuse
    outcome = await watch(transport, metadata)
    assert outcome.status is not None
    assert outcome.status.message == "Grüße, no credits"
    assert outcome.metadata["x-http-code"] == "402"
    assert dict(info(outcome).metadata) == {"plan": "frei", "user_action_required": "true"}


async def never(_event: Message) -> None:
    raise AssertionError("an event for nobody")


async def test_a_caller_who_is_unknown_goes_no_further(
    transport: Transport, servicer: Servicer
) -> None:
    for rpc in contract.rpcs():
        if rpc.streams:
            outcome = await transport.stream(rpc, rpc.request_class(), {}, 5.0, never)
        else:
            outcome = await transport.call(rpc, rpc.request_class(), {}, 5.0)
        if outcome.status is None:
            assert rpc.public
        else:
            # What is public goes on, to where it lacks a field.
            reason = "INVALID_ARGUMENT" if rpc.public else "AUTHENTICATION_FAILED"
            assert info(outcome).reason == reason
    # An empty request is valid for what describes the service, and lacks a field everywhere else.
    described = [rpc for rpc in contract.rpcs() if "DiscoveryService" in rpc.full_name]
    assert len(servicer.requests) == sum(rpc.public for rpc in described)


async def test_authentication_comes_before_validation(
    transport: Transport, metadata: dict[str, str], servicer: Servicer
) -> None:
    refused = await watch(transport, {}, backfill_days=99)
    assert info(refused).reason == "AUTHENTICATION_FAILED"
    invalid = await watch(transport, metadata, backfill_days=99)
    assert info(invalid).reason == "INVALID_ARGUMENT"
    assert servicer.requests == []


async def test_a_call_that_takes_too_long_is_ended(
    transport: Transport, metadata: dict[str, str], servicer: Servicer
) -> None:
    ended = asyncio.Event()

    async def linger(_call: Call) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    servicer.behaviour = linger
    with capture_logs() as lines:
        outcome = await watch(transport, metadata, timeout=0.2)
        async with asyncio.timeout(60):
            await ended.wait()
        await asyncio.sleep(0.05)
    assert outcome.status is not None
    assert outcome.status.code == code_pb2.DEADLINE_EXCEEDED
    assert info(outcome).reason == "DEADLINE_EXCEEDED"
    assert [line["code"] for line in lines if line["event"] == "rpc"] == ["CANCELLED"]


async def test_a_caller_who_leaves_ends_the_work(
    transport: Transport, metadata: dict[str, str], servicer: Servicer
) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def linger(_call: Call) -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    servicer.behaviour = linger
    calling = asyncio.create_task(watch(transport, metadata))
    async with asyncio.timeout(60):
        await began.wait()
        calling.cancel()
        await ended.wait()
    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_a_stopping_server_finishes_what_it_began(
    pipeline: Pipeline, metadata: dict[str, str], servicer: Servicer
) -> None:
    began = asyncio.Event()

    async def work(_call: Call) -> None:
        began.set()
        await asyncio.sleep(0.4)

    servicer.behaviour = work
    server = GrpcServer(pipeline, address="127.0.0.1:0", with_reflection=False)
    await server.start()
    remote = RemoteTransport(f"127.0.0.1:{server.port}", channels=1)
    calling = asyncio.create_task(watch(remote, metadata))
    await began.wait()
    stopping = asyncio.create_task(server.stop(grace=5))
    assert (await calling).response is not None
    async with asyncio.timeout(4):
        await stopping
    late = await watch(remote, metadata)
    assert late.status is not None
    assert late.status.code == code_pb2.UNAVAILABLE
    await remote.close()


async def test_a_core_that_is_away_is_unavailable_and_found_again(
    pipeline: Pipeline, metadata: dict[str, str]
) -> None:
    server = GrpcServer(pipeline, address="127.0.0.1:0", with_reflection=False)
    await server.start()
    port = server.port
    remote = RemoteTransport(f"127.0.0.1:{port}")
    assert (await watch(remote, metadata)).response is not None
    await server.stop(grace=0)
    away = await watch(remote, metadata)
    assert away.status is not None
    assert away.status.code == code_pb2.UNAVAILABLE
    again = GrpcServer(pipeline, address=f"127.0.0.1:{port}", with_reflection=False)
    await again.start()
    async with asyncio.timeout(60):
        while (await watch(remote, metadata)).response is None:
            await asyncio.sleep(0.05)
    await remote.close()
    await again.stop(grace=0)


def test_a_servicer_that_lacks_a_method_stops_the_start() -> None:
    class Lacking:
        async def watch(self, _request: Message, _call: Call) -> Message:
            raise NotImplementedError

    with pytest.raises(TypeError, match=r"Lacking lacks `unwatch` for /distill\.v1\.WatchService"):
        Pipeline([], {"distill.v1.WatchService": Lacking()})


async def test_concerns_run_in_their_order_and_around_each_other(servicer: Servicer) -> None:
    said: list[str] = []

    def concern(name: str) -> Any:
        async def run(_call: Call, request: Message, step: Step) -> Message:
            said.append(f"{name} in")
            response = await step(request)
            said.append(f"{name} out")
            return response

        return run

    services = {service.full_name: servicer for service in contract.services()}
    pipeline = Pipeline([concern("a"), concern("b")], services)
    await pipeline.run(Call(API, {}), API.request_class())
    assert said == ["a in", "b in", "b out", "a out"]


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "\n", "ü", "a\x00b", '"'])
async def test_an_id_that_is_no_plain_word_is_replaced(pipeline: Pipeline, given: str) -> None:
    call = Call(API, {"x-request-id": given})
    await pipeline.run(call, API.request_class())
    assert call.request_id != given
    assert call.response_metadata["x-request-id"] == call.request_id


async def test_a_failure_keeps_its_status_and_its_metadata(pipeline: Pipeline) -> None:
    call = Call(WATCH, {})
    with pytest.raises(CallFailed) as failed:
        await pipeline.run(call, WATCH.request_class())
    assert isinstance(failed.value.status, Status)
    assert call.response_metadata["x-request-id"]


def test_nul_is_found_wherever_text_may_stand() -> None:
    response = discovery_service_pb2.GetCapabilitiesResponse(service="a\0")
    response.sources.add(name="ok", limits=["fine", "\0"])
    response.sources[0].settings["key\0"] = "value"
    told = discovery_service_pb2.GetApiResponse()
    told.endpoints["/a"].parameters.update({"b": {"c": ["d", "\0"]}})
    assert {path for path, _ in violations(response)} == {
        "service",
        "sources[0].limits[1]",
        "sources[0].settings",
    }
    assert len(dict(violations(told))) == 1


async def test_a_pool_survives_calls_that_were_given_up(
    database_url: str, pipeline: Pipeline, metadata: dict[str, str], servicer: Servicer
) -> None:
    engine: AsyncEngine = create_engine(database_url, pool_size=2)

    async def sleep_in_the_database(_call: Call) -> None:
        async with engine.begin() as connection:
            await connection.exec_driver_sql("SELECT pg_sleep(30)")

    async def ask(_call: Call) -> None:
        async with engine.begin() as connection:
            await connection.exec_driver_sql("SELECT 1")

    transport = LocalTransport(pipeline)
    servicer.behaviour = sleep_in_the_database
    outcomes = await asyncio.gather(*(watch(transport, metadata, timeout=0.3) for _ in range(6)))
    assert {info(outcome).reason for outcome in outcomes} == {"DEADLINE_EXCEEDED"}
    servicer.behaviour = ask
    outcomes = await asyncio.gather(*(watch(transport, metadata) for _ in range(6)))
    assert all(outcome.response is not None for outcome in outcomes)
    await engine.dispose()


@pytest.mark.parametrize("number", [0, 7])
def test_what_is_no_enumerator_is_refused_with_the_choice(number: Any) -> None:
    told = post_service_pb2.CreatePostRequest(title="T", content="C", content_format=number)
    assert dict(violations(told)) == {"content_format": "must be one of: markdown, html"}

"""What becomes of an `Idempotency-Key` whose call is cancelled or fails, before and after its commit."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc.db.engine import create_engine
from distill_grpc.encryption import Keyring
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.proto import contract
from distill_grpc.rpc.call import Call
from distill_grpc.rpc.error_translation import error_translation
from distill_grpc.rpc.idempotency import idempotency
from distill_grpc.rpc.pipeline import Pipeline
from distill_grpc.rpc.server import GrpcServer
from tests.databases import fresh_database

CREATE = contract.rpc("/distill.publishing.v1.PostService/CreatePost")
Step = Callable[[Message], Awaitable[Message]]
Make = Callable[[Step], Awaitable[Message]]


@pytest.fixture
async def engine(postgres: str) -> AsyncIterator[AsyncEngine]:
    with fresh_database(postgres) as address:
        made = create_engine(address)
        async with made.begin() as connection:
            await connection.execute(text("CREATE TABLE effects (at timestamptz)"))
        yield made
        await made.dispose()


@pytest.fixture
def make(engine: AsyncEngine) -> Make:
    """Makes the same call with the same key."""
    concern = idempotency(engine, Keyring([os.urandom(32)]))

    async def call(step: Step) -> Message:
        keyed = Call(CREATE, {"idempotency-key": "k"}, address="192.0.2.1")
        return await concern(keyed, CREATE.request_class(title="T"), step)

    return call


class Handler:
    """Has an effect; `before` and `after` its commit it waits until it may go on."""

    def __init__(self, engine: AsyncEngine, *, before: bool = False, after: bool = False) -> None:
        self.engine = engine
        self.before, self.after = before, after
        self.waits, self.goes_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, _request: Message) -> Message:
        async with self.engine.begin() as connection:
            await connection.execute(text("INSERT INTO effects VALUES (now())"))
            await self._stop(self.before)
        await self._stop(self.after)
        return CREATE.response_class(title="made")

    async def _stop(self, here: bool) -> None:
        if here:
            self.waits.set()
            await self.goes_on.wait()


async def effects(engine: AsyncEngine) -> Any:
    async with engine.connect() as connection:
        return (await connection.execute(text("SELECT count(*) FROM effects"))).scalar_one()


async def left_at(make: Make, handler: Handler) -> None:
    """The client leaves while the handler waits."""
    call = asyncio.ensure_future(make(handler))
    await handler.waits.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def settled(make: Make, step: Step) -> Message:
    """The answer to a repetition that waits as the refusal says."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await make(step)
            except DistillError as error:
                if error.reason != ErrorReason.REQUEST_IN_PROGRESS:
                    raise
                await asyncio.sleep(0.02)


async def test_a_client_that_leaves_before_the_commit_can_come_again(
    engine: AsyncEngine, make: Make
) -> None:
    await left_at(make, Handler(engine, before=True))
    await settled(make, Handler(engine))
    assert await effects(engine) == 1


async def test_a_call_whose_time_is_over_before_the_commit_can_be_made_again(
    engine: AsyncEngine, make: Make
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await make(Handler(engine, before=True))
    await settled(make, Handler(engine))
    assert await effects(engine) == 1


async def test_a_call_that_is_left_after_its_commit_ends_and_its_answer_is_kept(
    engine: AsyncEngine, make: Make
) -> None:
    handler = Handler(engine, after=True)
    await left_at(make, handler)
    with pytest.raises(DistillError) as refused:
        await make(Handler(engine))
    assert refused.value.reason == ErrorReason.REQUEST_IN_PROGRESS
    handler.goes_on.set()
    answer: Any = await settled(make, Handler(engine))
    assert (answer.title, await effects(engine)) == ("made", 1)


async def test_calls_that_are_left_at_any_moment_happen_once(
    engine: AsyncEngine, make: Make
) -> None:
    for moment in range(40):
        call = asyncio.ensure_future(make(Handler(engine)))
        await asyncio.sleep(moment / 4000)
        call.cancel()
        await asyncio.wait({call})
        await settled(make, Handler(engine))
        assert await effects(engine) == 1
        async with engine.begin() as connection:
            await connection.execute(text("TRUNCATE effects, keyed_replies"))


async def test_a_call_that_is_cancelled_on_the_wire_can_be_made_again(engine: AsyncEngine) -> None:
    first = Handler(engine, before=True)
    handlers = [first, Handler(engine)]

    class Servicer:
        def __getattr__(self, _name: str) -> Any:
            return lambda request, _call: handlers.pop(0)(request)

    servicers = {service.full_name: Servicer() for service in contract.services()}
    concerns = [error_translation, idempotency(engine, Keyring([os.urandom(32)]))]
    server = GrpcServer(Pipeline(concerns, servicers), address="127.0.0.1:0", with_reflection=False)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        create: Any = channel.unary_unary(
            CREATE.full_name,
            request_serializer=CREATE.request_class.SerializeToString,
            response_deserializer=CREATE.response_class.FromString,
        )

        def call() -> Any:
            return create(CREATE.request_class(title="T"), metadata=(("idempotency-key", "k"),))

        leaving = call()
        await first.waits.wait()
        leaving.cancel()
        async with asyncio.timeout(10):
            while handlers:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await call()
    await server.stop(grace=0)
    assert await effects(engine) == 1


async def test_a_fault_after_the_commit_does_not_give_the_key_back(
    engine: AsyncEngine, make: Make
) -> None:
    made = Handler(engine)

    async def faulty(request: Message) -> Message:
        await made(request)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await make(faulty)
    with pytest.raises(DistillError):
        await make(made)
    assert await effects(engine) == 1

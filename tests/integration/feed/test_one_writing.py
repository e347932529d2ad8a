"""A digest that several ask for at the same moment is written once, whatever becomes of the writer."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from distill_grpc.db.engine import create_engine
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed import digesting, turns
from distill_grpc.feed.digesting import Digester, Spender
from distill_grpc.feed.periods import period
from distill_grpc.llm.chat import Chat, Prices
from distill_grpc.llm.openai import OpenAiSummariser
from tests.integration.feed.digested import DUE, YESTERDAY, digester, subscriber
from tests.integration.feed.waiting import until
from tests.integration.feed.world import USER, World
from tests.servers.openai import KEY, MODEL, OpenAiServer, honest, openai_server

DAY = period(YESTERDAY.isoformat(), None, "UTC", DUE)
RICH = Spender(credits_available=True)


async def slowly(server: OpenAiServer, body: Any) -> web.StreamResponse:
    """An honest model that thinks until it may answer."""
    await server.release.wait()
    return await honest(server, body)


@asynccontextmanager
async def writer(server: OpenAiServer) -> AsyncIterator[OpenAiSummariser]:
    chat = Chat.open(api_key=KEY, base_url=server.url, model=MODEL, prices=Prices())
    yield OpenAiSummariser(chat)
    await chat.close()


async def process(world: World, database_url: str, server: OpenAiServer) -> Any:
    """Another process that asks for the digest."""
    order = {
        "database_url": database_url,
        "openai_url": server.url,
        "now": DUE.isoformat(),
        "day": YESTERDAY.isoformat(),
        "user": USER,
    }
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.feed.digest_writer",
        json.dumps(order),
        stdout=asyncio.subprocess.PIPE,
    )


async def asked_for(server: OpenAiServer) -> None:
    """Waits until the model has work."""

    async def has_work() -> bool:
        return bool(server.requests)

    await until(has_work)


async def waits(world: World) -> bool:
    """True where somebody has the turn."""
    return bool(await world.ask("SELECT 1 FROM turns"))


async def test_many_who_ask_at_once_get_one_digest_and_one_is_paid_for(
    world: World, database_url: str
) -> None:
    await subscriber(world)
    other = create_engine(database_url, pool_timeout=30)
    async with openai_server(slowly) as server, writer(server) as one, writer(server) as two:
        makers = [
            digester(world, one),
            Digester(engine=other, summariser=two, llm_daily_tokens=200_000),
        ]
        asking = [
            asyncio.create_task(makers[n % 2].get_summary(USER, DAY, RICH, DUE)) for n in range(8)
        ]
        elsewhere = [await process(world, database_url, server) for _ in range(2)]
        await asked_for(server)
        # No connection is held by whoever writes or waits.
        await asyncio.sleep(1.5 + 2 * turns.POLL)
        held = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state LIKE 'idle in%' AND xact_start < clock_timestamp() - interval '1 second'"
        )
        assert (await world.ask(held))[0][0] == 0
        server.release.set()
        rows = await asyncio.gather(*asking)
        told = [(await each.communicate())[0].decode().strip() for each in elsewhere]
    await other.dispose()
    assert {row.model for row in rows} == {MODEL}
    assert told == [MODEL, MODEL]
    assert len({json.dumps(row.content) for row in rows}) == 1
    assert len(server.requests) == 1
    (usage,) = await world.ask("SELECT calls, reserved FROM llm_usage")
    assert (usage.calls, usage.reserved) == (1, 0)
    assert not await waits(world)


async def test_a_writer_that_is_killed_blocks_nobody_for_long(
    world: World, database_url: str
) -> None:
    await subscriber(world)
    async with openai_server(slowly) as server, writer(server) as model:
        dying = await process(world, database_url, server)
        await asked_for(server)
        asked = asyncio.create_task(digester(world, model).get_summary(USER, DAY, RICH, DUE))
        await asyncio.sleep(turns.BEAT)
        assert not asked.done()
        dying.kill()
        await dying.wait()
        server.release.set()
        row = await asyncio.wait_for(asked, turns.LEASE.total_seconds() + 4)
    assert row.model == MODEL
    assert not await waits(world)


async def test_a_writer_who_stalls_leaves_a_waiter_an_extract_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await subscriber(world)
    async with openai_server(slowly) as server, writer(server) as model:
        first = asyncio.create_task(digester(world, model).get_summary(USER, DAY, RICH, DUE))
        await asked_for(server)
        monkeypatch.setattr(digesting, "ASKED", 3.0)
        waiter = await digester(world, model).get_summary(USER, DAY, RICH, DUE)
        assert waiter.model == "textrank"
        server.release.set()
        assert (await first).model == MODEL
        assert len(server.requests) == 1
    (row,) = await world.ask("SELECT model FROM summaries")
    assert row.model == MODEL  # what was paid for stays


async def test_a_frozen_writer_overwrites_nothing(world: World) -> None:
    await subscriber(world)
    async with openai_server(slowly) as server, writer(server) as model:
        frozen = asyncio.create_task(digester(world, model).get_summary(USER, DAY, RICH, DUE))
        await asked_for(server)
        # It said nothing for long enough, and another took over.
        await world.tell("DELETE FROM turns")
        written = await digester(world).get_summary(USER, DAY, RICH, DUE)
        server.release.set()
        assert (await frozen).content == written.content
    assert not await waits(world)


async def test_a_writer_that_fails_or_is_cancelled_gives_the_turn_back(world: World) -> None:
    await subscriber(world)
    async with openai_server(slowly) as server, writer(server) as model:
        poor = Spender(credits_available=False)
        with pytest.raises(DistillError) as refused:
            await digester(world, model).get_summary(USER, DAY, poor, DUE)
        assert refused.value.reason == ErrorReason.INSUFFICIENT_CREDITS
        assert not await waits(world)
        leaving = asyncio.create_task(digester(world, model).get_summary(USER, DAY, RICH, DUE))
        await asked_for(server)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert not await waits(world)


async def test_who_wants_it_anew_comes_after_whoever_writes(world: World) -> None:
    await subscriber(world)
    async with openai_server(honest) as server, writer(server) as model:
        made = digester(world, model)
        rows = await asyncio.gather(
            *(made.get_summary(USER, DAY, RICH, DUE, anew=True) for _ in range(3))
        )
        assert {row.model for row in rows} == {MODEL}
        assert len(server.requests) == 1  # the same words are not paid for again

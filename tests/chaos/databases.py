"""The database goes away under load: restarted, its connections cut, or silent for ever."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass

from sqlalchemy import make_url

from tests.chaos.arena import Arena, arena
from tests.chaos.clients import Tally, asking, node
from tests.chaos.fleet import Nursery, until
from tests.chaos.proxy import Proxy
from tests.chaos.server import Server

API_BACK_WITHIN = 10.0
WORKERS_BACK_WITHIN = 15.0


@dataclass(frozen=True)
class Outage:
    """What clients saw, and how soon everything was back (seconds, the slowest of all times)."""

    statuses: Counter[int]
    slowest_answer: float
    api_back: float
    workers_back: float


async def restarted(
    server: Server, nursery: Nursery, seed: int, *, times: int, mode: str = "immediate"
) -> Outage:
    """PostgreSQL is restarted without asking anybody; clients see 503 at worst."""
    async with arena(server.address, nursery, seed) as world:
        await world.populate(users=4, feeds=3, entries=10)
        for _ in range(2):
            await world.fleet.start()
        api_back = workers_back = 0.0
        async with (
            node(world) as address,
            world.auditor.watching(0.2),
            world.stirred(0.05),
            asking(world, address) as tally,
        ):
            for _ in range(times):
                await asyncio.sleep(world.random.uniform(1.5, 3))
                accepts = await server.restart(mode)
                workers_back = max(workers_back, await _synced_after(world, accepts))
                await until(lambda: _answered(tally, accepts), "the API answers", timeout=15)  # noqa: B023 -- awaited at once
                api_back = max(api_back, tally.first_good(accepts))
        _check(world, tally)
        assert api_back <= API_BACK_WITHIN, f"the API was back after {api_back:.1f} s"
        await world.conclude()
        return Outage(tally.statuses, tally.slowest, api_back, workers_back)


async def cut_off(
    server: Server, nursery: Nursery, seed: int, *, seconds: float, every: float = 1.0
) -> Outage:
    """Every connection of ours is terminated again and again."""
    async with arena(server.address, nursery, seed) as world:
        await world.populate(users=4, feeds=3, entries=10)
        for _ in range(2):
            await world.fleet.start()
        async with (
            node(world) as address,
            world.auditor.watching(0.2),
            world.stirred(0.05),
            asking(world, address) as tally,
        ):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                await asyncio.sleep(world.random.uniform(0.2, 1.8) * every)
                await world.ask(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database()"
                    " AND application_name IN ('distill', 'distill-jobs')"
                )
            ended = time.monotonic()
            workers_back = await _synced_after(world, ended)
            await until(lambda: _answered(tally, ended), "the API answers", timeout=15)
        _check(world, tally)
        await world.conclude()
        return Outage(tally.statuses, tally.slowest, tally.first_good(ended), workers_back)


async def half_open(server: Server, nursery: Nursery, seed: int, *, seconds: float) -> float:
    """A worker's connections fall silent without being closed: others take its work over, and it
    works again by itself, at the latest when new connections come through.

    Returns the seconds from then on until it worked.
    """
    async with arena(server.address, nursery, seed) as world, Proxy(server.socket) as proxy:
        await world.populate(users=3, feeds=3, entries=10)
        url = make_url(world.database_url)
        behind = f"postgresql://distill:SEKRET-{seed}@127.0.0.1:{proxy.port}/{url.database}"
        victim = await world.fleet.start(database_url=behind)
        async with world.auditor.watching(), world.stirred():
            world.platform.delay = 0.2
            await _synced_after(world, time.monotonic())
            held = await world.active()
            world.auditor.frozen.add(victim.pid)  # what it was reading, it may read to the end
            begun = time.monotonic()
            assert proxy.silence() > 0
            other = await world.fleet.start(kept=False)
            await world.resumed(held, begun, within=30)
            await asyncio.sleep(max(0.0, begun + seconds - time.monotonic()))
            other.send(15)
            await asyncio.wait_for(other.over.wait(), 15)
            proxy.heal()
            back = await _synced_after(world, time.monotonic(), within=30)
        await world.settle()
        await world.fleet.stop()
        proxy.forget()
        await world.conclude()
        return back


async def api_half_open(server: Server, nursery: Nursery, seed: int) -> Outage:
    """The connections of a node fall silent; new ones come through. No caller waits for ever."""
    async with arena(server.address, nursery, seed) as world, Proxy(server.socket) as proxy:
        await world.populate(users=3, feeds=2, entries=10)
        await world.fleet.start()
        url = make_url(world.database_url)
        behind = f"postgresql://distill:SEKRET-{seed}@127.0.0.1:{proxy.port}/{url.database}"
        async with node(world, behind) as address, asking(world, address) as tally:
            await asyncio.sleep(2)
            assert proxy.silence() > 0
            proxy.heal()
            silent = time.monotonic()
            await until(lambda: _answered(tally, silent), "the API answers", timeout=30)
            await asyncio.sleep(15)
            back = tally.first_good(silent)
        proxy.forget()
        _check(world, tally)
        await world.conclude()
        return Outage(tally.statuses, tally.slowest, back, 0.0)


async def _synced_after(
    world: Arena, since: float, *, within: float = WORKERS_BACK_WITHIN
) -> float:
    """Waits for a run that began and ended well after that moment; the seconds from there."""
    wall = time.time() - (time.monotonic() - since)

    async def synced() -> bool:
        return bool(
            await world.ask(
                "SELECT 1 FROM sync_runs WHERE started_at > to_timestamp(:since)"
                " AND status IN ('completed', 'partial') LIMIT 1",
                since=wall,
            )
        )

    await until(synced, "workers sync again", timeout=within)
    return time.monotonic() - since


async def _answered(tally: Tally, since: float) -> bool:
    return tally.first_good(since) < float("inf")


def _check(world: Arena, tally: Tally) -> None:
    assert not tally.wrong, "\n".join([str(world.folder), *tally.wrong[:10]])
    died = [(w.pid, w.code) for w in world.fleet.workers if w.over.is_set()]
    assert not died, f"workers ended instead of reconnecting: {died}"

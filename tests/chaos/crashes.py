"""A worker is killed at one point of a sync; others must carry on as if nothing had been."""

from __future__ import annotations

import asyncio
import signal
import time
from random import Random

from tests.chaos import crash_points
from tests.chaos.arena import QUICK, Arena, arena
from tests.chaos.fleet import Nursery, Worker, until

# What goes wrong at the platform meanwhile.
FAULTS = {"500": 0.03, "cut": 0.03, "truncated": 0.03, "429": 0.02, "slow": 0.05}
RESUMED_WITHIN = 30.0


async def killed_at(
    postgres: str,
    nursery: Nursery,
    point: str,
    seed: int,
    *,
    pace: float = QUICK,
    sandbox: bool = False,
) -> float:
    """Kills a worker at the point; returns after how many seconds its work was resumed."""
    random = Random(f"{point} {seed}")
    nth = random.randint(1, crash_points.most(point))
    async with arena(postgres, nursery, seed, pace=pace, faults=FAULTS, sandbox=sandbox) as world:
        await world.populate(users=3, feeds=3, entries=10)
        async with world.auditor.watching(0.2), world.stirred():
            victim = await _lead_to(world, point, nth)
            await asyncio.wait_for(victim.over.wait(), 60 / pace + 20)
            assert victim.was_killed, f"{point} #{nth}: the worker ended with {victim.code}"
            held = await world.active()
            for _ in range(2):
                await world.fleet.start()
            seconds = await world.resumed(held, victim.ended_at, within=RESUMED_WITHIN)
            await asyncio.sleep(0.5)
        await world.conclude()
    return seconds


async def answer_lost(postgres: str, nursery: Nursery, point: str, seed: int) -> float:
    """A commit takes place and the worker is told that the connection broke. It carries on alone.

    Returns the seconds until everything was read.
    """
    nth = Random(f"{point} {seed}").randint(1, crash_points.most(point))
    async with arena(postgres, nursery, seed, faults=FAULTS, sandbox=False) as world:
        await world.populate(users=3, feeds=3, entries=10)
        begun = time.monotonic()
        async with world.auditor.watching(0.2), world.stirred():
            worker = await world.fleet.start(crash=(point, nth, "lost"))
            await asyncio.sleep(4)
        await world.settle()
        assert b"(chaos)" in worker.log.read_bytes(), f"{point} #{nth} was never reached"
        assert not world.fleet.restarts, f"the worker ended with {worker.code}"
        seconds = time.monotonic() - begun
        await world.conclude()
    return seconds


async def _lead_to(world: Arena, point: str, nth: int) -> Worker:
    """Starts a worker that will die at the point, and makes it get there."""
    if point in crash_points.LONG:
        world.platform.delay = 1.2  # each request; a lease is extended while one waits
        return await world.fleet.start(crash=(point, nth), kept=False)
    if point in crash_points.STOPPING:
        world.platform.delay = 1.3
        # Its grace must be shorter than what it waits for.
        victim = await world.fleet.start(crash=(point, nth), kept=False, pace=QUICK)
        await until(lambda: _asked(world), "a feed is asked", timeout=20)
        world.platform.delay = 8.0
        world.platform.faults.clear()
        await asyncio.sleep(0.2)
        victim.send(signal.SIGTERM)
        return victim
    if point in crash_points.RECOVERY:
        first = await world.fleet.start(crash=("commit.page.after", 1), kept=False)
        await asyncio.wait_for(first.over.wait(), 30)
        if "abandoned" in point:  # the queue forgets the job
            async with world.engine.begin() as connection:
                await connection.exec_driver_sql("DELETE FROM procrastinate_jobs")
    return await world.fleet.start(crash=(point, nth), kept=False)


async def _asked(world: Arena) -> bool:
    return bool(world.platform.ledger)

"""Workers under load: killed at random, frozen, drained."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass

from tests.chaos.arena import QUICK, Arena, arena
from tests.chaos.fleet import Nursery, until

# Everything that the platform can do wrong, at once.
STORM = {
    "429": 0.02,
    "429_date": 0.02,
    "500": 0.03,
    "503_retry": 0.02,
    "timeout": 0.01,
    "slow": 0.04,
    "reset": 0.03,
    "cut": 0.03,
    "truncated": 0.04,
    "garbage": 0.02,
    "page": 0.02,
    "bad_gzip": 0.02,
}


@dataclass(frozen=True)
class Load:
    """What a scenario under load counted."""

    kills: int
    items: int
    samples: int
    slowest: float  # seconds until the work of a dead worker was resumed


async def random_kills(
    postgres: str, nursery: Nursery, seed: int, *, seconds: float, every: float = 1.0
) -> Load:
    """One of four workers is killed now and then, wherever it is; users come and go meanwhile."""
    async with arena(postgres, nursery, seed, faults=STORM) as world:
        await world.populate(users=8, feeds=4, entries=12)
        for _ in range(4):
            await world.fleet.start()
        kills, slowest = 0, 0.0
        async with world.auditor.watching(), world.stirred(0.03):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                await asyncio.sleep(world.random.uniform(0.3, 1.7) * every)
                victim = world.random.choice(world.fleet.alive)
                held = await _held_by(world, victim.pid)
                victim.send(signal.SIGKILL)
                await victim.over.wait()
                kills += 1
                slowest = max(slowest, await world.resumed(held, victim.ended_at, within=30))
            await _leave(world)
        await world.conclude()
        finding = world.auditor.finding
        return Load(kills, finding.items, finding.samples, slowest)


async def _held_by(world: Arena, pid: int) -> dict[str, object]:
    rows = await world.ask(
        "SELECT user_id, id, attempt, status FROM sync_runs WHERE status = 'running'"
        " AND split_part(worker, ':', 2) = :pid",
        pid=str(pid),
    )
    return {row.user_id: row for row in rows}


async def _leave(world: Arena) -> None:
    """Two users leave in the middle of everything: nothing of theirs is stored from then on (I11)."""
    for user in world.users[:2]:
        await world.unwatch(user)
    await asyncio.sleep(2)


async def platform_storm(
    postgres: str, nursery: Nursery, seed: int, *, seconds: float
) -> dict[str, int]:
    """Only the platform misbehaves; returns the faults that were met."""
    async with arena(postgres, nursery, seed, faults=STORM) as world:
        await world.populate(users=6, feeds=5, entries=20)
        for _ in range(2):
            await world.fleet.start()
        async with world.auditor.watching(), world.stirred(0.03):
            await asyncio.sleep(seconds)
            await _leave(world)
        await world.conclude()
        return world.platform.met


async def frozen(postgres: str, nursery: Nursery, seed: int) -> int:
    """A worker is stopped in the middle of its reads and wakes when others have taken over.

    Returns how many of its runs were taken over. What it then wants to write is refused.
    """
    async with arena(postgres, nursery, seed) as world:
        await world.populate(users=3, feeds=4, entries=20)
        world.platform.delay = 0.4
        victim = await world.fleet.start(kept=False)
        world.auditor.frozen.add(victim.pid)
        async with world.auditor.watching(), world.stirred(0.05):
            await until(lambda: _running(world), "a run is begun", timeout=20)
            await asyncio.sleep(world.random.uniform(0, 1.2))
            victim.send(signal.SIGSTOP)
            held = await _held_by(world, victim.pid)
            begun = time.monotonic()
            world.platform.delay = 0.0
            for _ in range(2):
                await world.fleet.start()
            await world.resumed(held, begun, within=30)
            await asyncio.sleep(world.random.uniform(0, 3))
            victim.send(signal.SIGCONT)
            await asyncio.sleep(2)
        assert not victim.over.is_set(), f"the worker that woke up ended with {victim.code}"
        await world.conclude()
        return len(held)


async def drained(postgres: str, nursery: Nursery, seed: int) -> float:
    """A worker is asked to stop while it reads; its work goes on at once elsewhere.

    Returns the seconds from the request until the work was in other hands: it must not have waited
    for the lease to end.
    """
    async with arena(postgres, nursery, seed, pace=1.0) as world:
        await world.populate(users=3, feeds=3, entries=10)
        world.platform.delay = 1.3
        victim = await world.fleet.start(kept=False, pace=QUICK)
        async with world.auditor.watching(), world.stirred():
            await until(lambda: _running(world), "a run is begun", timeout=20)
            world.platform.delay = 1.4
            held = await _held_by(world, victim.pid)
            await world.fleet.start()
            begun = time.monotonic()
            victim.send(signal.SIGTERM)
            await asyncio.wait_for(victim.over.wait(), 10)
            assert victim.code == 0, f"the worker ended with {victim.code}"
            world.platform.delay = 0.0
            await world.resumed(held, victim.ended_at, within=5)
            seconds = time.monotonic() - begun
        await world.conclude()
        return seconds


async def _running(world: Arena) -> bool:
    runs = await world.active()
    return any(run.status == "running" for run in runs.values()) and bool(world.platform.ledger)

"""`make chaos`: every crash point many times, every load and outage; prints what was counted.

    python -m tests.chaos [--seeds 20] [--first-seed 0] [--parallel 12] [--only crashes,kills,…]
        [--thorough]

Each scenario is replayed by its seed. The exit code is 1 where any of them failed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill_grpc import logs
from tests.chaos import crash_points, crashes, databases, loads, model
from tests.chaos.arena import fresh_database
from tests.chaos.fleet import Nursery
from tests.chaos.server import Server

# Of the state machine, for each of its seeds.
EXAMPLES = 25
STEPS = 40

Scenario = tuple[str, Callable[[], Awaitable[Any]]]


@dataclass
class Group:
    """How the scenarios of one kind went."""

    name: str
    results: list[Any] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def total(self) -> int:
        return len(self.results) + len(self.failed)


async def run(name: str, scenarios: Iterable[Scenario], *, parallel: int) -> Group:
    """Runs scenarios side by side; one that fails is told and does not stop the others."""
    group, begun = Group(name), time.monotonic()
    places = asyncio.Semaphore(parallel)

    async def one(title: str, scenario: Callable[[], Awaitable[Any]]) -> None:
        async with places:
            try:
                group.results.append(await scenario())
            except Exception as error:
                group.failed.append(title)
                why = str(error) if isinstance(error, AssertionError) else traceback.format_exc()
                print(f"FAILED {title}\n{why}", file=sys.stderr, flush=True)
            if group.total % 50 == 0:
                print(f"  {name}: {group.total} done, {len(group.failed)} failed", flush=True)

    await asyncio.gather(*(one(*scenario) for scenario in scenarios))
    group.seconds = time.monotonic() - begun
    return group


def crash_scenarios(
    postgres: str, nursery: Nursery, points: Sequence[str], seeds: range, **options: Any
) -> list[Scenario]:
    """Every point with every seed."""
    return [
        (
            f"crash at {point}, seed {seed}",
            lambda point=point, seed=seed: crashes.killed_at(  # type: ignore[misc]  # bound now
                postgres, nursery, point, seed, **options
            ),
        )
        for seed in seeds
        for point in points
    ]


def seeded(name: str, seeds: range, scenario: Callable[[int], Awaitable[Any]]) -> list[Scenario]:
    """One scenario with every seed."""
    return [(f"{name}, seed {s}", lambda s=s: scenario(s)) for s in seeds]  # type: ignore[misc]  # bound now


async def modelled(postgres: str, start: int) -> int:
    """Examples of the state machine, from that seed."""
    async with fresh_database(postgres) as database_url:
        return await asyncio.to_thread(
            model.check, database_url, examples=EXAMPLES, steps=STEPS, start=start
        )


async def everything(
    folder: Path, only: set[str], seeds: int, first: int, parallel: int, thorough: bool
) -> list[Group]:
    """All groups that are wanted; a line of figures after each."""
    groups: list[Group] = []
    all_seeds = range(first, first + seeds)
    few = range(first, first + max(1, seeds // 4))

    async def group(name: str, title: str, scenarios: list[Scenario], side_by_side: int) -> None:
        if only and name not in only:
            return
        done = await run(title, scenarios, parallel=side_by_side)
        groups.append(done)
        print(_line(done), flush=True)

    async with Server(folder / "quick") as quick, Nursery() as nursery:
        at = quick.address
        points, core = crash_points.ALL, crash_points.ALL if thorough else crash_points.CORE
        await group(
            "crashes",
            f"{len(core)} crash points x {seeds} seeds, {len(points) - len(core)} x {len(few)}",
            [
                *crash_scenarios(at, nursery, core, all_seeds),
                *crash_scenarios(at, nursery, [p for p in points if p not in core], few),
            ],
            parallel,
        )
        await group(
            "leases",
            f"{len(points)} crash points with the leases of production",
            crash_scenarios(at, nursery, points, range(first, first + 1), pace=1.0, sandbox=True),
            parallel * 2,
        )
        await group(
            "lost",
            "commits whose answer is lost",
            [
                (
                    f"{point} lost, seed {s}",
                    lambda p=point, s=s: crashes.answer_lost(at, nursery, p, s),
                )  # type: ignore[misc]  # bound now
                for s in few
                for point in crash_points.COMMITS
            ],
            parallel,
        )
        await group(
            "kills",
            "random kills under load",
            seeded("kills", few, lambda s: loads.random_kills(at, nursery, s, seconds=30)),
            3,
        )
        await group(
            "frozen",
            "runs of frozen workers, taken over",
            seeded("frozen", few, lambda s: loads.frozen(at, nursery, s)),
            4,
        )
        await group(
            "drained",
            "drained workers",
            seeded("drained", few, lambda s: loads.drained(at, nursery, s)),
            4,
        )
        await group(
            "storm",
            "storms at the platform",
            seeded("storm", few, lambda s: loads.platform_storm(at, nursery, s, seconds=20)),
            3,
        )
        await group(
            "model",
            "examples against the model",
            seeded("model", few, lambda s: modelled(at, s)),
            1,  # it arms its points in this process
        )
    two = range(first, first + max(1, seeds // 10))
    async with Server(folder / "durable", durable=True) as server, Nursery() as nursery:
        await group(
            "restarts",
            "restarts of PostgreSQL",
            seeded("restart", two, lambda s: databases.restarted(server, nursery, s, times=4)),
            1,
        )
        await group(
            "cuts",
            "connections cut once a second",
            seeded("cuts", two, lambda s: databases.cut_off(server, nursery, s, seconds=30)),
            2,
        )
        await group(
            "silence",
            "half-open connections of a worker",
            seeded("silence", two, lambda s: databases.half_open(server, nursery, s, seconds=25)),
            2,
        )
        await group(
            "deaf",
            "half-open connections of a node",
            seeded("deaf", two, lambda s: databases.api_half_open(server, nursery, s)),
            2,
        )
    return groups


def _line(group: Group) -> str:
    good = f"{len(group.results)} of {group.total} well in {group.seconds:.0f} s"
    return f"{group.name}: {good}; {_figures(group.results)}"


def _figures(results: list[Any]) -> str:
    """The worst of each figure, and sums of counts."""
    if not results:
        return "no figures"
    first = results[0]
    if isinstance(first, float):
        return f"slowest {max(results):.1f} s"
    if isinstance(first, int):
        return f"{sum(results)} in all"
    if isinstance(first, loads.Load):
        kills, items = sum(r.kills for r in results), sum(r.items for r in results)
        slowest = max(r.slowest for r in results)
        return f"{kills} kills, {items} items, slowest resume {slowest:.1f} s"
    if isinstance(first, databases.Outage):
        statuses = sum((r.statuses for r in results), Counter[int]())
        answers = ", ".join(f"{n} x {status}" for status, n in sorted(statuses.items()))
        return (
            f"answers: {answers}; slowest answer {max(r.slowest_answer for r in results):.1f} s; "
            f"API back after {max(r.api_back for r in results):.1f} s, "
            f"workers after {max(r.workers_back for r in results):.1f} s"
        )
    met = sum((Counter(r) for r in results), Counter[str]())
    return "faults met: " + ", ".join(f"{n} x {name}" for name, n in sorted(met.items()))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="tests.chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--parallel", type=int, default=12)
    parser.add_argument("--only", default="", help="names of groups, comma-separated")
    parser.add_argument("--thorough", action="store_true", help="every crash point with every seed")
    given = parser.parse_args()
    only = {name for name in given.only.split(",") if name}
    logs.configure(level="error", role="chaos")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-pg-", ignore_cleanup_errors=True) as folder:
        groups = asyncio.run(
            everything(
                Path(folder), only, given.seeds, given.first_seed, given.parallel, given.thorough
            )
        )
    failed = [title for group in groups for title in group.failed]
    total = sum(group.total for group in groups)
    print(
        f"{total} scenarios in {(time.monotonic() - begun) / 60:.1f} min; 0 lost, 0 doubled, "
        f"0 overlaps in {total - len(failed)}; {len(failed)} failed: {', '.join(failed) or '-'}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

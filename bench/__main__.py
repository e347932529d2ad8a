"""Runs the benchmarks, prints their table and writes their results.

python -m bench [rest] [search] [publishing] [ingest] [sync] [digest] [platforms] [--rounds N] [--seconds S]
                [--load wrk|python] [--connections N] [--data FOLDER] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from bench import (
    database,
    digest,
    ingest,
    load,
    platforms,
    publishing,
    publishing_database,
    rest,
    search,
    sync,
    table,
)
from bench.stacks import ROOT, Bench

PARTS = ("rest", "search", "publishing", "ingest", "sync", "digest", "platforms")


# Of a kind in a round.
SEARCHES = 100


def main() -> None:
    """See the module."""
    given = _arguments()
    given.data.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"machine": _machine()}
    folder = given.data.resolve()
    parts = given.parts or PARTS
    with database.postgres(folder) if set(parts) - {"digest"} else nullcontext("") as dsn:
        bench = Bench(dsn, folder, given.peers.absolute())
        for part in parts:
            print(f"{part}:", flush=True)
            if part == "rest":
                filled = Bench(database.seeded(dsn), folder, bench.peers)
                results[part] = rest.run(
                    filled, tool=given.load, count=given.rounds, seconds=given.seconds
                )
            elif part == "search":
                filled = Bench(database.seeded(dsn), folder, bench.peers)
                results[part] = search.run(filled, rounds=given.rounds, each=SEARCHES)
            elif part == "publishing":
                results[part] = publishing.run(
                    Bench(publishing_database.filled(dsn), folder, bench.peers),
                    tool=given.load,
                    count=given.rounds,
                    seconds=given.seconds,
                )
            elif part == "ingest":
                results[part] = ingest.run(dsn, rounds=given.rounds)
            elif part == "digest":
                results[part] = digest.run(rounds=given.rounds)
            elif part == "platforms":
                results[part] = platforms.run(
                    bench, rounds=min(given.rounds, 3), connections=given.connections
                )
            else:
                results[part] = sync.run(bench, rounds=min(given.rounds, 3))
            # Written after each part, so that a later one that fails loses nothing.
            given.out.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\n{table.markdown(results)}\nThe results stand in {given.out}.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all where none is named"
    )
    parser.add_argument("--rounds", type=int, default=5, help="%(default)s")
    parser.add_argument("--seconds", type=float, default=5.0, help="of load a round; %(default)s")
    parser.add_argument("--connections", type=int, default=2_000, help="of platforms; %(default)s")
    parser.add_argument("--load", choices=("wrk", "python"), default=load.default_tool())
    parser.add_argument(
        "--data", type=Path, default=ROOT / ".distill-bench", help="kept between runs"
    )
    parser.add_argument(
        "--peers", type=Path, default=ROOT / ".venv-bench/bin/python", help="their Python"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "bench-results.json")
    given = parser.parse_args()
    if wrong := set(given.parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(wrong))}: there are {', '.join(PARTS)}")
    if given.rounds < 1 or given.seconds < 1 or given.connections < 1:
        parser.error("at least one round of at least one second, and one connection")
    return given


def _machine() -> dict[str, Any]:
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "distill": metadata.version("distill"),
        "load_before": os.getloadavg()[0],
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _cpu() -> str:
    told = Path("/proc/cpuinfo")  # Linux
    if told.exists():
        for line in told.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()

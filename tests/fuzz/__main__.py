"""`make fuzz`: at least 20,000 questions to a running service; prints what was found.

    python -m tests.fuzz [--calls 20000] [--seed 1]

A run is repeated by its seed, as far as what is asked goes; the service's state follows from that.
The exit code is 1 where anything was found.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.running import Figures, fuzz

# Of each operation and phase in one run: enough for depth, few enough to see progress.
EXAMPLES = 1000


def main() -> int:
    """Runs until enough was asked; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    runs: list[Figures] = []
    while not runs or sum(run.calls for run in runs) < options.calls:
        seed = options.seed + len(runs)
        _print(f"Round {len(runs) + 1}, seed {seed} …")
        with tempfile.TemporaryDirectory(prefix="distill-fuzz-") as folder:
            run = asyncio.run(fuzz(Path(folder), examples=EXAMPLES, seed=seed, tell=_progress))
        runs.append(run)
        _print(f"  {run.calls} calls, {run.cases} cases, {run.seconds:.0f} seconds")
        if run.found:
            _print(run.text)
        if not run.calls:
            break
    return _sum_up(runs)


def _sum_up(runs: list[Figures]) -> int:
    answers: Counter[str] = Counter()
    for run in runs:
        answers.update(run.answers)
    found = [f"seed {run.seed}: {what}" for run in runs for what in run.found]
    _print(f"\nOperations  {max(run.operations for run in runs)}")
    _print(f"Cases       {sum(run.cases for run in runs)}")
    _print(f"Calls       {sum(run.calls for run in runs)}")
    _print("Answers     " + ", ".join(f"{n} of {status}" for status, n in sorted(answers.items())))
    _print(f"Found       {len(found)}")
    for what in found:
        _print(f"  {what}")
    return 1 if found else 0


def _progress(line: str) -> None:
    if line.strip().startswith(("✅", "❌", "⏭")):
        _print(f"  {line.strip()}")


def _print(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())

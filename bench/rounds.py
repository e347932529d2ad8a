"""Rounds of load on stacks in turn, after all of them have given the same answers."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import processes
from bench.load import Load, Request
from bench.measuring import Ratio, Spread, in_turn
from bench.stacks import Stack


@dataclass(frozen=True, slots=True)
class Seen:
    """What the counted rounds saw of each stack, by its name."""

    loads: Mapping[str, list[Load]]
    cpu: Mapping[str, list[float]]  # µs of the processor a request

    def target(self, name: str) -> dict[str, Any]:
        """The figures of a stack, as they stand in the results."""
        loads = self.loads[name]
        rate = Spread.of([each.rate for each in loads])
        return {
            "per_second": {"median": rate.median, "least": rate.least, "most": rate.most},
            "p50_ms": Spread.of([each.p50_ms for each in loads]).median,
            "p99_ms": Spread.of([each.p99_ms for each in loads]).median,
            "cpu_us": Spread.of(self.cpu[name]).median,
        }

    def ratio(
        self, this: str, that: str, *, aim: float | None = None, what: str = ""
    ) -> Ratio | None:
        """How many times the answers of another stack one gives; None where one was left out."""
        if this not in self.loads or that not in self.loads:
            return None
        rates = ([each.rate for each in self.loads[name]] for name in (this, that))
        return Ratio.of(f"{what}{this} / {that}", *rates, aim=aim)


def run(
    stacks: Mapping[str, Stack], put: Callable[[Stack], Load], *, rounds: int, seconds: float
) -> Seen:
    """Puts load on each in turn; the first round warms up and does not count."""
    seen = Seen({name: [] for name in stacks}, {name: [] for name in stacks})
    for number in range(-1, rounds):  # the first round warms up: caches, plans, tokens
        for name in in_turn(list(stacks), number):
            used = processes.cpu_seconds(stacks[name].processes)
            each = put(stacks[name])
            used = processes.cpu_seconds(stacks[name].processes) - used
            if number >= 0:
                seen.loads[name].append(each)
                seen.cpu[name].append(used / (each.rate * seconds) * 1e6)
            print(f"  round {number + 1}: {name}: {each.rate:.0f}/s", flush=True)
    return seen


def answer(stack: Stack, asked: Request) -> Any:
    """The JSON that a stack answers; raises where it is no 2xx."""
    headers = {"Authorization": f"Bearer {asked.token}"} if asked.token else {}
    if asked.body:
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(
        stack.origin + asked.path, headers=headers, data=asked.body.encode() or None
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def check_same(answers: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises RuntimeError where a stack, by its name, answers otherwise than the first."""
    (leader, first), *others = answers.items()
    for name, body in others:
        wrong = sorted(
            part for part in {*first, *body} if first.get(part, "") != body.get(part, "")
        )
        if wrong:
            near = _near(first.get(wrong[0], "nothing"), body.get(wrong[0], "nothing"))
            raise RuntimeError(f"{name} answers otherwise than {leader} in {wrong}: {near}")


def _near(first: Any, second: Any) -> str:
    if isinstance(first, Sequence) and isinstance(second, Sequence) and not isinstance(first, str):
        pairs = zip(first, second, strict=False)
        return str(next(((a, b) for a, b in pairs if a != b), "lengths"))
    return f"{first} / {second}"

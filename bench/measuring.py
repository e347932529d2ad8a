"""Figures, and ratios of figures that were measured in turn."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several rounds, and how far they lay apart."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times one thing does what another does in the same round; `aim` is the least wanted."""

    name: str
    spread: Spread
    aim: float | None = None

    @classmethod
    def of(
        cls, name: str, these: Sequence[float], those: Sequence[float], *, aim: float | None = None
    ) -> Ratio:
        """Round by round: what slowed the machine in a round slowed both."""
        pairs = zip(these, those, strict=True)
        return cls(name, Spread.of([this / that for this, that in pairs]), aim)

    def to_json(self) -> dict[str, Any]:
        """As it stands in the results."""
        reached = None if self.aim is None else self.spread.median >= self.aim
        return {"name": self.name, **asdict(self.spread), "aim": self.aim, "reached": reached}


def in_turn(names: Sequence[str], number: int) -> Sequence[str]:
    """The order of a round: every other round runs backwards, so that a drift meets all alike."""
    return names if number % 2 == 0 else list(reversed(names))

"""One list of what was found by words and what was found by meaning: reciprocal rank fusion.

An item scores 1/(60 + its place) in each list that has it (Cormack, Clarke, Büttcher: "Reciprocal rank
fusion outperforms Condorcet and individual rank learning methods", SIGIR 2009). The near ones are few, and
their places are settled on the first page: each is known by how many of the others stand before it. So
later pages need the near ones' ids and go on in the words' own order, which nothing that comes or goes
meanwhile shifts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Any, Protocol, TypeVar
from uuid import UUID

K = 60


class Identified(Protocol):
    """Anything with an id."""

    @property
    def id(self) -> UUID:
        """The id."""
        ...


T = TypeVar("T", bound=Identified)


@dataclass(frozen=True, slots=True)
class Walk:
    """The near items in the order of the fused list, and how far it was told.

    `before[i]` of those that only words find stand before `near[i]`.
    """

    near: tuple[UUID, ...] = ()
    before: tuple[int, ...] = ()
    told_near: int = 0
    told_others: int = 0

    @property
    def left(self) -> tuple[UUID, ...]:
        """Near items that were not told yet."""
        return self.near[self.told_near :]


def fuse(near: Sequence[UUID], places: Mapping[UUID, int]) -> Walk:
    """The walk's beginning: `near` nearest first, `places` those among what the words found, from 1."""
    scores = {
        id_: Fraction(1, K + place) + (Fraction(1, K + places[id_]) if id_ in places else 0)
        for place, id_ in enumerate(near, 1)
    }
    ordered = sorted(near, key=lambda id_: -scores[id_])  # stable: of equals the nearer first
    taken = sorted(places[id_] for id_ in near if id_ in places)

    def before(score: Fraction) -> int:
        better = max(0, ceil(1 / score - K) - 1)  # places of words alone that score more
        return better - sum(place <= better for place in taken)

    return Walk(tuple(ordered), tuple(before(scores[id_]) for id_ in ordered))


def merge(
    walk: Walk, others: Sequence[T], near: Mapping[UUID, T], limit: int
) -> tuple[list[T], int, Walk | None]:
    """The next page: its items, how many of them are `others`, and the walk from there; None at the end.

    `others` are the next that only words find, one more than `limit` where there are so many; `near` are
    those of `walk.left` that are still there.
    """
    page: list[T] = []
    told_near, told_others = walk.told_near, 0
    while True:
        is_near = told_near < len(walk.near) and (
            walk.before[told_near] <= walk.told_others + told_others or told_others == len(others)
        )
        if is_near and walk.near[told_near] not in near:
            told_near += 1
            continue
        if not is_near and told_others == len(others):
            return page, told_others, None
        if len(page) == limit:
            told = replace(walk, told_near=told_near, told_others=walk.told_others + told_others)
            return page, told_others, told
        if is_near:
            page.append(near[walk.near[told_near]])
            told_near += 1
        else:
            page.append(others[told_others])
            told_others += 1


def to_token(walk: Walk) -> dict[str, Any]:
    """What a page token keeps of a walk."""
    return {
        "near": [id_.hex for id_ in walk.near],
        "before": list(walk.before),
        "told": [walk.told_near, walk.told_others],
    }


def from_token(told: Mapping[str, Any]) -> Walk:
    """The walk in a page token; an empty one where it has none."""
    if "near" not in told:
        return Walk()
    return Walk(
        tuple(UUID(hex=text) for text in told["near"]), tuple(told["before"]), *told["told"]
    )

"""Which stories a digest tells: the worthiest, and no two of a kind."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from distill_grpc.llm.ranking import Ranked
from distill_grpc.llm.vectors import cosine

_LIKENESS = 0.8  # of its worth a story loses where it is just like one that is told
_SAME_MATTER = 0.85  # how alike two stories about the same matter are at least
_OUTLET = 0.88  # what remains of it for each story of its outlet that is told
_AUTHOR = 0.75  # … of its author
_CHANGING = re.compile(r"\d+(?:[.,:]\d+)*|(?<!\w)@\w+")


def select(ranked: Sequence[Ranked], count: int) -> list[Ranked]:
    """At most `count` stories, best first, by maximal marginal relevance.

    Relevance is a story's worth, lessened by its likeness to those already taken (Carbonell, Goldstein
    1998), and by how often its author and outlet have had their say. No author gets more than
    a fair share, and no sentence is told twice with other numbers, so fewer than `count` may come back.
    """
    left = worth_telling(ranked)
    cap = author_cap({entry.story.best.voice for entry in left}, count)
    authors: Counter[str] = Counter()
    outlets: Counter[tuple[str, str]] = Counter()
    likeness = dict.fromkeys((entry.story.number for entry in left), 0.0)
    chosen: list[Ranked] = []
    while left and len(chosen) < count:
        taken = max(
            left,
            key=lambda entry: (
                entry.worth
                * (1 - _LIKENESS * likeness[entry.story.number])
                * _OUTLET ** outlets[entry.story.best.outlet]
                * _AUTHOR ** authors[entry.story.best.voice],
                -entry.story.number,
            ),
        )
        chosen.append(taken)
        best = taken.story.best
        authors[best.voice] += 1
        outlets[best.outlet] += 1
        left = [
            entry
            for entry in left
            if entry is not taken
            and authors[entry.story.best.voice] < cap
            and not _says_the_same(entry, taken)
        ]
        for entry in left:
            number = entry.story.number
            alike = cosine(entry.story.best.vector, best.vector)
            if entry.story.matter is taken.story.matter:
                alike = max(alike, _SAME_MATTER)
            likeness[number] = max(likeness[number], alike)
    return chosen


def _says_the_same(one: Ranked, other: Ranked) -> bool:
    """True where their sentences have one form."""
    if not one.candidates or not other.candidates:
        return False
    return form(one.candidates[0].text) == form(other.candidates[0].text)


def form(text: str) -> str:
    """A sentence without numbers and those whom it speaks to: of one form, two would read as one."""
    return " ".join(_CHANGING.sub("", text).split())


def author_cap(voices: set[str], count: int) -> int:
    """How many of `count` stories one voice may tell: all if alone, half of two, else at least 2."""
    return max(min(2, count), math.ceil(count / len(voices)))


def worth_telling(ranked: Sequence[Ranked]) -> list[Ranked]:
    """Those with a sentence or a title that are no advertisement; all of them where none is."""
    told = [entry for entry in ranked if entry.candidates or entry.story.best.title]
    return [entry for entry in told if not entry.story.best.advertising] or told or list(ranked)

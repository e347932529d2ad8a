"""Sparse TF-IDF vectors and an inverted index over them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

Vector = Mapping[str, float]  # term → weight; of length 1, or empty


def rarity(bags: Iterable[Iterable[str]]) -> dict[str, float]:
    """How much each term tells, by the number of bags that hold it (smoothed IDF, above 0)."""
    held: Counter[str] = Counter()
    count = 0
    for bag in bags:
        held.update(dict.fromkeys(bag, 1))
        count += 1
    return {term: math.log1p(count / n) for term, n in held.items()}


def vector(terms: Mapping[str, float], idf: Mapping[str, float], *, keep: int = 60) -> Vector:
    """The unit vector of a bag of terms with its `keep` weightiest terms, weightiest first."""
    weights = [(-(1 + math.log(n)) * idf[term], term) for term, n in terms.items()]
    weights.sort()
    del weights[keep:]
    length = math.sqrt(sum(w * w for w, _ in weights))
    return {term: -w / length for w, term in weights} if length else {}


def cosine(a: Vector, b: Vector) -> float:
    """Similarity of two unit vectors, 0 to 1."""
    if len(a) > len(b):
        a, b = b, a
    return sum(weight * b[term] for term, weight in a.items() if term in b)


class Index:
    """Finds the vectors that share terms with a given one, without comparing all with all.

    A vector is found by its `probes` weightiest terms, and each term remembers its last `postings`
    vectors: so an `add` or a `near` costs the same however many vectors there are.
    """

    def __init__(self, *, probes: int, postings: int) -> None:
        self._probes = probes
        self._postings = postings
        self._holders: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        self.touched = 0  # pairs of (vector, shared term) that were looked at

    def add(self, number: int, added: Vector) -> None:
        """Remembers a vector under its number."""
        for term, weight in _first(added, self._probes):
            holders = self._holders[term]
            holders.append((number, weight))
            if len(holders) > self._postings:
                del holders[0]

    def near(self, sought: Vector, *, limit: int) -> list[int]:
        """The numbers of at most `limit` vectors that share the most with the given one."""
        shared: defaultdict[int, float] = defaultdict(float)
        for term, weight in _first(sought, self._probes):
            holders = self._holders.get(term, ())
            self.touched += len(holders)
            for number, other in holders:
                shared[number] += weight * other
        return sorted(shared, key=lambda number: (-shared[number], number))[:limit]


def neighbours(
    vectors: Sequence[Vector], *, least: float, most_common: int, checkpoint: Callable[[], None]
) -> list[dict[int, float]]:
    """For each vector the others that are at least `least` similar, by number, both ways.

    Terms in more than `most_common` vectors open no pair (they still count in its similarity), which
    bounds the pairs.
    """
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for number, held in enumerate(vectors):
        for term in held:
            holders[term].append(number)
    found: list[dict[int, float]] = [{} for _ in vectors]
    for number, held in enumerate(vectors):
        checkpoint()
        candidates: dict[int, None] = {}
        for term in held:
            if len(holders[term]) <= most_common:
                candidates.update(dict.fromkeys(holders[term]))
        for other in sorted(candidates):
            if other > number and (similar := cosine(held, vectors[other])) >= least:
                found[number][other] = found[other][number] = similar
    return found


def _first(weights: Vector, count: int) -> list[tuple[str, float]]:
    return [pair for pair, _ in zip(weights.items(), range(count), strict=False)]

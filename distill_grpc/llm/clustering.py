"""Which documents tell the same story, and which stories are about the same matter.

Single-pass clustering against leaders, as in first-story detection (Allan, Papka, Lavrenko: "On-line
new event detection and tracking", SIGIR 1998): a document joins the most similar story that is similar
enough, else it opens one. Comparing with leaders only keeps chains of half-similar texts apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import mul
from types import MappingProxyType

from distill_grpc.llm.reading import Checkpoint, Reading
from distill_grpc.llm.vectors import Index, Vector, cosine

_SAME = 0.42  # cosine of title and lead from which two texts tell one story
_SAME_LINKED = 0.12  # … where one links to the other, or both to the same page
_SAME_MEANT = 0.5  # cosine of what they mean, where a model tells it, from which they do too …
_COMMON = 2  # … if they have so many names and numbers in common
_ANCHORS = (
    2  # names and numbers that two texts must have before having none in common tells them apart
)
_LEAST_SHARED = 3  # terms; short texts are similar by chance
_MATTER = 0.24  # cosine from which two stories are about the same matter
_DRIFT = 0.13  # … and from which it still is what the first of them was about
_SPAN = 72 * 3600.0  # seconds between two tellings of one story
_MOST_LINKS = 3  # a text with more is a round-up: its links say nothing
_MOST_LINKING = 40  # a page that more texts link to is a home page or a footer


@dataclass(slots=True)
class Story:
    """Documents that tell the same, best first."""

    number: int
    readings: list[Reading] = field(default_factory=list)
    weight: float = 1.0
    voices: tuple[str, ...] = ()
    matter: list[Story] = field(default_factory=list)  # stories about the same, this one included

    @property
    def best(self) -> Reading:
        """The document that tells it best."""
        return self.readings[0]

    @property
    def document_ids(self) -> tuple[str, ...]:
        """The ids of all its documents, the best one first."""
        return tuple(reading.id for reading in self.readings)


@dataclass(slots=True)
class Clusters:
    """What came of clustering, and what it cost."""

    stories: list[Story]
    comparisons: int  # cosines computed


def cluster(
    readings: list[Reading],
    checkpoint: Checkpoint,
    meanings: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> Clusters:
    """Gathers documents (oldest first) into stories, in the order in which they were first told.

    `meanings` are vectors of length 1, by document.
    """
    stories: list[Story] = []
    index = Index(probes=12, postings=80)
    copies: dict[tuple[str, ...], Story] = {}
    pages: dict[str, list[int]] = {}
    comparisons = 0
    for reading in readings:
        checkpoint()
        key = tuple(sorted(reading.bag)) or (reading.title, *reading.lead)
        story = copies.get(key)  # the same words need no comparing, and no nearness in time
        if story is None:
            nearest = index.near(reading.vector, limit=5)
            linked = _linked(reading, pages)
            comparisons += len(nearest) + len(linked)
            story = _joined(reading, stories, nearest, linked)
            if story is None and meanings:
                story = _meant(reading, stories, nearest, meanings)
        if story is None:
            story = Story(len(stories))
            stories.append(story)
            index.add(story.number, reading.vector)
        _remember_pages(reading, pages, story)
        story.readings.append(reading)
        copies.setdefault(key, story)
    return Clusters(stories, comparisons)


def find_matters(stories: list[Story], checkpoint: Checkpoint) -> None:
    """Sets each story's `matter`: the stories that are about the same, by a looser likeness.

    A story joins the matter of one that is like it, if it is not too far from where that began.
    """
    index = Index(probes=12, postings=80)
    for story in stories:
        checkpoint()
        vector = story.best.vector
        for number in index.near(vector, limit=5):
            other = stories[number]
            if (
                _shared(vector, other.best.vector) >= 2
                and cosine(vector, other.best.vector) >= _MATTER
                and cosine(vector, other.matter[0].best.vector) >= _DRIFT
            ):
                story.matter = other.matter
                break
        story.matter.append(story)
        index.add(story.number, vector)


def _joined(
    reading: Reading, stories: list[Story], nearest: list[int], linked: list[int]
) -> Story | None:
    best: tuple[float, Story] | None = None
    for number, least in [(n, _SAME) for n in nearest] + [(n, _SAME_LINKED) for n in linked]:
        leader = stories[number].readings[0]
        similar = cosine(reading.vector, leader.vector)
        if (
            similar >= least
            and _apart(reading, leader) <= _SPAN
            and (least < _SAME or _shared(reading.vector, leader.vector) >= _LEAST_SHARED)
            and (least < _SAME or not _told_of_others(reading.anchors, leader.anchors))
            and (best is None or similar > best[0])
        ):
            best = similar, stories[number]
    return best[1] if best else None


def _meant(
    reading: Reading,
    stories: list[Story],
    nearest: list[int],
    meanings: Mapping[str, Sequence[float]],
) -> Story | None:
    """The story that says the same in other words: near in meaning, about the same names or numbers.

    News of a kind are near in meaning, whomever they are about; so meaning alone decides nothing.
    """
    best: tuple[float, Story] | None = None
    own = meanings.get(reading.id, ())
    for number in nearest:
        leader = stories[number].readings[0]
        if len(reading.anchors & leader.anchors) >= _COMMON and _apart(reading, leader) <= _SPAN:
            similar = sum(map(mul, own, meanings.get(leader.id, ())))
            if similar >= _SAME_MEANT and (best is None or similar > best[0]):
                best = similar, stories[number]
    return best[1] if best else None


def _linked(reading: Reading, pages: dict[str, list[int]]) -> list[int]:
    found: dict[int, None] = {}
    for page in _pages_of(reading):
        found.update(dict.fromkeys(pages.get(page, ())))
    return list(found)[:5]


def _remember_pages(reading: Reading, pages: dict[str, list[int]], story: Story) -> None:
    for page in _pages_of(reading):
        holders = pages.setdefault(page, [])
        if story.number not in holders and len(holders) < _MOST_LINKING:
            holders.append(story.number)


def _pages_of(reading: Reading) -> tuple[str, ...]:
    links = reading.links if len(reading.links) <= _MOST_LINKS else ()
    own = (reading.address,) if "/" in reading.address else ()
    return (*own, *links)


def _told_of_others(a: frozenset[str], b: frozenset[str]) -> bool:
    """True where two texts name and count quite different things, however alike their words are."""
    return len(a) >= _ANCHORS and len(b) >= _ANCHORS and a.isdisjoint(b)


def _shared(a: Vector, b: Vector) -> int:
    return len(a.keys() & b.keys())


def _apart(a: Reading, b: Reading) -> float:
    return abs(a.document.published_at.timestamp() - b.document.published_at.timestamp())

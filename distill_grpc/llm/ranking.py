"""Which sentence tells a story best, and how central the story is: PageRank over sentences.

TextRank and LexRank (Mihalcea, Tarau 2004; Erkan, Radev 2004) over TF-IDF cosines of the sentences of
all candidate stories, with a biased start: a story's weight is shared among its sentences by fitness,
place and likeness to the title. A story's share of the rank says how much the others speak of it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from distill_grpc.llm.clustering import Story
from distill_grpc.llm.languages import Tokeniser
from distill_grpc.llm.reading import REPEATED, Checkpoint, Reading, sentences_of
from distill_grpc.llm.standing import fitness
from distill_grpc.llm.vectors import Vector, cosine, neighbours, rarity, vector

_CHARACTERS = 1_500_000  # read of all candidates together
_LEAST_CHARACTERS, _MOST_CHARACTERS = 4_000, 100_000  # … and of each document
_SENTENCES = 1_800  # in the graph
_TELLERS = 4  # documents of a story whose sentences compete
_DAMPING = 0.75
_FULL = 9  # different terms that make a sentence full of content
_MOST_CENTRAL = 4.0
_EDGE = 0.1  # cosine from which two sentences are linked
_ECHO = 0.2  # … and from which one echoes the other
_PASSES = 40
_SETTLED = 1e-6


@dataclass(slots=True)
class Candidate:
    """A sentence that may be quoted, with those around it."""

    reading: Reading
    story: int
    text: str
    place: int  # among all sentences of the document
    before: str
    after: str
    fitness: float
    vector: Vector
    bias: float = 0.0  # what speaks for it within its own document
    start: float = 0.0  # its share of the story's weight
    rank: float = 0.0
    echoed: bool = False  # a sentence of another story and voice is much like it


@dataclass(slots=True)
class Ranked:
    """A story with its sentences, best first, and its worth in the digest."""

    story: Story
    candidates: list[Candidate]  # empty where only a title can be told
    worth: float


def rank(stories: Sequence[Story], tokeniser: Tokeniser, checkpoint: Checkpoint) -> list[Ranked]:
    """The stories with their sentences ranked, in the given order."""
    documents = sum(len(story.readings[:_TELLERS]) for story in stories)
    span = max(_LEAST_CHARACTERS, min(_MOST_CHARACTERS, _CHARACTERS // documents))
    most = max(6, _SENTENCES // len(stories))
    texts: dict[str, list[str]] = {}
    for story in stories:
        checkpoint()
        texts |= {r.id: sentences_of(r, limit=span) for r in story.readings[:_TELLERS]}
    kept = _without_furniture(stories, texts)
    groups = []
    for story in stories:
        checkpoint()
        groups.append(
            _candidates(story, kept, tokeniser, most) or _candidates(story, texts, tokeniser, most)
        )
    everyone = [candidate for group in groups for candidate in group]
    quotable = {s.number for s, group in zip(stories, groups, strict=True) if group}
    for story, group in zip(stories, groups, strict=True):
        total = sum(candidate.bias for candidate in group)
        for candidate in group:
            candidate.start = candidate.bias * story.weight / total
    _page_rank(everyone, checkpoint)
    weights = sum(story.weight for story in stories if story.number in quotable)
    return [_ranked(story, group, weights) for story, group in zip(stories, groups, strict=True)]


def _ranked(story: Story, candidates: list[Candidate], weights: float) -> Ranked:
    worth = story.weight
    if candidates:
        # 1 where nobody else speaks of it; what others add counts with its square root, so that it
        # colours the weights and does not drown them.
        share = sum(candidate.rank for candidate in candidates) / (story.weight / weights)
        worth *= math.sqrt(min(_MOST_CENTRAL, share))
        candidates.sort(key=lambda c: (-c.rank * c.bias, c.reading.id, c.place))
        worth *= 0.4 + 0.6 * candidates[0].fitness
    return Ranked(story, candidates, worth)


def _without_furniture(
    stories: Sequence[Story], texts: dict[str, list[str]]
) -> dict[str, list[str]]:
    """The sentences without what a voice says in story after story, wherever in the text."""
    held: Counter[tuple[str, str]] = Counter()
    tellers = [reading for story in stories for reading in story.readings[:_TELLERS]]
    for story in stories:
        own: dict[tuple[str, str], None] = {}
        for reading in story.readings[:_TELLERS]:
            own.update(dict.fromkeys((reading.voice, text) for text in texts[reading.id]))
        held.update(own.keys())
    return {
        reading.id: [
            text
            for text in texts[reading.id]
            if held[reading.voice, text] < REPEATED and text not in reading.repeated
        ]
        for reading in tellers
    }


def _candidates(
    story: Story, texts: dict[str, list[str]], tokeniser: Tokeniser, most: int
) -> list[Candidate]:
    """The quotable sentences of a story, at most `most`: the fittest and most central ones."""
    found: list[Candidate] = []
    bags: list[Counter[str]] = []
    seen: set[str] = set()
    for reading in story.readings[:_TELLERS]:
        sentences = texts[reading.id]
        for place, text in enumerate(sentences):
            worth = fitness(text)
            if worth == 0 or text in seen:
                continue
            seen.add(text)
            bags.append(Counter(tokeniser.terms(text, reading.language)))
            found.append(
                Candidate(
                    reading=reading,
                    story=story.number,
                    text=text,
                    place=place,
                    before=sentences[place - 1] if place else "",
                    after=sentences[place + 1] if place + 1 < len(sentences) else "",
                    fitness=worth,
                    vector={},
                )
            )
    idf = rarity(bags)
    whole: Counter[str] = Counter()
    for bag in bags:
        whole.update(bag)
    centre = vector(whole, idf, keep=200)
    for candidate, bag in zip(found, bags, strict=True):
        # Few words of content say little, however well they are put.
        candidate.fitness *= 0.25 + 0.75 * min(1.0, len(bag) / _FULL)
        # Plain counts: IDF would punish the words that a document keeps coming back to.
        candidate.vector = vector(bag, dict.fromkeys(bag, 1.0), keep=40)
        candidate.bias = _bias(candidate, centre, tokeniser)
    kept = sorted(found, key=lambda c: (-c.bias, c.reading.id, c.place))[:most]
    return [candidate for candidate in kept if candidate.bias > 0]


def _bias(candidate: Candidate, centre: Vector, tokeniser: Tokeniser) -> float:
    reading = candidate.reading
    title = set(tokeniser.terms(reading.title, reading.language))
    overlap = len(title & candidate.vector.keys()) / len(title) if title else 0.0
    place = 1 / math.sqrt(1 + candidate.place)
    return candidate.fitness * (
        0.25 + 0.5 * place + 0.5 * min(1.0, overlap) + 1.0 * cosine(candidate.vector, centre)
    )


def _page_rank(candidates: list[Candidate], checkpoint: Checkpoint) -> None:
    if not candidates:
        return
    idf = rarity(candidate.vector for candidate in candidates)
    vectors = [
        vector(dict.fromkeys(candidate.vector, 1.0), idf, keep=40) for candidate in candidates
    ]
    near = neighbours(
        vectors,
        least=_EDGE,
        most_common=max(20, len(candidates) // 25),
        checkpoint=checkpoint,
    )
    edges = [
        {other: w for other, w in links.items() if _supports(candidates[other], candidate)}
        for candidate, links in zip(candidates, near, strict=True)
    ]
    for candidate, links in zip(candidates, edges, strict=True):
        candidate.echoed = any(
            w >= _ECHO and candidates[other].story != candidate.story for other, w in links.items()
        )
    total = sum(candidate.start for candidate in candidates)
    start = [candidate.start / total for candidate in candidates]
    strength = [sum(links.values()) for links in edges]
    ranks = start
    for _ in range(_PASSES):
        checkpoint()
        flow = [r / s if s else 0.0 for r, s in zip(ranks, strength, strict=True)]
        # What a sentence without links has goes back to itself: it is neither raised nor lowered.
        lonely = [r if not s else 0.0 for r, s in zip(ranks, strength, strict=True)]
        following = [
            (1 - _DAMPING) * start[i]
            + _DAMPING * (lonely[i] + sum(flow[j] * w for j, w in links.items()))
            for i, links in enumerate(edges)
        ]
        change = sum(abs(a - b) for a, b in zip(ranks, following, strict=True))
        ranks = following
        if change < _SETTLED:
            break
    for candidate, value, own in zip(candidates, ranks, vectors, strict=True):
        candidate.rank = value
        candidate.vector = own


def _supports(a: Candidate, b: Candidate) -> bool:
    """False for two stories of one voice: a feed of similar texts does not make itself central."""
    return a.story == b.story or a.reading.voice != b.reading.voice

"""Answers to questions from documents: the passages that hold them, or none.

A passage is a sentence. It counts by the words of the question that it has, rare ones more than
frequent ones, and a word that no document has most of all: so documents about something else do not answer,
however alike they sound. What a document's headline says counts for its sentences, but less.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from distill_grpc.llm.base import Document, Purse, Statement
from distill_grpc.llm.injection import addresses_a_model
from distill_grpc.llm.languages import Tokeniser
from distill_grpc.llm.reading import Reading, read, sentences_of

Reason = Literal["nothing_found", "not_answered"]

_ENOUGH = 0.6  # of the question's weight that a sentence must have to answer it
_BY_TITLE = 0.6  # … that a word counts for which stands in the headline alone
_NEAR = 0.75  # of the best sentence's share that others must have
_READ = 20_000  # characters of a document
MOST = 5  # sentences of an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, and the documents that may hold the answer, likeliest first."""

    text: str
    documents: Sequence[Document]
    near: frozenset[str] = frozenset()  # ids of those near in meaning, whatever their words
    seconds: float = 25.0  # after which whoever asks has gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Sentences with the documents that they stand in; none where `reason` says why."""

    statements: Sequence[Statement]
    model: str
    confidence: float  # share of the question's weight that the best cited sentence has, 0 to 1
    reason: Reason | None = None
    incomplete: bool = False  # the model broke off after what was said already


# Takes a statement of an answer as soon as it stands.
Say = Callable[[Statement], Awaitable[None]]


class Answerer(Protocol):
    """Answers questions."""

    name: str

    async def answer(
        self, question: Question, purse: Purse | None = None, /, *, say: Say | None = None
    ) -> Answer:
        """The answer; every statement cites documents of the question. Without a purse nothing is spent.

        `say` is given each statement once, in order, as soon as it is known to be one of the answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Passage:
    """A sentence that may answer, and how much of the question it has."""

    reading: Reading
    text: str
    share: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the documents have to say to a question."""

    readings: Sequence[Reading]
    passages: Sequence[Passage]  # best first
    tokeniser: Tokeniser

    @property
    def holds(self) -> bool:
        """True where a sentence answers."""
        return bool(self.passages) and self.passages[0].share >= _ENOUGH


class OfflineAnswerer:
    """Answers with the sentences that hold the answer, as they stand there."""

    def __init__(self, name: str = "passages") -> None:
        self.name = name

    async def answer(
        self, question: Question, _purse: Purse | None = None, /, *, say: Say | None = None
    ) -> Answer:
        """See `Answerer`; nothing is spent."""
        return await said(quoted(await asyncio.to_thread(weigh, question), self.name), say)


async def said(answer: Answer, say: Say | None) -> Answer:
    """The answer, after each of its statements was said."""
    if say is not None:
        for statement in answer.statements:
            await say(statement)
    return answer


def quoted(evidence: Evidence, name: str) -> Answer:
    """The answer that consists of sentences of the documents."""
    if not evidence.holds:
        return refused(evidence, name)
    least = _NEAR * evidence.passages[0].share
    told: dict[str, Statement] = {}
    for passage in evidence.passages:
        alike = any(_alike(passage.text, other, evidence.tokeniser) for other in told)
        if passage.share >= least and not alike and len(told) < MOST:
            told[passage.text] = Statement(text=passage.text, document_ids=(passage.reading.id,))
    share = round(evidence.passages[0].share, 3)
    return Answer(statements=list(told.values()), model=name, confidence=share)


def refused(evidence: Evidence, name: str) -> Answer:
    """No answer, and why."""
    reason: Reason = "not_answered" if evidence.readings else "nothing_found"
    return Answer(statements=(), model=name, confidence=0.0, reason=reason)


def weigh(question: Question) -> Evidence:
    """Finds the sentences that have most of the question. Those that speak to a model are left out."""
    tokeniser = Tokeniser()
    readings = read(question.documents, tokeniser, lambda: None) if question.documents else []
    order = {document.id: place for place, document in enumerate(question.documents)}
    held = {reading.id: _held(reading, tokeniser) for reading in readings}
    passages: list[Passage] = []
    for reading in readings:
        wanted = _weights(tokeniser.terms(question.text, reading.language or "en"), held.values())
        title = set(
            tokeniser.terms(f"{reading.title} {reading.document.author}", reading.language or "en")
        )
        for sentence in (reading.title, *sentences_of(reading, limit=_READ)):
            if not sentence or addresses_a_model(sentence):
                continue
            share = _share(wanted, set(tokeniser.terms(sentence, reading.language or "en")), title)
            if share:
                passages.append(Passage(reading, sentence, share))
    passages.sort(key=lambda p: (-p.share, order[p.reading.id], len(p.text)))
    return Evidence(readings, passages, tokeniser)


def _held(reading: Reading, tokeniser: Tokeniser) -> frozenset[str]:
    text = f"{reading.title} {reading.document.author} {reading.document.text[:_READ]}"
    return frozenset(tokeniser.terms(text, reading.language or "en"))


def _weights(terms: Iterable[str], held: Iterable[frozenset[str]]) -> dict[str, float]:
    """How much each word of the question counts: the rarer, the more."""
    documents = list(held)
    return {
        term: math.log(1 + (len(documents) + 1) / (0.5 + sum(term in have for have in documents)))
        for term in dict.fromkeys(terms)
    }


def _share(wanted: dict[str, float], sentence: set[str], title: set[str]) -> float:
    whole = sum(wanted.values())
    own = sum(weight for term, weight in wanted.items() if term in sentence)
    if not own:
        return 0.0
    above = sum(weight for term, weight in wanted.items() if term in title - sentence)
    return (own + _BY_TITLE * above) / whole


def _alike(one: str, other: str, tokeniser: Tokeniser) -> bool:
    a, b = (set(tokeniser.terms(text, "en")) for text in (one, other))
    return len(a & b) >= _NEAR * max(1, min(len(a), len(b)))

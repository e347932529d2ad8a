"""Answers to questions from documents: the passages that hold them, or none.

A passage is a sentence. It counts by the words of the question that it has, rare ones more than
frequent ones, and a word that no document has most of all: so documents about something else do not answer,
however alike they sound. What a document's headline says counts for its sentences, but less. A name too
short to be a word, such as `AT&T`, must be there.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from distill_grpc.llm.base import Document, Purse, Statement
from distill_grpc.llm.injection import addresses_a_model
from distill_grpc.llm.languages import (
    STOP_WORDS,
    Tokeniser,
    guess_language,
    names_asked,
    names_in,
    without_asking,
    without_tense,
    words,
    writes_no_spaces,
)
from distill_grpc.llm.reading import Reading, read, sentences_of
from distill_grpc.llm.sentences import CLOSING

Reason = Literal["nothing_found", "not_answered"]

_ENOUGH = 0.6  # of the question's weight that a sentence must have to answer it
_BY_TITLE = 0.6  # … that a word counts for which stands in the headline alone
_NEAR = 0.75  # of the best sentence's share that others must have
_READ = 20_000  # characters of a document
MOST = 5  # sentences of an answer
_BEGINS = 2  # words with which a question begins
_REPOSITORY = re.compile(r"^\[[\w.-]+/[\w.-]+\]\s*")  # before headlines of GitHub's mails
_TELLING = 3  # terms behind that prefix from which two headlines with the same are one


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
    names, telling = _taken_apart(question.text)
    passages: list[Passage] = []
    for reading in readings:
        language = reading.language or "en"
        asked = without_tense(tokeniser.terms(telling, language), language)
        wanted = _weights(asked, names, held.values())
        above = f"{reading.title}. {reading.document.author}"
        title = _terms(above, language, tokeniser, named=bool(names))
        for sentence in (reading.title, *sentences_of(reading, limit=_READ)):
            if not sentence or addresses_a_model(sentence):
                continue
            own = _terms(sentence, language, tokeniser, named=bool(names))
            if names <= own | title and (share := _share(wanted, own, title)):
                passages.append(Passage(reading, sentence, share))
    passages.sort(key=lambda p: (-p.share, order[p.reading.id], len(p.text)))
    return Evidence(readings, passages, tokeniser)


def _taken_apart(question: str) -> tuple[frozenset[str], str]:
    """Names that an answer needs, and the words of the question that tell something."""
    names = names_asked(question)
    rest = question
    for written in sorted(names, key=len, reverse=True):
        rest = re.sub(rf"(?<!\w){re.escape(written)}(?!\w)", " ", rest)
    # A question is short: a document may be taken for another language than that which it is asked in,
    # and where the question's is not known either, the words that it begins with ask in any of them.
    told, language = words(without_asking(rest)), guess_language(words(question))
    stop = STOP_WORDS.get(language, frozenset())
    begins = frozenset() if language else frozenset().union(*STOP_WORDS.values())
    telling = [w for i, w in enumerate(told) if w not in stop and not (i < _BEGINS and w in begins)]
    return frozenset(names.values()), " ".join(telling)


def _terms(text: str, language: str, tokeniser: Tokeniser, *, named: bool) -> set[str]:
    terms = set(without_tense(tokeniser.terms(text, language), language))
    return terms | names_in(text, language) if named else terms


def _held(reading: Reading, tokeniser: Tokeniser) -> frozenset[str]:
    text = f"{reading.title} {reading.document.author} {reading.document.text[:_READ]}"
    return frozenset(_terms(text, reading.language or "en", tokeniser, named=False))


def _weights(
    terms: Iterable[str], names: Iterable[str], held: Iterable[frozenset[str]]
) -> dict[str, float]:
    """How much each word of the question counts: the rarer, the more. Names count as what nobody has."""
    documents = list(held)

    def weight(holding: int) -> float:
        return math.log(1 + (len(documents) + 1) / (0.5 + holding))

    return dict.fromkeys(names, weight(0)) | {
        term: weight(sum(term in have for have in documents)) for term in dict.fromkeys(terms)
    }


def _share(wanted: dict[str, float], sentence: set[str], title: set[str]) -> float:
    whole = sum(wanted.values())
    own = sum(weight for term, weight in wanted.items() if term in sentence)
    if not own:
        return 0.0
    above = sum(weight for term, weight in wanted.items() if term in title - sentence)
    return (own + _BY_TITLE * above) / whole


def _alike(one: str, other: str, tokeniser: Tokeniser) -> bool:
    """True where two sentences say the same, of whatever repository their headlines are."""
    a, b = (set(tokeniser.terms(text, "en")) for text in (one, other))
    if len(a & b) >= _NEAR * max(1, min(len(a), len(b))):
        return True
    bare = {" ".join(words(_REPOSITORY.sub("", text))) for text in (one, other)}
    return len(bare) == 1 and len(tokeniser.terms(bare.pop(), "en")) >= _TELLING


def together(statements: Sequence[Statement]) -> str:
    """The statements as one text: a headline without a mark at its end gets one before the next."""
    texts = [statement.text for statement in statements]
    return " ".join([*map(_ended, texts[:-1]), *texts[-1:]])


def _ended(text: str) -> str:
    if not text.rstrip(CLOSING)[-1:].isalnum():
        return text
    return f"{text}{'。' if writes_no_spaces(text) else '.'}"

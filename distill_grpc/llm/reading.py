"""A document as the summariser reads it: its beginning for comparing, all of it for quoting."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from distill_grpc.llm.base import Document
from distill_grpc.llm.cleaning import clean_text, clean_title, host_of, links_in, same_address
from distill_grpc.llm.furniture import is_furniture
from distill_grpc.llm.injection import addresses_a_model
from distill_grpc.llm.languages import Tokeniser
from distill_grpc.llm.sentences import split_sentences
from distill_grpc.llm.standing import fitness
from distill_grpc.llm.vectors import Vector, rarity, vector

Checkpoint = Callable[[], None]  # called between steps; may raise to abandon the work

_LEADS = 4_000_000  # characters that are read of all documents' beginnings together
_LEAD_LEAST, _LEAD_MOST = 400, 2_000  # … and of each
_ANCHOR = re.compile(r"\d[\d.,:]*\d|\d|(?<=[\w,;:)] )[^\W\d_a-z][\w'’-]+")  # noqa: RUF001 -- an apostrophe
REPEATED = 3  # a sentence in so many texts of one voice is its furniture


@dataclass(slots=True)
class Reading:
    """One document, read."""

    document: Document
    title: str
    language: str
    voice: str  # who speaks: author, else host, else source
    outlet: tuple[str, str]  # where: source and host
    address: str
    links: tuple[str, ...]
    lead: list[str]  # the first sentences, furniture left out
    bag: Counter[str] = field(default_factory=Counter)  # terms of title (twice) and lead
    anchors: frozenset[str] = frozenset()  # names and numbers in the lead
    vector: Vector = field(default_factory=dict)
    repeated: frozenset[str] = frozenset()  # sentences of the lead that are the voice's furniture
    weight: float = 1.0
    advertising: bool = False
    steering: bool = False  # speaks to a model instead of a reader: kept away from models

    @property
    def id(self) -> str:
        """The document's id."""
        return self.document.id


def read(
    documents: Sequence[Document], tokeniser: Tokeniser, checkpoint: Checkpoint
) -> list[Reading]:
    """Reads the beginning of every document, oldest first, each id once."""
    ordered = sorted(
        {document.id: document for document in reversed(documents)}.values(),
        key=lambda document: (document.published_at.timestamp(), document.id),
    )
    span = max(_LEAD_LEAST, min(_LEAD_MOST, _LEADS // len(ordered)))
    readings = []
    for document in ordered:
        checkpoint()
        readings.append(_begin(document, tokeniser, span))
    for reading in _without_furniture(readings):
        checkpoint()
        _count_terms(reading, tokeniser)
    idf = rarity(reading.bag for reading in readings)
    for reading in readings:
        checkpoint()
        reading.vector = vector(reading.bag, idf, keep=40)
    return readings


def sentences_of(reading: Reading, *, limit: int) -> list[str]:
    """All sentences of the first `limit` characters of a document, in order."""
    text = reading.document.text
    found = split_sentences(clean_text(text[:limit]), reading.language)
    # The last one may have been cut by the limit.
    return found[:-1] if len(text) > limit and len(found) > 1 else found


def _begin(document: Document, tokeniser: Tokeniser, span: int) -> Reading:
    start = document.text[:span]
    text = clean_text(start)
    title = clean_title(document.title, document.author)
    steering = addresses_a_model(document.title) or addresses_a_model(start)
    if steering and addresses_a_model(title):
        title = ""
    language = tokeniser.language(document.language, f"{title} {text}")
    host = host_of(document.url)
    return Reading(
        document=document,
        title=title,
        language=language,
        voice=" ".join(document.author.casefold().split()) or host or document.source,
        outlet=(document.source, host),
        address=same_address(document.url),
        links=links_in(start),
        lead=[
            s
            for s in split_sentences(text, language)
            if not is_furniture(s) and not (steering and addresses_a_model(s))
        ],
        steering=steering,
    )


def _without_furniture(readings: list[Reading]) -> list[Reading]:
    """Drops from the leads what a voice says in text after text, unless nothing else is left."""
    held: defaultdict[tuple[str, str], set[tuple[str, ...]]] = defaultdict(set)
    for reading in readings:
        whole = (reading.title, *reading.lead)
        for sentence in reading.lead:
            # Copies of one text are no sign of furniture, different texts are.
            held[reading.voice, sentence].add(whole)
    for reading in readings:
        own = [s for s in reading.lead if len(held[reading.voice, s]) < REPEATED]
        if own or reading.title:
            reading.repeated = frozenset(reading.lead) - frozenset(own)
            reading.lead = own
    return readings


def _anchors(sentences: Sequence[str]) -> frozenset[str]:
    """Numbers, and words that are capitalised inside a sentence."""
    return frozenset(word.casefold() for s in sentences for word in _ANCHOR.findall(s))


def _count_terms(reading: Reading, tokeniser: Tokeniser) -> None:
    bag = Counter(tokeniser.terms(" ".join(reading.lead), reading.language))
    for term in tokeniser.terms(reading.title, reading.language):
        bag[term] += 2
    reading.bag = bag
    reading.anchors = _anchors(reading.lead)


def can_stand(reading: Reading) -> bool:
    """True where the lead has a sentence that can stand in a digest."""
    return any(fitness(sentence) > 0 for sentence in reading.lead)

"""Which documents belong into a section of the user's own."""

from __future__ import annotations

from distill_grpc.llm.base import OwnSection
from distill_grpc.llm.languages import words
from distill_grpc.llm.reading import Reading
from distill_grpc.llm.reasons import liked_tags


def matches(wanted: OwnSection, reading: Reading) -> bool:
    """True where the document is of a source of the section and has one of its words or tags.

    Words are found whole and without regard to case, several in a row as they stand; a section of
    sources alone takes everything of them.
    """
    if wanted.sources and reading.document.source not in wanted.sources:
        return False
    if not wanted.words and not wanted.tags:
        return bool(wanted.sources)
    if liked_tags(reading, wanted.tags):
        return True
    # Padded, so that a word is found at both ends and never inside another.
    text = f" {' '.join(words(' '.join((reading.title, *reading.lead))))} "
    return any(phrase.strip() and phrase in text for phrase in map(_phrase, wanted.words))


def _phrase(text: str) -> str:
    return f" {' '.join(words(text))} "

"""How a story is put into words: its title or its author, and its own sentences."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from distill_grpc.llm.base import Statement
from distill_grpc.llm.languages import Tokeniser, leans_on_context, writes_no_spaces
from distill_grpc.llm.ranking import Candidate, Ranked
from distill_grpc.llm.reading import Reading, sentences_of
from distill_grpc.llm.standing import fitness

LIMIT = 300  # characters of a highlight
_TITLE = 110  # … of a title before a sentence
_SHORT = 110  # a sentence up to this length gets the next one beside it
_SCRAPS = 2_000  # characters that are searched for something to say where no sentence stands
_SAID = 0.8  # share of the title's terms in a sentence from which the title need not be said
_ADDRESS = re.compile(r"^(?:@\w{1,50}[:,]?\s+)+")
_JOINERS = "\u200c\u200d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """A text, the documents that it rests on, and what it quotes from them."""

    text: str
    document_ids: tuple[str, ...]
    quotes: tuple[tuple[str, str], ...]  # document's id, verbatim words of it

    def statement(self) -> Statement:
        """What goes into the digest."""
        return Statement(text=self.text, document_ids=self.document_ids)


def tell(entry: Ranked, tokeniser: Tokeniser, *, limit: int = LIMIT) -> Telling:
    """A story in one or two sentences of its own, at most `limit` characters.

    A title goes before a sentence that does not say it anyway; where there is no title, the author.
    """
    if not entry.candidates:
        return _tell_without_sentence(entry, limit)
    candidate = entry.candidates[0]
    reading = candidate.reading
    prefix = _prefix(reading, candidate, tokeniser)
    first, *more = _around(candidate, limit - len(prefix))
    quotes = [unaddressed(first), *more]
    glue = "" if writes_no_spaces(candidate.text) else " "
    body = cut(glue.join(quotes), limit - len(prefix))
    return Telling(
        text=prefix + body,
        document_ids=_first_cites(reading.id, entry.story.document_ids),
        quotes=_quoted(reading.id, quotes, body),
    )


def unaddressed(text: str) -> str:
    """A sentence without the names that a reply begins with, which say nothing to a reader.

    Where what follows does not begin like a sentence (`@ann was elected`), the name is a part of it.
    """
    match = _ADDRESS.match(text)
    if match is None:
        return text
    rest = text[match.end() :]
    begins = rest[:1].isupper() or (match[0].rstrip().endswith(":") and rest[:1].isalpha())
    return rest if begins else text


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, cut between words with an ellipsis; never inside a character."""
    if len(text) <= limit:
        return text
    end = limit - 1
    space = text.rfind(" ", 0, end + 1)
    if space >= end * 2 // 3:
        end = space
    else:
        while end > 1 and _continues(text, end):
            end -= 1
    return text[:end].rstrip(" ,;:-–—(«“„") + "…"  # noqa: RUF001 -- what reads badly before an ellipsis


def heading(reading: Reading, limit: int = _TITLE) -> str:
    """What a document is called: its title, else the beginning of its text."""
    if reading.title:
        return cut(reading.title, limit)
    return cut(_beginning(reading), limit)


def _prefix(reading: Reading, candidate: Candidate, tokeniser: Tokeniser) -> str:
    author = " ".join(reading.document.author.split())
    if not reading.title:
        return f"{cut(author, 60)}: " if author else ""
    title = tokeniser.terms(reading.title, reading.language)
    said = set(tokeniser.terms(candidate.text, reading.language))
    if len(title) > 2 and sum(term in said for term in title) >= _SAID * len(title):
        return ""
    return f"{cut(reading.title, _TITLE)} — "


def _around(candidate: Candidate, room: int) -> list[str]:
    """The sentence, with the one that it leans on or, if it is short, the one that follows."""
    text = candidate.text
    gap = 0 if writes_no_spaces(text) else 1
    if leans_on_context(text) and fitness(candidate.before) > 0:
        if len(candidate.before) + gap + len(text) <= room:
            return [candidate.before, text]
    elif (
        len(text) <= _SHORT
        and text[-1:] in ".!。！…”’»"  # noqa: RUF001 -- ends of sentences
        and fitness(candidate.after) > 0.45
        and len(text) + gap + len(candidate.after) <= room
    ):
        return [text, candidate.after]
    return [text]


def _tell_without_sentence(entry: Ranked, limit: int) -> Telling:
    reading = entry.story.best
    ids = entry.story.document_ids
    author = " ".join(reading.document.author.split())
    prefix = f"{cut(author, 60)}: " if author else ""
    words = reading.title or _beginning(reading)
    body = cut(words, limit - len(prefix)) if words else "(no text)"
    quotes = _quoted(reading.id, [words], body) if words else ()
    return Telling(text=prefix + body, document_ids=ids, quotes=quotes)


def _beginning(reading: Reading) -> str:
    sentences = sentences_of(reading, limit=_SCRAPS)
    return next((s for s in sentences if any(map(str.isalnum, s))), "") or " ".join(sentences[:1])


def _quoted(id_: str, sentences: Sequence[str], body: str) -> tuple[tuple[str, str], ...]:
    """The sentences as far as they stand in the body: the last one may be cut."""
    if len(sentences) == 1 and body.endswith("…") and body != sentences[0]:
        return ((id_, body[:-1]),)
    return tuple((id_, sentence) for sentence in sentences)


def _first_cites(id_: str, ids: tuple[str, ...]) -> tuple[str, ...]:
    return (id_, *(other for other in ids if other != id_))


def _continues(text: str, at: int) -> bool:
    """True where the character at `at` belongs to the one before: marks, emoji in sequences."""
    here, before = text[at], text[at - 1]
    return (
        unicodedata.combining(here) != 0
        or unicodedata.category(here) in {"Mn", "Mc", "Me"}
        or here in _JOINERS
        or before in _JOINERS
        or "\U0001f3fb" <= here <= "\U0001f3ff"  # skin tones
        or ("\U0001f1e6" <= here <= "\U0001f1ff" and "\U0001f1e6" <= before <= "\U0001f1ff")
    )

"""Which tags of a user's vocabulary an item gets: pure, offline, and the same every time.

A tag is found by its name or an alias, word for word by stems, the longest phrase first. What is written
with signs (`C++`, `.NET`) is found as it is written, and what is made of everyday words alone (`Go`, `IT`)
also in its capitals. A few tags are kept: those of the headline, of the beginning and of the source's own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from distill_grpc.feed import ingesting
from distill_grpc.llm.languages import STOP_WORDS, Tokeniser

MOST = 5  # tags of an item
READ = 20_000  # characters of an item
_LEAD = 600  # characters of its beginning
_IN_TITLE, _IN_LEAD, _LATER, _BY_SOURCE = 3, 2, 1, 3
_ENOUGH = 2  # one mention far down in a text makes no subject of it
_SIGNS = re.compile(r"[^\w\s'’/-]")  # noqa: RUF001 -- an apostrophe


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag of a vocabulary, as its user wrote it."""

    name: str
    aliases: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The form in which items have it."""
        return ingesting.tag(self.name)


@dataclass(slots=True)
class _Index:
    """The phrases of a vocabulary in one language."""

    stems: dict[str, list[tuple[tuple[str, ...], str]]] = field(
        default_factory=dict
    )  # by the first
    literal: list[tuple[re.Pattern[str], str]] = field(default_factory=list)


class Vocabulary:
    """A user's tags, ready to be looked for."""

    def __init__(self, tags: Sequence[Tag]) -> None:
        self._tags = tags
        self._tokeniser = Tokeniser()
        self._indexes: dict[str, _Index] = {}
        self._order = {tag.key: place for place, tag in enumerate(tags)}
        self.aliases = {
            ingesting.tag(phrase): tag.key for tag in tags for phrase in (*tag.aliases, tag.name)
        }

    def choose(
        self, title: str, text: str, source_tags: Iterable[str], language: str = ""
    ) -> list[str]:
        """The tags of an item, weightiest first; without a vocabulary those of its source."""
        given = list(source_tags)
        if not self._tags:
            return given
        text = text[:READ]
        code = self._tokeniser.language(language, f"{title} {text[:_LEAD]}")
        code = code if code in STOP_WORDS else "en"
        scores: Counter[str] = Counter()
        for part, weight in (
            (title, _IN_TITLE),
            (text[:_LEAD], _IN_LEAD),
            (text[_LEAD:], _LATER),
        ):
            scores.update({key: n * weight for key, n in self._found(part, code).items()})
        for tag in given:
            known = self.aliases.get(tag)
            hits = [known] if known else self._found(tag.replace("-", " "), code)
            scores.update(dict.fromkeys(hits, _BY_SOURCE))
        enough = [key for key, score in scores.items() if score >= _ENOUGH]
        return sorted(enough, key=lambda key: (-scores[key], self._order[key]))[:MOST]

    def _found(self, text: str, language: str) -> Counter[str]:
        """How often each tag stands in a text."""
        index = self._indexes.get(language) or self._indexed(language)
        found: Counter[str] = Counter()
        for pattern, key in index.literal:
            found[key] += len(pattern.findall(text))
        terms = self._tokeniser.terms(text, language)
        place = 0
        while place < len(terms):
            for phrase, key in index.stems.get(terms[place], ()):
                if tuple(terms[place : place + len(phrase)]) == phrase:
                    found[key] += 1
                    place += len(phrase) - 1
                    break
            place += 1
        return +found

    def _indexed(self, language: str) -> _Index:
        index = self._indexes[language] = _Index()
        for tag in self._tags:
            for phrase in (tag.name, *tag.aliases):
                terms = tuple(self._tokeniser.terms(phrase.replace("-", " "), language))
                if _SIGNS.search(phrase):
                    index.literal.append((_as_written(phrase, re.IGNORECASE), tag.key))
                elif not terms:
                    index.literal.append((_as_written(phrase, 0), tag.key))
                else:
                    index.stems.setdefault(terms[0], []).append((terms, tag.key))
        for phrases in index.stems.values():
            phrases.sort(key=lambda found: -len(found[0]))
        return index


def same_word(one: str, other: str) -> bool:
    """True where two phrases would be found in the same places (`train`, `Trains`)."""
    return _sameness(one) == _sameness(other)


def _sameness(phrase: str) -> tuple[str, ...]:
    if not _SIGNS.search(phrase):
        terms = Tokeniser().terms(phrase.replace("-", " "), "en")
        if terms:
            return tuple(terms)
    return (ingesting.tag(phrase), "")


def _as_written(phrase: str, flags: int) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.]){re.escape(phrase)}(?![\w+#])", flags)

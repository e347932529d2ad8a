"""Whether what a model wrote stands on what it cites.

A sentence is accepted only where its words are found in the documents that it cites: nearly all of its
terms, every number, every name, and no run of words that come from elsewhere. So a model that obeys
somebody's text, or invents, gets nothing into a digest but what the cited documents say themselves.
A translation cannot be checked like this, so statements stay in the language of their documents.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from distill_grpc.llm.injection import addresses_a_model
from distill_grpc.llm.languages import Tokeniser, guess_language, words, writes_no_spaces
from distill_grpc.llm.reading import Reading

_SHARE = 0.75  # of a sentence's terms that must be found
_RUN = 2  # terms in a row that may be missing
_FEWEST = 3  # terms that make a sentence
_READ = 20_000  # characters of a document that are searched
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufffc]"
    "|[\U000e0000-\U000e007f]"
)
# An address has no place in a statement: citations carry those of the items.
_ADDRESS = re.compile(
    r"""//\S | \bwww\. | \b(?:javascript|data|mailto|tel|file|ftp|vbscript)\s*:\s*\S
    | !?\[[^\]]*\]\s*[(\[] | <\s*/?\s*[a-z!] | &\#?\w{2,8}; | ```""",
    re.IGNORECASE | re.VERBOSE,
)
_HOST = re.compile(r"(?:[\w-]+(?:\.|\s?\(?dot\)?\s?|\[\.\]))+[^\W\d_]{2,}(?:/\S*)?", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_NAME = re.compile(r"(?<![.!?:“”\"«(]\s)(?<!^)\b[^\W\d_a-z][\w'’-]+")  # noqa: RUF001 -- an apostrophe
_CAPITAL_NOUNS = frozenset({"de", "lb"})  # languages whose capitals tell no names


@dataclass(slots=True)
class Ground:
    """The documents that a sentence may stand on, read as far as needed."""

    readings: Sequence[Reading]
    tokeniser: Tokeniser
    _texts: dict[str, str] = field(default_factory=dict)
    _terms: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)

    def accepted(self, text: str, ids: Sequence[str], *, limit: int) -> str | None:
        """The sentence, cleaned, or None where it must not be shown."""
        sentence = _clean(text)
        if not sentence or len(sentence) > limit or _ADDRESS.search(sentence):
            return None
        if addresses_a_model(sentence) or not ids:
            return None
        cited = [reading for reading in self.readings if reading.id in ids]
        if len(cited) != len(set(ids)):
            return None
        whole = " ".join(self._text(reading) for reading in cited)
        if not _hosts_are_in(sentence, whole) or not self._is_said(sentence, cited, whole):
            return None
        return sentence

    def _is_said(self, sentence: str, cited: Sequence[Reading], whole: str) -> bool:
        if any(number not in whole for number in _NUMBER.findall(sentence)):
            return False
        languages = {reading.language for reading in cited}
        guessed = guess_language(words(sentence))
        if guessed and languages.isdisjoint({guessed, ""}) and len(words(sentence)) > 6:
            return False
        known = set(words(whole))
        if languages.isdisjoint(_CAPITAL_NOUNS) and not writes_no_spaces(sentence):
            for name in _NAME.findall(sentence):
                if not set(words(name)) <= known:
                    return False
        return any(self._covers(sentence, cited, language) for language in sorted(languages))

    def _covers(self, sentence: str, cited: Sequence[Reading], language: str) -> bool:
        terms = self.tokeniser.terms(sentence, language)
        if len(terms) < _FEWEST:
            return False
        there: set[str] = set()
        for reading in cited:
            there |= self._terms_of(reading, language)
        found = run = 0
        for term in terms:
            run = 0 if term in there else run + 1
            found += term in there
            if run > _RUN:
                return False
        return found >= _SHARE * len(terms)

    def _text(self, reading: Reading) -> str:
        if reading.id not in self._texts:
            document = reading.document
            whole = f"{document.title}\n{document.author}\n{document.text[:_READ]}"
            self._texts[reading.id] = _clean(whole).casefold()
        return self._texts[reading.id]

    def _terms_of(self, reading: Reading, language: str) -> frozenset[str]:
        key = (reading.id, language)
        if key not in self._terms:
            self._terms[key] = frozenset(self.tokeniser.terms(self._text(reading), language))
        return self._terms[key]


def _clean(text: str) -> str:
    plain = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
    return " ".join(plain.split())


def _hosts_are_in(sentence: str, whole: str) -> bool:
    return all(match[0].casefold().rstrip(".,;:!?)") in whole for match in _HOST.finditer(sentence))

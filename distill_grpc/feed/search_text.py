"""How texts are written for PostgreSQL's text search, which knows spaces and the signs of ASCII.

In a database whose character type is C it takes every other sign for a letter, and in any database a run
of a script without spaces for one word. So typographic signs are written plainly, and characters of such
scripts stand alone: a run of them in a query is a phrase. The database's function `distill_text` does
to items what is done here to queries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from distill_grpc.llm.languages import GLUED

_QUOTATION_MARKS = r"\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033"
_HYPHENS = r"\u2010\u2011\u2012\u2013\u2212"
# Classes of typographic signs, and what they are written as.
_SIGNS: Mapping[str, str] = {
    r"\u2026": "...",
    r"\u2014\u2015": " - ",  # dashes that stand between words without blanks
    r"\u2018\u2019\u201a\u201b\u2032\u00b4\u2039\u203a": "'",
    _QUOTATION_MARKS: '"',
    _HYPHENS: "-",
    r"\u2022\u00a0\u2002-\u200a\u202f\u3000": " ",
    r"\u00ad\u200b\u2060\ufeff": "",
}
_PLAIN = [(re.compile(f"[{signs}]"), plain) for signs, plain in _SIGNS.items()]
_QUOTATION = re.compile(f"[{_QUOTATION_MARKS}]")
_DASH = re.compile(rf"(?<!\S)[{_HYPHENS}]+")
# Signs of Chinese and Japanese beside those in `GLUED`.
WIDE = r"\u3001-\u3003\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
_BRACKETS = re.compile(rf"[{WIDE}\u3008-\u301f]")
# What snippets have around what was found; no text that is shown has these signs.
FOUND, END = "\x01", "\x02"
# Short names such as AT&T and R&D: apart they are stop words, or letters.
_JOINED = re.compile(r"\b([A-Za-z0-9]{1,3})&([A-Za-z0-9]{1,3})\b")
_ALONE = re.compile(rf" ?({GLUED}|[{WIDE}]) ?")
_MARKED = re.compile(rf" ?({FOUND}?)({GLUED}|[{WIDE}])({END}?) ?")
_RUN = re.compile(GLUED)
_TERM = re.compile(rf'(?P<minus>-?)(?:"(?P<phrase>[^"]*)"?|(?P<word>[^\s"]*{GLUED}[^\s"]*))')


def straight(query: str) -> str:
    """The query with straight quotation marks, which make phrases."""
    return _QUOTATION.sub('"', query)


def plain(query: str) -> str:
    """Words of a query with plain signs; a dash that is no hyphen excludes nothing."""
    query = _DASH.sub(" ", query)
    for signs, written in _PLAIN:
        query = signs.sub(written, query)
    return _JOINED.sub(r"\1and\2", _BRACKETS.sub(" ", query))


def has_runs(query: str) -> bool:
    """Whether anything in it is of a script without spaces."""
    return _RUN.search(query) is not None


def phrased(query: str) -> str:
    """A plain query for `websearch_to_tsquery`, in which runs of scripts without spaces are phrases."""
    return _TERM.sub(_phrase, query)


def together(text: str) -> str:
    """A snippet of what `distill_text` wrote, as it is read: what stood alone stands together again."""
    return _MARKED.sub(r"\1\2\3", text).replace(END + FOUND, "")


def _phrase(term: re.Match[str]) -> str:
    found = term["word"] if term["phrase"] is None else term["phrase"]
    apart = " ".join(_ALONE.sub(r" \1 ", found).split())
    return f'{term["minus"]}"{apart}"'

"""What people type, without what nobody sees: controls, zero-width and bidirectional characters."""

from __future__ import annotations

import re
import unicodedata

# Cc controls, Cf formats (zero-width, bidirectional, tags), Cs halves of pairs.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs"})
_LINE_ENDS = re.compile(r"\r\n?|[\u2028\u2029\x85]")


def lines(text: str) -> str:
    """Text of several lines: NFC, a line feed between lines, no invisible characters but tabs."""
    plain = _LINE_ENDS.sub("\n", unicodedata.normalize("NFC", text))
    return "".join(c for c in plain if c in "\n\t" or unicodedata.category(c) not in _INVISIBLE)


def one_line(text: str) -> str:
    """Text of one line: as `lines`, each stretch of white space being one space."""
    return " ".join(lines(text).split())


def is_blank(text: str) -> bool:
    """True where there is nothing to see."""
    return not lines(text).strip()


def key(text: str) -> str:
    """What makes two spellings of a name the same: NFC of the casefolded text."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())

"""What people type, without what nobody sees: controls, zero-width and bidirectional characters."""

from __future__ import annotations

import re
import unicodedata

# Cc controls, Cf formats (zero-width, bidirectional, tags), Cs halves of pairs.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs"})
# Joiners (ZWNJ, ZWJ) behind a letter, mark or symbol and before another one are spelling: Persian,
# the scripts of India, families of emoji. So are the tags behind a black flag that make it another.
_JOINERS = frozenset("\u200c\u200d")
_JOINED = frozenset("LMS")
_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
_LINE_ENDS = re.compile(r"\r\n?|[\u2028\u2029\x85]")


def lines(text: str) -> str:
    """Text of several lines: NFC, a line feed between lines, no invisible characters but tabs.

    Joiners and tags stay where they are spelling.
    """
    plain = _LINE_ENDS.sub("\n", unicodedata.normalize("NFC", text))
    if plain.isascii() and plain.isprintable():
        return plain
    flags = {at for flag in _FLAG.finditer(plain) for at in range(*flag.span())}
    kept: list[str] = []
    joiner = ""
    for at, c in enumerate(plain):
        if c in _JOINERS:
            joiner = c
        elif at in flags or c in "\n\t" or unicodedata.category(c) not in _INVISIBLE:
            if joiner and kept and _joins(kept[-1]) and _joins(c):
                kept.append(joiner)
            joiner = ""
            kept.append(c)
    return "".join(kept)


def _joins(c: str) -> bool:
    return unicodedata.category(c)[0] in _JOINED or c == "\U000e007f"


def one_line(text: str) -> str:
    """Text of one line: as `lines`, each stretch of white space being one space."""
    return " ".join(lines(text).split())


def is_blank(text: str) -> bool:
    """True where there is nothing to see."""
    return not lines(text).strip()


def seen(text: str) -> str:
    """What is seen of a text on one line, where joiners are no difference."""
    return " ".join("".join(c for c in lines(text) if c not in _JOINERS).split())


def key(text: str) -> str:
    """What makes two spellings of a name the same: NFC of the casefolded text."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())

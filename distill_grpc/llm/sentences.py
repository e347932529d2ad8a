"""Where sentences end: abbreviations, initials, numbers, quotes, CJK marks, lines."""

from __future__ import annotations

import re

from distill_grpc.llm.languages import listed

_ABBREVIATIONS = listed(
    """
    mr mrs ms dr prof sr jr st vs etc eg ie cf al inc ltd co corp llc dept est approx fig figs vol ed eds
    pp ch sec gen col lt sgt capt rev hon gov sen rep pres no nos nr op ca resp art jan feb mar apr jun jul
    aug sep sept oct nov dec mon tue wed thu fri sat sun a.m p.m e.g i.e u.s u.k u.n e.u d.c ph.d b.a m.a
    bzw usw bspw ggf evtl vgl inkl exkl zzgl abs bd hrsg str tel mio mrd z.b d.h u.a o.ä s.o u.u i.d.r
    mme mlle env av bld chap éd m.m ex p.ex sra srta dra ud uds pág págs núm ee.uu sig sigg dott prof.ssa
    ecc pag exmo exma sr.ª dhr mevr bijv enz o.a t.a.v jl"""
)
# Abbreviations that may end a sentence: then the next word tells.
_MAYBE_LAST = listed("u.s u.k u.n e.u d.c a.m p.m etc inc ltd co corp jr sr ecc usw enz")
_OPENERS = listed(
    """the a an it he she they we i you this that these those in on at but and so if when while as for with
    however there what who how now then after before its his her their our my der die das ein eine es er
    sie wir in im am le la les un une il elle el los las una il lo gli o os as um uma de het een"""
)
_BOUNDARY = re.compile(
    r"(?P<wide>[。！？｡]{1,8}[」』”’）)]{0,4})\s*"  # noqa: RUF001 -- CJK ends of sentences
    r"|(?P<end>[.!?…؟۔।]{1,8}[\"'”’»›)\]]{0,4})\s+"  # noqa: RUF001 -- ends and closing quotes
)
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_LAST_WORD = re.compile(r"[^\s(\[\"'\u201c\u2018\u00ab\u201e]+$")
OPENING = (
    "\"'\u201c\u2018\u00ab\u201e\u2039([¿¡「『*_"  # what may stand before a sentence's first letter
)
CLOSING = "\"'\u201d\u2019\u00bb)] "  # … and after its last mark

_QUOTES = (("“", "”"), ("„", "“"), ("«", "»"), ('"', '"'), ("「", "」"), ("『", "』"), ("(", ")"))


def split_sentences(text: str, language: str = "") -> list[str]:
    """The sentences of a cleaned text, in order. A line's end always ends a sentence."""
    found: list[str] = []
    for block in text.split("\n"):
        start = 0
        for match in _BOUNDARY.finditer(block):
            if match["wide"] is None and not _ends_here(block, match, language):
                continue
            found.append(_unquoted(block[start : match.end()].strip()))
            start = match.end()
        found.append(_unquoted(block[start:].strip()))
    return [sentence for sentence in found if sentence]


def _unquoted(sentence: str) -> str:
    """The sentence without a quotation mark whose other half stands in another sentence."""
    for opening, closing in _QUOTES:
        if sentence.startswith(opening) and sentence.find(closing, 1) < 0:
            return sentence[1:].lstrip()
        if sentence.endswith(closing) and sentence.find(opening, 0, -1) < 0:
            return sentence[:-1].rstrip()
    return sentence


def _ends_here(block: str, match: re.Match[str], language: str) -> bool:
    following = block[match.end() : match.end() + 40].lstrip(OPENING)
    if following[:1].islower() and not following[1:2].isupper():
        return False
    last = _LAST_WORD.search(block, max(0, match.start() - 40), match.start())
    if match["end"][0] != "." or match["end"].startswith("..") or last is None:
        return True
    word = last[0].casefold()
    if word in _MAYBE_LAST or _INITIALS.fullmatch(word):
        # `J. R. R. Tolkien` and `R.A. Montgomery`, but `vitamin C. The`.
        return following.split(" ")[0].casefold().rstrip(",") in _OPENERS
    if word.isdigit():
        return not (language == "de" and len(word) <= 2)  # `am 3. Oktober`
    return word not in _ABBREVIATIONS

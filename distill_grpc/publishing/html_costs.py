"""What HTML would cost the sanitiser, which takes quadratic time for some of it.

It reads HTML into a tree as browsers do: each tag looks through the elements that are open, and
each block opens the formatting (`b`, `a`, …) again that was not closed. Here the open elements are
counted in linear time, one too many rather than one too few: an element counts as closed only where
the HTML standard surely closes it.
"""

from __future__ import annotations

import re

# Sum of the open elements over all tags: some 0.1 s. 50,000 tags, each 600 deep, or 7,700 in each
# other.
MAX_OPEN = 30_000_000
# The same of open formatting, which takes memory, too.
MAX_FORMATTING = 250_000
MAX_TAGS = 50_000
MAX_ATTRIBUTES = 250  # of one tag

# As the standard's tokeniser reads a tag: 13.2.5.6 and 13.2.5.32 to 40.
_ATTRIBUTE = (
    r"[ \t\n\f\r/]*+(?:=[^ \t\n\f\r/>=]*+|[^ \t\n\f\r/>=]++)"
    r"(?:[ \t\n\f\r]*+=[ \t\n\f\r]*+"
    r"(?:\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z)|[^ \t\n\f\r>\"'][^ \t\n\f\r>]*+)?+)?+"
)
_TOKEN = re.compile(
    r"<!--(?:-?>|.*?(?:--!?>|\Z))"
    r"|</>|<(?:[!?]|/[^a-zA-Z])[^>]*+>?"
    rf"|<(?P<end>/?)(?P<name>[a-zA-Z][^ \t\n\f\r/>]*+)(?:{_ATTRIBUTE}){{0,{MAX_ATTRIBUTES}}}+"
    r"[ \t\n\f\r/]*+(?P<more>[^>])?",
    re.DOTALL,
)


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


_VOID = _names(
    "area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr"
)
_FORMATTING = _names("a b big code em font i nobr s small strike strong tt u")
_ANY_START = re.compile(r"<[a-zA-Z]")
_ANY_FORMATTING = re.compile(rf"<(?:{'|'.join(sorted(_FORMATTING))})[ \t\n\f\r/>]", re.IGNORECASE)
# Their text is no HTML: it ends at their end tag.
_RAW = _names("iframe noembed noframes script style textarea title xmp")
# Behind them other rules hold: whatever follows counts as left open.
_OTHER_RULES = _names("frameset math noscript plaintext select svg template")
# An end tag does not surely close them.
_NEVER_CLOSED = _names("applet button form marquee object optgroup option rb rp rt rtc")
_TABLE = _names("caption colgroup table tbody td tfoot th thead tr")
# Whose end tags people leave out.
_LEFT_OPEN = _names("dd dt li p")
# They close a paragraph that is open, and their end tags what `_LEFT_OPEN` names.
_BLOCKS = _names(
    "address article aside blockquote center dd details div dl dt figcaption figure footer h1 h2 h3 "
    "h4 h5 h6 header hr li main nav ol p pre section summary ul"
)
_PARAGRAPH = _names("p")
_CELLS, _TERMS, _PARTS = _names("td th"), _names("dd dt"), _names("tbody tfoot thead")
# What else a start tag closes: at once where it is the last one opened, one after the other.
_CLOSES = {
    **dict.fromkeys(_CELLS, (_CELLS,)),
    **dict.fromkeys(_TERMS, (_TERMS,)),
    **dict.fromkeys(_PARTS, (_CELLS, _names("tr"), _PARTS)),
    "tr": (_CELLS, _names("tr")),
    "li": (_names("li"),),
}
# Where the search for what a start tag closes ends.
_LISTS = _names("dl ol table ul")
_LOOKED_AT = 60  # elements; what is buried deeper is doubtful


def is_costly(html: str) -> bool:
    """Whether sanitising it would take more time or memory than anybody may take."""
    if html.count("<") > MAX_TAGS:
        return True
    elements = _Elements()
    opened = reopened = at = 0
    while (at := html.find("<", at)) >= 0:
        token = _TOKEN.match(html, at)
        if token is None:  # a mere `<`
            at += 1
            continue
        at = token.end()
        name = (token["name"] or "").lower()
        if not name:
            continue
        if token["more"]:
            return True  # attributes without end
        at += 1
        if token["end"]:
            elements.end(name)
        elif name in _OTHER_RULES:
            rest, starts = html.count("<", at), len(_ANY_START.findall(html, at))
            formatting = len(_ANY_FORMATTING.findall(html, at))
            opened += rest * (len(elements.open) + starts)
            reopened += rest * elements.formatting + formatting**2
            return opened > MAX_OPEN or reopened > MAX_FORMATTING
        else:
            elements.start(name)
        if name in _RAW and not token["end"]:
            end = re.compile(rf"</{name}(?=[ \t\n\f\r/>])", re.IGNORECASE).search(html, at)
            at = end.start() if end else len(html)
        opened += len(elements.open)
        reopened += elements.formatting
        if opened > MAX_OPEN or reopened > MAX_FORMATTING:
            return True
    return False


class _Elements:
    """The elements that may be open, the last one opened at the end."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.formatting = 0
        # So many, the first ones, are never taken for closed: some of them may be, or not.
        self._doubtful = 0

    def start(self, name: str) -> None:
        """Reads a start tag."""
        if name in _BLOCKS:
            self._close_last(_PARAGRAPH)
            self._doubt_where_open(_PARAGRAPH)
        for closed in _CLOSES.get(name, ()):
            self._close_last(closed)
            self._doubt_where_open(closed)
        if name in _TABLE and not (self._last() in _TABLE or name == "table"):
            self._doubtful = len(self.open)
        if name not in _VOID:
            self.open.append(name)
            self.formatting += name in _FORMATTING

    def end(self, name: str) -> None:
        """Reads an end tag."""
        through = _TABLE if name in _TABLE else _LEFT_OPEN if name in _BLOCKS else ()
        at = len(self.open) - 1
        while at >= self._doubtful and self.open[at] != name and self.open[at] in through:
            at -= 1
        if at < self._doubtful or self.open[at] != name or name in _NEVER_CLOSED:
            self._doubtful = len(self.open)
            return
        del self.open[at:]
        self.formatting -= name in _FORMATTING

    def _last(self) -> str:
        return self.open[-1] if len(self.open) > self._doubtful else ""

    def _close_last(self, names: frozenset[str]) -> None:
        if self._last() in names:
            self.open.pop()

    def _doubt_where_open(self, names: frozenset[str]) -> None:
        """Where one is open under others, these are closed with it, or none is."""
        lowest = max(self._doubtful, len(self.open) - _LOOKED_AT)
        for at in range(len(self.open) - 1, lowest - 1, -1):
            if self.open[at] in _LISTS and names is not _PARAGRAPH:
                return
            if self.open[at] in names:
                lowest = len(self.open)
                break
        if lowest > self._doubtful:
            self._doubtful = len(self.open)

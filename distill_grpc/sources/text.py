"""Text from outside made safe and readable.

Everything that a platform sends passes through here before it is stored: characters that databases,
terminals and language models stumble over are taken out, HTML is reduced to an allow-list (nh3) and
turned into plain text with paragraphs and lists.

Markup made to be expensive costs up to about a second for a document: not for the event loop.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from html.parser import HTMLParser
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import nh3


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


MAX_CONTENT: Final = 100_000
MAX_TITLE: Final = 1_000
MAX_AUTHOR: Final = 500
MAX_URL: Final = 2_000

# Longer documents are cut before they are cleaned: nothing worth reading stands behind.
_MAX_HTML = 500_000
# The HTML algorithm is quadratic in nesting: 100,000 nested elements cost half a minute.
_MAX_DEPTH = 256
# Levels of lists that are indented: of many thousands, blanks would fill the memory.
_MAX_INDENT = 20

_NEWLINES = re.compile("\r\n?|[\x85\u2028\u2029]")
# Controls, invisible spaces, direction overrides, non-characters and "tag" characters; but tags
# behind a black flag make it the flag of England, Scotland or Wales.
_UNWANTED = re.compile(
    "(\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f)"
    "|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u200b\u2060-\u2064\u202a-\u202e\u2066-\u2069"
    "\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
_SURROGATES = re.compile("[\ud800-\udfff]")
_BLANKS = re.compile(r"[ \t\xa0]+")
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)[^<>]*>?")
_MARKUP = re.compile(r"</?[a-zA-Z][^<>]*>|<!--|<!\[CDATA\[")
_SCHEME = re.compile(r"[^/?#]*:")
_SAFE_SCHEMES = frozenset({"http", "https", "mailto"})

_ALLOWED_TAGS = _names(
    "a abbr article aside b blockquote br caption cite code col colgroup dd del details dfn div dl dt em "
    "figcaption figure footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark ol p pre q rp rt "
    "ruby s samp section small span strong sub summary sup table tbody td tfoot th thead time tr tt u "
    "ul var wbr"
)
_DROPPED_WITH_CONTENT = _names(
    "applet audio button canvas datalist embed frame frameset head iframe math noembed noframes noscript "
    "object script select style svg template textarea title video xml"
)
_ATTRIBUTES = {
    "*": {"dir", "lang", "title"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
    "time": {"datetime"},
}
# All that a mark of a footnote says: `1`, `[2]`, `*`, `[a]`, `↩`, and what stands between several.
_NOTE_MARK = re.compile(
    r"(?:[\[(]?(?:\d{1,3}|[*†‡§¶#^↑↩↵]{1,3})[\])]?\ufe0e?|[\[(][a-z][\])]|[\s,;])*"
)
_NUMBER = re.compile(r"[\s\d(),;]*")  # on a link that is not raised, it may be a section's
_OF_A_NOTE = re.compile(r"fn|note|cite|ref", re.IGNORECASE)
_MAX_NOTE_MARK = 12  # characters
_MARKS = 4  # links and raised texts within each other that may be one mark
# Elements that HTML closes by itself, so that leaving them open nests nothing.
_CLOSED_BY_HTML = _names(
    "area base br col dd dt embed hr img input li link meta option p param rp rt source tbody td tfoot "
    "th thead tr track wbr"
)


def clean(text: str) -> str:
    """The text without NUL, other control characters, lone surrogates and invisible marks.

    Every kind of line end becomes a line feed; tabs stay.
    """
    if _SURROGATES.search(text):
        # A pair that arrived in two halves becomes its character, a lone half the replacement.
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _UNWANTED.sub(r"\1", _NEWLINES.sub("\n", text))


def one_line(text: str, limit: int) -> str:
    """The cleaned text on one line, at most `limit` characters."""
    return shorten(" ".join(clean(text).split()), limit)


def shorten(text: str, limit: int) -> str:
    """The text, at most `limit` characters long; an ellipsis tells of a cut."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def looks_like_html(text: str) -> bool:
    """Whether the text holds markup, as opposed to a stray `<`."""
    return _MARKUP.search(text) is not None


def sanitise_html(markup: str, base_url: str = "", *, max_bytes: int = 0) -> str:
    """HTML of the allow-list only: no styles, scripts, forms, frames, SVG or MathML.

    Links are http, https or mailto; relative ones are resolved against `base_url`, or dropped.
    `max_bytes` (0: no limit) caps the UTF-8 length of the result, which stays well-formed.
    """
    markup = clean(markup[:_MAX_HTML])
    if _too_deep(markup):
        markup = html.escape(html.unescape(re.sub(r"<[^<>]*>?", " ", markup)))
    cleaner = _cleaner(base_url if is_web_url(base_url) else "")
    safe = cleaner.clean(markup)
    size = len(safe.encode())
    if not max_bytes or size <= max_bytes:
        return safe
    kept, cut = int(len(safe) * max_bytes / size), ""
    while kept and len((cut := cleaner.clean(safe[:kept])).encode()) > max_bytes:
        kept = int(kept * 0.97)  # closing tags were added behind the cut
    return cut if kept else ""


def html_to_text(markup: str, base_url: str = "") -> str:
    """The HTML as a person would read it: paragraphs, lists and line breaks, entities decoded.

    A link reads as its own words; an address without words of its own is not shown. Where nothing
    but pictures is left, their descriptions are the text. Marks of footnotes are left out: raised ones
    that are links, and links to a place on the page at `base_url`.
    """
    return text_of(sanitise_html(markup, base_url), base_url)


def text_of(safe_html: str, base_url: str = "", *, links: bool = False) -> str:
    """As `html_to_text`, for HTML that is safe already; `links` adds the addresses of web links."""
    reader = _Reader(base_url, links=links)
    reader.feed(safe_html)
    reader.close()
    return reader.text()


def plain_text(text: str) -> str:
    """Text that is said to be plain, with entities decoded and blank lines reduced to one."""
    return plain_text_lines(clean(html.unescape(text)).split("\n"))


def plain_text_lines(lines: Iterable[str]) -> str:
    """The lines as a text: blanks at their ends and blank lines reduced."""
    tidied = (_BLANKS.sub(" ", line).strip() for line in lines)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(tidied)).strip()


def readable(text: str, base_url: str = "") -> str:
    """Plain text out of something that may or may not be HTML, such as a headline."""
    return html_to_text(text, base_url) if looks_like_html(text) else plain_text(text)


def is_web_url(url: str) -> bool:
    """Whether it is an absolute http or https address with a host and without odd characters."""
    if len(url) > MAX_URL or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def absolute_url(url: str, base_url: str) -> str:
    """The http(s) address that `url` means on a page at `base_url`, or an empty string."""
    named = clean(url).strip().replace("\n", "").replace(" ", "%20")
    try:
        joined = urljoin(base_url, named) if named else ""
    except ValueError:
        return ""
    return joined if is_web_url(joined) else ""


@lru_cache(maxsize=64)
def _cleaner(base_url: str) -> nh3.Cleaner:
    if base_url:
        try:
            return _cleaner_for(("rewrite_with_base", base_url))
        except ValueError:
            pass  # nh3 reads addresses more strictly than Python does; relative ones go then
    return _cleaner_for("deny")


def _cleaner_for(relative: Any) -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=set(_ALLOWED_TAGS),
        clean_content_tags=set(_DROPPED_WITH_CONTENT),
        attributes=_ATTRIBUTES,
        attribute_filter=_safe_attribute,
        url_schemes=set(_SAFE_SCHEMES),
        link_rel="nofollow noopener noreferrer",
        url_relative=relative,
    )


def _safe_attribute(_tag: str, name: str, value: str) -> str | None:
    if name not in {"href", "src"}:
        return value
    value = value.strip()
    scheme = _SCHEME.match(value)
    # nh3 takes `jav  ascript:` for a relative address.
    if scheme and scheme[0][:-1].lower() not in _SAFE_SCHEMES:
        return None
    return value


def _too_deep(markup: str) -> bool:
    opened: Counter[str] = Counter()
    depth = 0
    for match in _TAG.finditer(markup):
        name = match[2].lower()
        if name in _CLOSED_BY_HTML:
            continue
        if not match[1]:
            opened[name] += 1
            depth += 1
            if depth > _MAX_DEPTH:
                return True
        elif opened[name]:
            opened[name] -= 1
            depth -= 1
    return False


@dataclass(slots=True, kw_only=True)
class _Mark:
    """An open link or raised text, and what stood before it."""

    tag: str
    start: int  # pieces
    breaks: int
    after_bullet: bool
    raised: bool = False  # in raised text, or around it
    refers: bool = False  # leads to a place on a page
    own_page: bool = False  # … on this one
    of_a_note: bool = False  # … whose name is that of a note


class _Reader(HTMLParser):
    """Reads sanitised HTML into lines."""

    _PARAGRAPHS = _names(
        "article aside blockquote details dl figure footer h1 h2 h3 h4 h5 h6 header hr main ol p pre "
        "section table ul"
    )
    _LINES = _names("caption dd div dt figcaption li summary tr")

    def __init__(self, base_url: str = "", *, links: bool = False) -> None:
        super().__init__(convert_charrefs=True)
        self._page = base_url.partition("#")[0].rstrip("/")
        self._marks: list[_Mark] = []  # open elements that may be marks of footnotes
        self._pieces: list[str] = []
        self._lists: list[int] = []  # the next number of each open list; 0 for bullets
        self._breaks = 0
        self._preformatted = 0
        self._after_bullet = False
        self._pictures: list[str] = []
        self._with_links = links
        self._link = ("", 0)  # the address of the link that is read, and where its words begin

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._break_around(tag)
        if tag == "br":
            self._breaks += 1
        elif tag in {"ul", "ol"}:
            self._lists.append(1 if tag == "ol" else 0)
        elif tag == "li":
            self._start_item()
        elif tag == "a" and self._with_links:
            self._link = (dict(attrs).get("href") or "", len(self._pieces))
        elif tag == "pre":
            self._preformatted += 1
        elif tag in {"td", "th"}:
            self._write(" ")
        elif tag in {"a", "sup"}:
            self._open_mark(tag, dict(attrs).get("href") or "")
        elif tag == "img":
            named = dict(attrs)
            said = {named.get("alt") or "": 0, named.get("title") or "": 0}
            self._pictures.extend(text for text in said if text)

    def handle_endtag(self, tag: str) -> None:
        if tag in {"ul", "ol"} and self._lists:
            self._lists.pop()
        elif tag in {"a", "sup"}:
            self._close_mark(tag)
        if tag == "a":
            self._end_link()
        self._break_around(tag)
        if tag == "pre":
            self._preformatted = max(0, self._preformatted - 1)

    def handle_data(self, data: str) -> None:
        if self._preformatted:
            self._write(data)
            return
        text = re.sub(r"\s+", " ", data)
        if text != " " or (self._pieces and not self._breaks):
            self._write(text)

    def text(self) -> str:
        """What was read."""
        read = "".join(self._pieces)
        lines = "\n".join(line.rstrip() for line in read.split("\n"))
        words = clean(re.sub(r"\n{3,}", "\n\n", lines)).strip()
        return words or one_line(" ".join(self._pictures), MAX_CONTENT)

    def _open_mark(self, tag: str, href: str) -> None:
        mark = _Mark(
            tag=tag,
            start=len(self._pieces),
            breaks=self._breaks,
            after_bullet=self._after_bullet,
        )
        self._marks.append(mark)
        if tag == "sup":
            for around in self._marks[-_MARKS:-1]:
                around.raised = True
            return
        page, sign, place = href.partition("#")
        mark.raised = any(around.tag == "sup" for around in self._marks[-_MARKS:])
        # Where the page is not known, its own addresses were taken out or are whole ones.
        mark.refers = bool(sign) or not href
        mark.of_a_note = _OF_A_NOTE.search(place) is not None
        mark.own_page = bool(sign) and page.rstrip("/") in {"", self._page}
        for around in self._marks[-_MARKS:-1]:
            around.refers |= mark.refers

    def _close_mark(self, tag: str) -> None:
        if not self._marks or self._marks[-1].tag != tag:
            return
        mark = self._marks.pop()
        pieces = self._pieces[mark.start :]
        if sum(map(len, pieces)) > _MAX_NOTE_MARK:
            return
        said = "".join(pieces)
        raised = mark.refers and (mark.raised or tag == "sup")
        alone = mark.own_page and (mark.of_a_note or not _NUMBER.fullmatch(said))
        if (raised or alone) and _NOTE_MARK.fullmatch(said):
            del self._pieces[mark.start :]
            self._breaks, self._after_bullet = mark.breaks, mark.after_bullet

    def _end_link(self) -> None:
        (address, begin), self._link = self._link, ("", 0)
        words = "".join(self._pieces[begin:]).strip()
        if words and is_web_url(address) and words != address:
            self._write(f" ({address})")

    def _start_item(self) -> None:
        bullet = "- "
        if self._lists and self._lists[-1]:
            bullet = f"{self._lists[-1]}. "
            self._lists[-1] += 1
        if self._pieces:
            self._pieces.append("\n" * min(self._breaks, 2))
        self._pieces.append("  " * min(max(0, len(self._lists) - 1), _MAX_INDENT) + bullet)
        self._breaks = 0
        self._after_bullet = True

    def _break_around(self, tag: str) -> None:
        if tag in self._PARAGRAPHS:
            # A list inside a list, and what stands in a list item, keeps the list together.
            self._breaks = max(self._breaks, 1 if self._lists else 2)
        elif tag in self._LINES:
            self._breaks = max(self._breaks, 1)

    def _write(self, text: str) -> None:
        if self._after_bullet:
            self._breaks = 0
        if self._breaks and self._pieces:
            self._pieces.append("\n" * min(self._breaks, 2))
            self._breaks = 0
        if not self._preformatted and self._ends_in_space():
            text = text.lstrip(" ")
        if text:
            self._pieces.append(text)
            self._breaks = 0
            self._after_bullet = False

    def _ends_in_space(self) -> bool:
        return not self._pieces or self._pieces[-1][-1] in " \n"

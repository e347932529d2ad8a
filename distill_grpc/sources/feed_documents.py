"""What a fetched document is, and what stands in it: runs inside the sandbox.

`read` takes bytes and answers with plain JSON:

- a feed: `{"kind": "feed", "title", "language", "ttl", "hub", "self", "expired", "truncated",
  "entries": […]}`, where `ttl` is seconds (0: not told), `hub` and `self` are addresses for WebSub
  (empty: not told), and an entry is as `feed_entries.entry` makes it;
- a page: `{"kind": "page", "feeds": [addresses of the feeds that it names]}`;
- anything else: `{"kind": "empty" | "malformed" | "not_a_feed"}`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from email.message import Message
from html.parser import HTMLParser
from typing import Any

from distill_grpc.sources import feed_json, feed_xml, text

# Where a document's first element is looked for, and how much of a page is searched for feeds.
_HEAD = 64 * 1024
_PAGE = 1024 * 1024

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
_ELEMENT = re.compile(r"<([A-Za-z_][\w.:-]*)")
_FEED_START = re.compile(rb"<\?xml\s|<(?:rss|feed|rdf:RDF)[\s>]")
_FEED_ELEMENTS = frozenset({"rss", "feed", "rdf", "channel"})
_FEED_TYPES = frozenset({"application/rss+xml", "application/atom+xml", "application/feed+json"})


def read(header: Mapping[str, Any], document: bytes) -> dict[str, Any]:
    """What stands in `document`.

    `header`: `url` (absolute; relative addresses are resolved against it), `content_type` (as the
    server sent it) and `oldest` (epoch seconds: of entries older than this only the identity is
    read, or None).
    """
    head, encoding = _head(document)
    start = head.lstrip("\ufeff\0 \t\r\n")
    if not start:
        # Nothing but blanks at the beginning of a huge document is not worth a second look.
        return {"kind": "empty"}
    url, oldest = str(header["url"]), header.get("oldest")
    if start.startswith("{"):
        return feed_json.read(document, url, oldest)
    element = _first_element(start)
    local_name = element.rpartition(":")[2].lower()
    if local_name in {"html", "head", "body"} or start[:14].lower() == "<!doctype html":
        return {"kind": "page", "feeds": _feeds_of_page(document, url, str(header["content_type"]))}
    if local_name not in _FEED_ELEMENTS:
        # A script's warnings may stand before the feed.
        begin = _FEED_START.search(document[:_HEAD])
        if begin is None or begin.start() == 0:
            return {"kind": "not_a_feed"}
        document = document[begin.start() :]
        if _first_element(_head(document)[0]).rpartition(":")[2].lower() not in _FEED_ELEMENTS:
            return {"kind": "not_a_feed"}
    return feed_xml.read(document, url, str(header["content_type"]), oldest, encoding)


def _head(document: bytes) -> tuple[str, str]:
    """The beginning of the document, and the encoding that its first bytes betray ("": none)."""
    for mark, encoding in _BOMS:
        if document.startswith(mark):
            return document[:_HEAD].decode(encoding, "replace"), encoding
    return document[:_HEAD].decode("latin-1"), ""


def _first_element(start: str) -> str:
    """The name of the first element, past declarations and comments; empty where there is none."""
    position = 0
    while (position := start.find("<", position)) >= 0:
        if start.startswith("<!--", position):
            end = start.find("-->", position + 4)
        elif start.startswith("<?", position):
            end = start.find("?>", position)
        elif start.startswith("<!", position):
            end = _end_of_declaration(start, position)
        else:
            match = _ELEMENT.match(start, position)
            return match[1] if match else ""
        if end < 0:
            return ""
        position = end + 1
    return ""


def _end_of_declaration(start: str, position: int) -> int:
    end = start.find(">", position)
    subset = start.find("[", position)
    if 0 <= subset < end:  # a DOCTYPE with definitions of its own
        end = start.find("]", subset)
        return start.find(">", end) if end >= 0 else -1
    return end


def _feeds_of_page(document: bytes, url: str, content_type: str) -> list[str]:
    """Addresses in `<link rel=alternate>` of the feed types, in the page's order."""
    message = Message()
    message["content-type"] = content_type
    charset = message.get_content_charset("utf-8")
    try:
        page = document[:_PAGE].decode(charset, "replace")
    except LookupError:
        page = document[:_PAGE].decode("utf-8", "replace")
    links = _Links(url)
    links.feed(page)
    return links.found[:20]


class _Links(HTMLParser):
    """Collects the feeds that a page names."""

    def __init__(self, url: str) -> None:
        super().__init__(convert_charrefs=False)
        self._base = url
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in reversed(attrs)}
        if tag == "base" and "href" in named:
            self._base = text.absolute_url(named["href"], self._base) or self._base
        if tag != "link" or "alternate" not in named.get("rel", "").lower().split():
            return
        if named.get("type", "").partition(";")[0].strip().lower() in _FEED_TYPES:
            url = text.absolute_url(named.get("href", ""), self._base)
            if url and url not in self.found:
                self.found.append(url)

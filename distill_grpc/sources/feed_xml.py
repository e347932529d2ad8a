"""Reads RSS, RDF and Atom with feedparser: runs inside the sandbox.

feedparser gets bytes that were fetched already, never an address. Its own sanitising and resolving
of HTML is off; `text.py` does both, and quicker.
"""

from __future__ import annotations

import calendar
import io
import re
import xml.sax
from collections.abc import Iterator, Mapping
from typing import Any
from xml.sax.expatreader import ExpatParser

import feedparser
import feedparser.api
from feedparser.mixin import _FeedParserMixin

from distill_grpc.sources import text
from distill_grpc.sources.feed_entries import MAX_ENTRIES, RawEntry, entry, language


class _Expat(ExpatParser):
    """Python's XML reader, handing over text in large pieces: twice as quick for escaped HTML."""

    def reset(self) -> None:
        super().reset()
        expat: Any = getattr(self, "_parser")  # noqa: B009 -- hidden from type checkers
        expat.buffer_text = True
        expat.buffer_size = 1 << 16


def create_parser() -> _Expat:
    """The reader that feedparser uses; this module is the `xml.sax` driver that it asks first."""
    return _Expat()


feedparser.api.PREFERRED_XML_PARSERS[:] = [__name__]
# An RSS guid is an identity: resolving it would change it whenever the feed's address changes.
_FeedParserMixin.can_be_relative_uri = _FeedParserMixin.can_be_relative_uri - {"id"}

_ENTRY_END = re.compile(rb"</(?:\w{1,20}:)?(?:item|entry)\s*>")
_ROOT_END = re.compile(rb"</(?:\w{1,20}:)?(?:rss|feed|rdf)\s*>", re.IGNORECASE)
_ROOT = re.compile(rb"<((?:\w{1,20}:)?(?:rss|feed|rdf))[\s>]", re.IGNORECASE)
_HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
_PERIODS = {"hourly": 3600, "daily": 86_400, "weekly": 604_800, "monthly": 2_592_000}
_DAY = 86_400


def read(
    document: bytes, url: str, content_type: str, oldest: int | None, encoding: str
) -> dict[str, Any]:
    """The feed in `document`, in the form of `feed_documents.read`.

    A document that breaks off gives the entries that are complete, and `truncated`. One that is
    whole but not well-formed is read leniently. `encoding` is what the first bytes betray.
    """
    parsed = _parse(document, url, content_type)
    truncated = False
    if _is_broken(parsed) and _breaks_off(document, encoding):
        truncated = True
        parsed = _parse(_mended(document), url, content_type)
        if _is_broken(parsed):
            parsed.entries = []
    if not parsed.get("version") and not parsed.entries and not truncated:
        return {"kind": "not_a_feed"}
    feed = parsed.feed
    home = text.absolute_url(_get(feed, "link"), url) or url
    return {
        "kind": "feed",
        "title": text.one_line(text.readable(_get(feed, "title"), home), 300),
        "language": language(_get(feed, "language")),
        "ttl": _ttl(feed),
        "hub": _linked(feed, "hub", url),
        "self": _linked(feed, "self", url),
        "expired": False,
        "truncated": truncated,
        "entries": [
            entry(_entry(e, feed, url, home), oldest) for e in parsed.entries[:MAX_ENTRIES]
        ],
    }


def _parse(document: bytes, url: str, content_type: str) -> Any:
    headers = {"content-location": url}
    if content_type:
        headers["content-type"] = content_type
    return feedparser.parse(
        io.BytesIO(document),
        response_headers=headers,
        resolve_relative_uris=False,
        sanitize_html=False,
    )


def _is_broken(parsed: Any) -> bool:
    # Other complaints, such as about the content type, say nothing about the document.
    return isinstance(parsed.get("bozo_exception"), xml.sax.SAXException)


def _breaks_off(document: bytes, encoding: str) -> bool:
    """Whether the end of the feed is missing, as opposed to a mistake in the middle."""
    if encoding.startswith(("utf-16", "utf-32")):
        document = document.replace(b"\0", b"")
    end = _last(_ROOT_END, document)
    return end < 0 or end < _last(_ENTRY_END, document)


def _mended(document: bytes) -> bytes:
    """The document up to its last complete entry, closed properly.

    Reading this strictly gives each entry exactly as the whole document would.
    """
    root = _ROOT.search(document)
    ends = [match.end() for match in _ENTRY_END.finditer(document)]
    if root is None or not ends:
        return b""
    name = root[1]
    closing = b"</channel></rss>" if name.lower() == b"rss" else b"</" + name + b">"
    return document[: ends[-1]] + closing


def _last(pattern: re.Pattern[bytes], document: bytes) -> int:
    position = -1
    for match in pattern.finditer(document):
        position = match.start()
    return position


def _entry(parsed: Any, feed: Any, url: str, home: str) -> RawEntry:
    detail = parsed.get("title_detail") or {}
    contents = [c for c in parsed.get("content") or [] if c.get("value")]
    # feedparser names the document's address where no xml:base was given; what people write
    # without one is meant for the entry's own page.
    declared = next(
        (c["base"] for c in [*contents, detail] if c.get("base") not in {None, url}), ""
    )
    link = _link(parsed)
    return RawEntry(
        id=_get(parsed, "id"),
        link=link,
        base=declared or text.absolute_url(link, url) or home,
        title=_get(parsed, "title"),
        bodies=tuple(_bodies(parsed, contents)),
        author=_author(parsed) or _author(feed),
        published=_instant(parsed, "published_parsed") or _instant(parsed, "created_parsed"),
        updated=_instant(parsed, "updated_parsed"),
        dates={"published": _get(parsed, "published"), "updated": _get(parsed, "updated")},
        tags=[_get(tag, "label") or _get(tag, "term") for tag in parsed.get("tags") or []],
        language=_get(contents[0] if contents else detail, "language") or _get(feed, "language"),
        enclosures=list(_enclosures(parsed)),
        comments=_get(parsed, "comments"),
        metrics=_metrics(parsed),
        medium="video" if "yt_videoid" in parsed else _medium(parsed),
    )


def _link(parsed: Any) -> str:
    # feedparser takes a guid for the address where there is none, words and numbers too.
    borrowed = parsed.get("guidislink") and "://" not in _get(parsed, "id")
    if (link := _get(parsed, "link")) and not borrowed:
        return link
    links = parsed.get("links") or []
    return next((_get(found, "href") for found in links if found.get("rel") == "alternate"), "")


def _linked(feed: Any, relation: str, url: str) -> str:
    """The first address of a relation among the feed's own links; empty where there is none."""
    links = (found for found in feed.get("links") or [] if found.get("rel") == relation)
    return next((text.absolute_url(_get(found, "href"), url) for found in links), "")


def _bodies(parsed: Any, contents: list[Any]) -> Iterator[tuple[str, bool]]:
    for found in contents:
        kind = _get(found, "type")
        if kind in _HTML_TYPES or kind.startswith("text/"):
            yield _get(found, "value"), kind in _HTML_TYPES
    if summary := _get(parsed, "summary"):
        yield summary, _get(parsed.get("summary_detail") or {}, "type") != "text/plain"


def _author(of: Any) -> str:
    names = [_get(author, "name") for author in of.get("authors") or [] if author]
    return ", ".join(name for name in names if name) or _get(of, "author")


def _enclosures(parsed: Any) -> Iterator[Mapping[str, str]]:
    for link in parsed.get("links") or []:
        if link.get("rel") == "enclosure":
            yield {
                "url": _get(link, "href"),
                "type": _get(link, "type"),
                "length": _get(link, "length"),
            }
    for media in parsed.get("media_content") or []:
        if _get(media, "medium") in {"video", "audio"}:
            yield {"url": _get(media, "url"), "type": _get(media, "type"), "length": ""}


def _medium(parsed: Any) -> str:
    return next((_get(m, "medium") for m in parsed.get("media_content") or []), "")


def _metrics(parsed: Any) -> dict[str, str]:
    """YouTube's feeds tell views and ratings, blogs the number of comments."""
    return {
        "reach": _get(parsed.get("media_statistics") or {}, "views"),
        "engagement": _get(parsed.get("media_starrating") or {}, "count")
        or _get(parsed, "slash_comments"),
    }


def _ttl(feed: Any) -> int:
    """Seconds between changes: RSS `ttl` (minutes), or the syndication module's period."""
    seconds = 0
    ttl = _get(feed, "ttl").strip()
    if ttl.isascii() and ttl.isdigit() and len(ttl) < 8:
        seconds = int(ttl) * 60
    period = _PERIODS.get(_get(feed, "sy_updateperiod").strip().lower(), 0)
    if period:
        frequency = _get(feed, "sy_updatefrequency").strip()
        often = int(frequency) if frequency.isascii() and frequency.isdigit() else 1
        seconds = max(seconds, period // min(max(often, 1), period))
    return min(seconds, _DAY)


def _instant(parsed: Any, name: str) -> int | None:
    moment = dict.get(parsed, name)  # FeedParserDict.get answers `updated` with `published`
    try:
        return calendar.timegm(moment) if moment else None
    except (ValueError, OverflowError, TypeError):
        return None


def _get(of: Any, name: str) -> str:
    value = dict.get(of, name)
    return value if isinstance(value, str) else ""

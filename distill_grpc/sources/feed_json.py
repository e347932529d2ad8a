"""Reads JSON Feed 1 and 1.1 (jsonfeed.org), and RSS 2.0 in JSON: runs inside the sandbox.

`next_url` is not followed: it leads to older items, and what is new stands in the first document.
"""

from __future__ import annotations

import calendar
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

from distill_grpc.sources import text
from distill_grpc.sources.feed_entries import MAX_ENTRIES, RawEntry, entry, language


def read(document: bytes, url: str, oldest: int | None) -> dict[str, Any]:
    """The feed in `document`, in the form of `feed_documents.read`."""
    try:
        feed = json.loads(document, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return {"kind": "malformed"}
    feed = _out_of_rss(feed)
    version = _text(feed.get("version"))
    if "jsonfeed.org/version/" not in version or not isinstance(feed.get("items"), list):
        return {"kind": "not_a_feed"}
    home = text.absolute_url(_text(feed.get("home_page_url")), url) or url
    entries = [
        entry(_item(item, feed, home), oldest)
        for item in feed["items"][:MAX_ENTRIES]
        if isinstance(item, dict)
    ]
    return {
        "kind": "feed",
        "title": text.one_line(_text(feed.get("title")), 300),
        "language": language(_text(feed.get("language"))),
        "ttl": 0,
        "hub": _hub(feed, url),
        "self": text.absolute_url(_text(feed.get("feed_url")), url),
        "expired": feed.get("expired") is True,
        "truncated": False,
        "entries": entries,
    }


def _out_of_rss(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """RSS in JSON (`{"rss": {"channel": {"item": […]}}}`) as a JSON Feed; others as they are."""
    rss = document.get("rss")
    channel = rss.get("channel") if isinstance(rss, dict) else None
    if not isinstance(channel, dict):
        return document
    items = channel.get("item")
    return {
        "version": "https://jsonfeed.org/version/1.1",
        "title": channel.get("title"),
        "home_page_url": channel.get("link"),
        "language": channel.get("language"),
        "items": [_out_of_rss_item(item) for item in _list(items) if isinstance(item, dict)],
    }


def _out_of_rss_item(item: Mapping[str, Any]) -> dict[str, Any]:
    guid = item.get("guid")
    enclosure = item.get("enclosure")
    return {
        "id": guid.get("#value") if isinstance(guid, dict) else guid,
        "url": item.get("link"),
        "title": item.get("title"),
        "content_html": item.get("content:encoded") or item.get("description"),
        "date_published": item.get("pubDate"),
        "author": {"name": item.get("author") or item.get("dc:creator")},
        "tags": [c for c in _list(item.get("category")) if isinstance(c, str)],
        "attachments": [
            {
                "url": enclosure.get("url"),
                "mime_type": enclosure.get("type"),
                "size_in_bytes": enclosure.get("length"),
            }
        ]
        if isinstance(enclosure, dict)
        else [],
    }


def _item(item: Mapping[str, Any], feed: Mapping[str, Any], home: str) -> RawEntry:
    return RawEntry(
        id=_text(item.get("id")),
        link=_text(item.get("url")) or _text(item.get("external_url")),
        base=home,
        title=_text(item.get("title")),
        bodies=tuple(_bodies(item)),
        author=", ".join(_authors(item)) or ", ".join(_authors(feed)),
        published=_instant(item.get("date_published")),
        updated=_instant(item.get("date_modified")),
        dates={
            "published": _text(item.get("date_published")),
            "updated": _text(item.get("date_modified")),
        },
        tags=[_text(tag) for tag in _list(item.get("tags"))],
        language=_text(item.get("language")) or _text(feed.get("language")),
        enclosures=[
            {
                "url": _text(attachment.get("url")),
                "type": _text(attachment.get("mime_type")),
                "length": _text(attachment.get("size_in_bytes")),
            }
            for attachment in _list(item.get("attachments"))
            if isinstance(attachment, dict)
        ],
    )


def _bodies(item: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    for name, is_html in (("content_html", True), ("content_text", False), ("summary", False)):
        if body := _text(item.get(name)):
            yield body, is_html


def _hub(feed: Mapping[str, Any], url: str) -> str:
    """The first WebSub hub; empty where there is none."""
    hubs = (hub for hub in _list(feed.get("hubs")) if isinstance(hub, dict))
    addresses = (
        text.absolute_url(_text(hub.get("url")), url)
        for hub in hubs
        if _text(hub.get("type")).lower() in {"websub", "pubsubhubbub"}
    )
    return next((address for address in addresses if address), "")


def _authors(of: Mapping[str, Any]) -> list[str]:
    """Names in `authors` (1.1) or `author` (1)."""
    authors = _list(of.get("authors")) or [of.get("author")]
    names = (_text(author.get("name")) for author in authors if isinstance(author, dict))
    return [name for name in names if name][:10]


def _text(value: Any) -> str:
    """Ids in the wild are numbers now and then: they become their digits."""
    if isinstance(value, bool):
        return ""
    return str(value) if isinstance(value, str | int | float) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _instant(value: Any) -> int | None:
    """Epoch seconds of a date as in RFC 3339, or as in RFC 5322 (RSS in JSON)."""
    date = _text(value).strip()
    try:
        instant = (
            datetime.fromisoformat(date) if date[:4].isdigit() else parsedate_to_datetime(date)
        )
        zoned = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
        return calendar.timegm(zoned.utctimetuple())
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")

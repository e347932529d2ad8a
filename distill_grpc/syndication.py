"""Feeds, written: RSS 2.0, Atom (RFC 4287) and JSON Feed 1.1, with the links of WebSub."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from xml.etree import ElementTree as ET

import orjson

from distill_grpc import clock

TYPES: Mapping[str, str] = {
    "rss": "application/rss+xml; charset=utf-8",
    "atom": "application/atom+xml; charset=utf-8",
    "json": "application/feed+json; charset=utf-8",
}
_ATOM = "http://www.w3.org/2005/Atom"
_DC = "http://purl.org/dc/elements/1.1/"
# What XML 1.0 cannot hold.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

ET.register_namespace("atom", _ATOM)
ET.register_namespace("dc", _DC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a feed."""

    id: str  # a URI that never changes
    title: str
    html: str  # safe to show
    published: datetime
    updated: datetime
    url: str = ""  # "": it has no address of its own
    text: str = ""  # the same as `html`, for formats that take both


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A feed, its entries newest first."""

    id: str  # a URI that never changes
    title: str
    description: str
    author: str
    address: str  # its own, in the format that is written
    updated: datetime
    entries: Sequence[Entry]
    hub: str | None = None  # where changes are told (WebSub)


def write(feed: Feed, kind: str) -> bytes:
    """The document of a feed in one of `TYPES`."""
    return _WRITERS[kind](feed)


def _rss(feed: Feed) -> bytes:
    root = ET.Element("rss", version="2.0")
    channel = ET.SubElement(root, "channel")
    _add(channel, "title", feed.title)
    _add(channel, "link", feed.address)
    _add(channel, "description", feed.description)
    _add(channel, "lastBuildDate", format_datetime(feed.updated))
    _link(channel, f"{{{_ATOM}}}link", feed.address, "self", "application/rss+xml")
    if feed.hub:
        _link(channel, f"{{{_ATOM}}}link", feed.hub, "hub")
    for entry in feed.entries:
        item = ET.SubElement(channel, "item")
        _add(item, "title", entry.title)
        if entry.url:
            _add(item, "link", entry.url)
        ET.SubElement(item, "guid", isPermaLink="false").text = entry.id
        _add(item, f"{{{_DC}}}creator", feed.author)
        _add(item, "pubDate", format_datetime(entry.published))
        _add(item, "description", entry.html)
    return _bytes(root)


def _atom(feed: Feed) -> bytes:
    root = ET.Element("feed", xmlns=_ATOM)
    _add(root, "title", feed.title)
    _add(root, "subtitle", feed.description)
    _add(root, "id", feed.id)
    _add(root, "updated", clock.iso(feed.updated))
    _link(root, "link", feed.address, "self", "application/atom+xml")
    if feed.hub:
        _link(root, "link", feed.hub, "hub")
    _add(ET.SubElement(root, "author"), "name", feed.author)
    for entry in feed.entries:
        element = ET.SubElement(root, "entry")
        _add(element, "title", entry.title)
        _add(element, "id", entry.id)
        if entry.url:
            _link(element, "link", entry.url, "alternate")
        _add(element, "published", clock.iso(entry.published))
        _add(element, "updated", clock.iso(entry.updated))
        ET.SubElement(element, "content", type="html").text = _xml(entry.html)
    return _bytes(root)


def _json(feed: Feed) -> bytes:
    document: dict[str, Any] = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": feed.title,
        "description": feed.description,
        "feed_url": feed.address,
        "authors": [{"name": feed.author}],
        "items": [_json_item(entry) for entry in feed.entries],
    }
    if feed.hub:
        document["hubs"] = [{"type": "WebSub", "url": feed.hub}]
    return orjson.dumps(document)


def _json_item(entry: Entry) -> dict[str, str]:
    item = {
        "id": entry.id,
        "title": entry.title,
        "content_html": entry.html,
        "date_published": clock.iso(entry.published),
        "date_modified": clock.iso(entry.updated),
    }
    optional = {"url": entry.url, "content_text": entry.text}
    return item | {name: value for name, value in optional.items() if value}


_WRITERS: Mapping[str, Callable[[Feed], bytes]] = {"rss": _rss, "atom": _atom, "json": _json}


def _add(parent: ET.Element, name: str, text: str) -> None:
    ET.SubElement(parent, name).text = _xml(text)


def _link(parent: ET.Element, name: str, href: str, rel: str, media: str = "") -> None:
    ET.SubElement(parent, name, {"href": href, "rel": rel, **({"type": media} if media else {})})


def _xml(text: str) -> str:
    return _NOT_XML.sub("", text)


def _bytes(root: ET.Element) -> bytes:
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written

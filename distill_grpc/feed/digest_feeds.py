"""A user's digests as a feed behind a secret address: RSS 2.0, Atom (RFC 4287), JSON Feed 1.1."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from xml.etree import ElementTree as ET

import orjson
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed import digest_pages, preferring, watching
from distill_grpc.feed.link_tokens import new_token, token_hash
from distill_grpc.feed.periods import following
from distill_grpc.feed.store import preferences, summaries

FORMATS = {
    "rss": "application/rss+xml; charset=utf-8",
    "atom": "application/atom+xml; charset=utf-8",
    "json": "application/feed+json; charset=utf-8",
}
ENTRIES = 30
_RUNNING = 2  # dates at most whose period is not over in every time zone: left out
_TITLE = "Distill digests"
_ATOM = "http://www.w3.org/2005/Atom"
_NAMESPACE = uuid.UUID("5f0d2f8c-6a0b-4f3e-9a57-1f6c1d0c9f3e")
# What XML 1.0 cannot hold.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


async def create(connection: AsyncConnection, user_id: str, now: datetime) -> str:
    """A new token for the user's feed; the one before stops working. Raises NOT_WATCHING."""
    await watching.require_watch(connection, user_id)
    token = new_token()
    if not await preferences.update_preferences(connection, user_id, feed_hash=token_hash(token)):
        await preferences.upsert_preferences(
            connection,
            user_id,
            **preferring.DEFAULTS,
            credits_available=False,
            feed_hash=token_hash(token),
            updated_at=clock.whole_seconds(now),
        )
    return token


async def revoke(connection: AsyncConnection, user_id: str) -> None:
    """Ends the user's feed; raises NOT_FOUND where there is none."""
    row = await preferences.get_preferences(connection, user_id, lock=True)
    if row is None or row.feed_hash is None:
        raise DistillError(ErrorReason.NOT_FOUND, "There is no feed of digests.")
    await preferences.update_preferences(connection, user_id, feed_hash=None)


async def read(connection: AsyncConnection, token: str, kind: str, address: str) -> bytes:
    """The feed of a token in one of `FORMATS`; `address` is its own. Raises NOT_FOUND."""
    row = await preferences.get_by_feed(connection, token_hash(token))
    if row is None:
        raise DistillError(ErrorReason.NOT_FOUND, "There is no such feed, or it was ended.")
    kept = [
        digest
        for kind in preferences.SCHEDULES
        for digest in await summaries.list_kept(
            connection, row.user_id, kind, row.tz, ENTRIES + _RUNNING
        )
        if digest.generated_at >= preferring.end_of(kind, digest.date, digest.tz)
    ]
    kept.sort(key=lambda digest: (following(digest.period, digest.date), digest.period))
    kept = kept[-ENTRIES:][::-1]
    write = {"rss": _rss, "atom": _atom, "json": _json}[kind]
    return write(kept, address, row.updated_at)


def _rss(kept: Sequence[Row[Any]], address: str, _since: datetime) -> bytes:
    ET.register_namespace("atom", _ATOM)
    root = ET.Element("rss", version="2.0")
    channel = ET.SubElement(root, "channel")
    _add(channel, "title", _TITLE)
    _add(channel, "link", address)
    _add(channel, "description", "What mattered in your feeds")
    own = {"href": address, "rel": "self", "type": "application/rss+xml"}
    ET.SubElement(channel, f"{{{_ATOM}}}link", own)
    for row in kept:
        item = ET.SubElement(channel, "item")
        _add(item, "title", digest_pages.title(row))
        ET.SubElement(item, "guid", isPermaLink="false").text = _id(row)
        _add(item, "pubDate", format_datetime(row.generated_at))
        _add(item, "description", digest_pages.as_html(row))
    return _bytes(root)


def _atom(kept: Sequence[Row[Any]], address: str, since: datetime) -> bytes:
    root = ET.Element("feed", xmlns=_ATOM)
    _add(root, "title", _TITLE)
    _add(root, "id", f"urn:uuid:{uuid.uuid5(_NAMESPACE, address)}")
    _add(root, "updated", clock.iso(kept[0].generated_at if kept else since))
    ET.SubElement(root, "link", href=address, rel="self")
    _add(ET.SubElement(root, "author"), "name", "Distill")
    for row in kept:
        entry = ET.SubElement(root, "entry")
        _add(entry, "title", digest_pages.title(row))
        _add(entry, "id", _id(row))
        _add(entry, "updated", clock.iso(row.generated_at))
        ET.SubElement(entry, "content", type="html").text = _xml(digest_pages.as_html(row))
    return _bytes(root)


def _json(kept: Sequence[Row[Any]], address: str, _since: datetime) -> bytes:
    return orjson.dumps(
        {
            "version": "https://jsonfeed.org/version/1.1",
            "title": _TITLE,
            "feed_url": address,
            "items": [
                {
                    "id": _id(row),
                    "title": digest_pages.title(row),
                    "content_html": digest_pages.as_html(row),
                    "content_text": digest_pages.as_text(row),
                    "date_published": clock.iso(row.generated_at),
                }
                for row in kept
            ],
        }
    )


def _id(row: Row[Any]) -> str:
    """The same for a digest that was made anew: readers show it once."""
    return f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest_pages.identity(row))}"


def _add(parent: ET.Element, name: str, text: str) -> None:
    ET.SubElement(parent, name).text = _xml(text)


def _xml(text: str) -> str:
    return _NOT_XML.sub("", text)


def _bytes(root: ET.Element) -> bytes:
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written

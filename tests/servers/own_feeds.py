"""Three small feeds of our own, in three formats, for machines without recorded ones."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from html import escape

# When the newest entry appeared; tests move it to where they need it.
NEWEST = datetime(2024, 1, 10, 9, 0, tzinfo=UTC)
_ENTRIES = 20

_TOPICS = (
    ("Apple harvest", "The apple harvest began {n} days early in the valley this year."),
    ("Bridge repairs", "Engineers replaced {n} bearings of the old bridge over the weekend."),
    ("Python release", "Python gained {n} improvements in its newest release, the team says."),
    ("Night train", "The night train to the coast carries {n} coaches from next month on."),
    ("Library hours", "The city library opens {n} hours longer after a vote of the council."),
)
_SECOND = (
    "People who live nearby were asked for their opinion, and {n} of them answered in writing."
)


@dataclass(frozen=True)
class Entry:
    """An entry of a feed; `id` is a number because some feeds in the wild have such."""

    id: int
    title: str
    html: str
    at: datetime


def own_feeds() -> dict[str, bytes]:
    """Each feed by its file name."""
    return {
        "orchard.rss": rss(_entries(0)),
        "workshop.atom": atom(_entries(1)),
        "townhall.json": json_feed(_entries(2)),
    }


def _entries(shift: int) -> list[Entry]:
    return [_entry(number, shift) for number in range(_ENTRIES)]


def _entry(number: int, shift: int) -> Entry:
    title, first = _TOPICS[(number + shift) % len(_TOPICS)]
    count = number + 3 + shift
    html = f"<p>{first.format(n=count)}</p><p>{_SECOND.format(n=count * 7)}</p>"
    at = NEWEST - timedelta(hours=3 * number + shift)
    return Entry(number, f"{title} {number + 1}", html, at)


def rss(entries: Iterable[Entry]) -> bytes:
    """RSS 2.0."""
    items = "".join(
        f"<item><guid isPermaLink='false'>orchard-{e.id}</guid><title>{escape(e.title)}</title>"
        f"<link>https://orchard.example/{e.id}</link><pubDate>{format_datetime(e.at)}</pubDate>"
        f"<category>Orchard News</category><description>{escape(e.html)}</description></item>"
        for e in entries
    )
    return (
        "<?xml version='1.0'?><rss version='2.0'><channel><title>Orchard</title>"
        f"<link>https://orchard.example/</link>{items}</channel></rss>"
    ).encode()


def atom(entries: Iterable[Entry]) -> bytes:
    """Atom 1.0."""
    listed = list(entries)
    written = "".join(
        f"<entry><id>tag:workshop.example,2024:{e.id}</id><title>{escape(e.title)}</title>"
        f"<link href='https://workshop.example/{e.id}'/><updated>{e.at.isoformat()}</updated>"
        f"<author><name>Ida</name></author><content type='html'>{escape(e.html)}</content></entry>"
        for e in listed
    )
    updated = max(e.at for e in listed).isoformat()
    return (
        "<?xml version='1.0'?><feed xmlns='http://www.w3.org/2005/Atom'><title>Workshop</title>"
        f"<id>tag:workshop.example,2024:feed</id><updated>{updated}</updated>{written}</feed>"
    ).encode()


def json_feed(entries: Iterable[Entry]) -> bytes:
    """JSON Feed 1.1."""
    items = [
        {
            "id": e.id,
            "url": f"https://townhall.example/{e.id}",
            "title": e.title,
            "content_html": e.html,
            "date_published": e.at.isoformat(),
            "authors": [{"name": "Town hall"}],
        }
        for e in entries
    ]
    feed = {"version": "https://jsonfeed.org/version/1.1", "title": "Town hall", "items": items}
    return json.dumps(feed).encode()

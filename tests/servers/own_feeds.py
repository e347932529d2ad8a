"""Three small feeds of our own, in three formats, for machines without recorded ones."""

from __future__ import annotations

import json
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


def own_feeds() -> dict[str, bytes]:
    """Each feed by its file name."""
    return {"orchard.rss": _rss(), "workshop.atom": _atom(), "townhall.json": _json_feed()}


def _entry(number: int, shift: int) -> tuple[str, str, datetime]:
    title, first = _TOPICS[(number + shift) % len(_TOPICS)]
    count = number + 3 + shift
    text = f"<p>{first.format(n=count)}</p><p>{_SECOND.format(n=count * 7)}</p>"
    return f"{title} {number + 1}", text, NEWEST - timedelta(hours=3 * number + shift)


def _rss() -> bytes:
    items = "".join(
        f"<item><guid isPermaLink='false'>orchard-{n}</guid><title>{escape(title)}</title>"
        f"<link>https://orchard.example/{n}</link><pubDate>{format_datetime(at)}</pubDate>"
        f"<category>Orchard News</category><description>{escape(text)}</description></item>"
        for n in range(_ENTRIES)
        for title, text, at in [_entry(n, 0)]
    )
    return (
        "<?xml version='1.0'?><rss version='2.0'><channel><title>Orchard</title>"
        f"<link>https://orchard.example/</link>{items}</channel></rss>"
    ).encode()


def _atom() -> bytes:
    entries = "".join(
        f"<entry><id>tag:workshop.example,2024:{n}</id><title>{escape(title)}</title>"
        f"<link href='https://workshop.example/{n}'/><updated>{at.isoformat()}</updated>"
        f"<author><name>Ida</name></author><content type='html'>{escape(text)}</content></entry>"
        for n in range(_ENTRIES)
        for title, text, at in [_entry(n, 1)]
    )
    return (
        "<?xml version='1.0'?><feed xmlns='http://www.w3.org/2005/Atom'><title>Workshop</title>"
        f"<id>tag:workshop.example,2024:feed</id><updated>{NEWEST.isoformat()}</updated>{entries}</feed>"
    ).encode()


def _json_feed() -> bytes:
    items = [
        {
            "id": n,  # numbers as ids are found in the wild
            "url": f"https://townhall.example/{n}",
            "title": title,
            "content_html": text,
            "date_published": at.isoformat(),
            "authors": [{"name": "Town hall"}],
        }
        for n in range(_ENTRIES)
        for title, text, at in [_entry(n, 2)]
    ]
    feed = {"version": "https://jsonfeed.org/version/1.1", "title": "Town hall", "items": items}
    return json.dumps(feed).encode()

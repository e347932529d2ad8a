"""Feeds, those of real sites included, with their dates moved so that the newest entry is an hour old."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

from tests.servers.feeds import Answer
from tests.servers.fixtures import feeds

_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")
_RFC_822 = re.compile(
    r"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (?:GMT|[+-]\d{4})"
)
_TYPES = {".json": "application/feed+json", ".atom": "application/atom+xml", ".rss": "text/xml"}


def site_feeds() -> dict[str, Answer]:
    """Each feed by its file name, as it would be served today."""
    return {
        name: Answer(
            body=moved(body.decode()).encode(), content_type=_TYPES[name[name.rindex(".") :]]
        )
        for name, body in feeds().items()
    }


def moved(text: str) -> str:
    """The document with every date moved by the same time, the newest to an hour ago."""
    dates = [_iso(m) for m in _ISO.findall(text)] + [_rfc(m) for m in _RFC_822.findall(text)]
    by = datetime.now(UTC) - timedelta(hours=1) - max(dates)
    text = _ISO.sub(lambda m: (_iso(m[0]) + by).strftime("%Y-%m-%dT%H:%M:%SZ"), text)
    return _RFC_822.sub(lambda m: format_datetime(_rfc(m[0]) + by), text)


def _iso(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _rfc(text: str) -> datetime:
    return parsedate_to_datetime(text).astimezone(UTC)

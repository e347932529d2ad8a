"""What an answer's headers say about time: its date, when to come back, how long it stays fresh."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from multidict import MultiMapping

LONGEST_WAIT = timedelta(hours=24)  # a platform that says more is asked again after this

_SECONDS = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")
_DIRECTIVE = re.compile(r'([A-Za-z0-9_-]+)(?:\s*=\s*("[^"]*"|[^,\s]*))?')
_LONGEST_AGE = 2**31  # what RFC 9111, 1.2.2 makes of a number too large


def server_date(headers: MultiMapping[str], now: datetime) -> datetime:
    """The answer's `Date` (RFC 9110, 6.6.1), or `now` where it has none that can be read."""
    return _http_date(headers.get("Date", "")) or now


def retry_at(headers: MultiMapping[str], now: datetime) -> datetime | None:
    """The instant of our clock that `Retry-After` names (RFC 9110, 10.2.3), None without one.

    A date is compared with the server's own `Date`, so that neither clock needs to be right.
    Never before `now`, never more than `LONGEST_WAIT` after it.
    """
    value = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(value):
        wait = float(value)
    elif date := _http_date(value):
        wait = (date - server_date(headers, now)).total_seconds()
    else:
        return None
    return now + timedelta(seconds=min(max(wait, 0.0), LONGEST_WAIT.total_seconds()))


def max_age(headers: MultiMapping[str], now: datetime) -> float | None:
    """For how many seconds from now the answer stays fresh (RFC 9111, 4.2); None: not told.

    `no-store`, `no-cache` and an `Expires` that is no date mean 0.
    """
    directives = _directives(headers.getall("Cache-Control", []))
    age = _delta(headers.get("Age", "")) or 0.0
    if "no-store" in directives or "no-cache" in directives:
        return 0.0
    if "max-age" in directives:
        return max((_delta(directives["max-age"]) or 0.0) - age, 0.0)
    if "Expires" not in headers:
        return None
    expires = _http_date(headers["Expires"])
    if expires is None:
        return 0.0
    return max((expires - server_date(headers, now)).total_seconds() - age, 0.0)


def _directives(values: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in _DIRECTIVE.finditer(",".join(values)):
        found.setdefault(match[1].lower(), (match[2] or "").strip('"'))  # the first one counts
    return found


def _delta(text: str) -> float | None:
    text = text.strip()
    if not (text.isascii() and text.isdigit()):
        return None
    return min(float(text), float(_LONGEST_AGE))


def _http_date(text: str) -> datetime | None:
    """RFC 9110, 5.6.7: all three of its forms."""
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None

"""The time zone of this machine, and the days of a digest in words."""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path

from distill_grpc.feed.periods import is_zone

LOCALTIME = Path("/etc/localtime")


def of_this_machine() -> str:
    """The IANA name of the zone, from TZ or from where /etc/localtime points; else UTC."""
    pointed = str(LOCALTIME.resolve()).partition("/zoneinfo/")[2]
    for name in (os.environ.get("TZ", "").removeprefix(":"), pointed):
        if is_zone(name):
            return name
    return "UTC"


def days(period: str, first: str) -> str:
    """`2026-11-16` as `16 November 2026`; for `weekly`, the span of the seven days from it."""
    start = date.fromisoformat(first)
    if period != "weekly":
        return _day(start)
    end = start + timedelta(days=6)
    if (start.year, start.month) == (end.year, end.month):
        return f"{start.day}–{_day(end)}"  # noqa: RUF001 -- a span is written with this dash
    month = f"{start:%B}" if start.year == end.year else f"{start:%B %Y}"
    return f"{start.day} {month} – {_day(end)}"  # noqa: RUF001 -- as above


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"

"""The days and weeks of a time zone (seed 002, /content/summary/{period})."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

from distill_grpc.errors import invalid_argument


@dataclass(frozen=True, slots=True)
class Period:
    """A day or a week of a time zone; `start` and `end` are UTC, the end is exclusive."""

    kind: str
    date: date
    tz: str
    start: datetime
    end: datetime


def period(word: str, day: str | None, tz: str, now: datetime) -> Period:
    """The period that `daily`, `weekly` or a date means; INVALID_ARGUMENT where it means none."""
    require_zone(tz)
    where = zone(tz)
    today = now.astimezone(where).date()
    chosen = _date(day, "date") if day is not None else today
    kind, field = word, "date"
    if word not in {"daily", "weekly"}:
        if day is not None:
            raise invalid_argument({"date": "goes with daily or weekly, not with a date as period"})
        chosen, kind, field = _date(word, "period"), "daily", "period"
    try:
        first = first_day(kind, chosen)
        start, end = _midnight(first, where), _midnight(following(kind, first), where)
    except OverflowError:
        raise invalid_argument({field: "is out of range"}) from None
    return Period(kind, first, tz, start, end)


def first_day(kind: str, day: date) -> date:
    """The date of the period that a day is in: itself, or the Monday of its week."""
    return day - timedelta(days=day.weekday()) if kind == "weekly" else day


def following(kind: str, first: date) -> date:
    """The date of the period after the one of that date."""
    return first + timedelta(days=7 if kind == "weekly" else 1)


def is_zone(tz: str) -> bool:
    """True for the IANA names, which mean the same on every machine (`localtime` does not)."""
    return tz in _names()


def require_zone(tz: str) -> None:
    """Raises INVALID_ARGUMENT where that is no IANA name of a time zone."""
    if not is_zone(tz):
        raise invalid_argument({"tz": "must be an IANA time zone, such as Europe/Berlin"})


def zone(tz: str) -> ZoneInfo:
    """The time zone of a name that was found good."""
    return ZoneInfo(tz)


@cache
def _names() -> frozenset[str]:
    # Of the package and not of the machine, whose folder holds other files too.
    listed = resources.files("tzdata").joinpath("zones").read_text().split()
    return frozenset(listed) - {"Factory"}


def _date(text: str, field: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise invalid_argument({field: "must be a date that exists, as YYYY-MM-DD"}) from None


def _midnight(day: date, where: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), where).astimezone(UTC)

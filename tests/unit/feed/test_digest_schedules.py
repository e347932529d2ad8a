"""When digests are due: properties over all hours, time zones and instants, those of clock changes too."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from distill_grpc.feed import digest_scheduling, preferring
from distill_grpc.feed.periods import first_day, following, period

# Zones with every kind of clock: half hours, changes at midnight, a whole day left out (Apia 2011).
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
)
KINDS = st.sampled_from(("daily", "weekly"))
HOURS = st.integers(0, 23)
# From 2011 to 2034, to the second.
INSTANTS = st.integers(1_293_840_000, 2_051_222_400).map(lambda s: datetime.fromtimestamp(s, UTC))
DATES = st.dates(date(2011, 1, 1), date(2035, 1, 1))
LONGEST = {"daily": timedelta(days=1), "weekly": timedelta(days=7)}
# Clocks that skip a day or two hours make one wait so much longer.
SLACK = timedelta(days=1, hours=2)


@given(KINDS, HOURS, st.sampled_from(ZONES), INSTANTS)
@example("weekly", 0, "Pacific/Apia", datetime(2011, 12, 30, 12, tzinfo=UTC))
@example("weekly", 2, "Europe/Berlin", datetime(2026, 3, 29, 0, 59, tzinfo=UTC))
def test_the_first_digest_is_the_next_one_and_its_period_is_over_by_then(
    kind: str, hour: int, tz: str, now: datetime
) -> None:
    first, due = preferring.first_due(kind, hour, tz, now)
    assert now < due <= now + LONGEST[kind] + SLACK
    assert due >= preferring.end_of(kind, first, tz)
    assert first == first_day(kind, first)
    before = first_day(kind, first - timedelta(days=1))
    assert preferring.due_at(kind, before, hour, tz) <= now


@given(KINDS, HOURS, st.sampled_from(ZONES), DATES)
@example("weekly", 2, "Europe/Berlin", date(2026, 3, 23))
@example("weekly", 0, "America/Sao_Paulo", date(2018, 10, 29))
def test_digests_come_in_order_each_when_the_clock_shows_the_hour(
    kind: str, hour: int, tz: str, day: date
) -> None:
    first = first_day(kind, day)
    after = following(kind, first)
    due = preferring.due_at(kind, first, hour, tz)
    assert due < preferring.due_at(kind, after, hour, tz)
    where = ZoneInfo(tz)
    shown = due.astimezone(where)
    intended = datetime.combine(after, datetime.min.time()).replace(hour=hour)
    exists = intended.replace(tzinfo=where).astimezone(UTC).astimezone(where)
    if exists.replace(tzinfo=None) == intended:  # else the clock skips it
        assert shown.replace(tzinfo=None) == intended
        assert shown.weekday() == (0 if kind == "weekly" else after.weekday())


@given(KINDS, HOURS, st.sampled_from(ZONES), DATES, st.integers(0, 60 * 24 * 3600))
def test_after_any_stop_the_newest_period_that_is_due_is_the_next(
    kind: str, hour: int, tz: str, day: date, stopped: int
) -> None:
    first = first_day(kind, day)
    row: Any = SimpleNamespace(due_date=first, digest_hour=hour, tz=tz)
    now = preferring.due_at(kind, first, hour, tz) + timedelta(seconds=stopped)
    newest = digest_scheduling.latest_due(kind, row, now)
    assert first <= newest == first_day(kind, newest)
    assert preferring.due_at(kind, newest, hour, tz) <= now
    assert now < preferring.due_at(kind, following(kind, newest), hour, tz)


@given(KINDS, st.sampled_from(ZONES), DATES)
def test_the_period_of_a_schedule_is_the_one_that_can_be_asked_for(
    kind: str, tz: str, day: date
) -> None:
    asked = period(kind, day.isoformat(), tz, datetime(2026, 1, 1, tzinfo=UTC))
    assert asked.date == first_day(kind, day)
    assert asked.end == preferring.end_of(kind, asked.date, tz)
    assert asked.start < asked.end or tz == "Pacific/Apia"


@pytest.mark.parametrize(
    ("hour", "tz", "now", "monday", "due"),
    [
        # Monday before and after the hour, and a Sunday.
        (7, "UTC", "2026-11-23T06:59:59+00:00", "2026-11-16", "2026-11-23T07:00:00+00:00"),
        (7, "UTC", "2026-11-23T07:00:00+00:00", "2026-11-23", "2026-11-30T07:00:00+00:00"),
        (7, "UTC", "2026-11-29T23:00:00+00:00", "2026-11-23", "2026-11-30T07:00:00+00:00"),
        # It is Monday in Tokyo already.
        (7, "Asia/Tokyo", "2026-11-22T16:00:00+00:00", "2026-11-16", "2026-11-22T22:00:00+00:00"),
        # The weeks in which the clocks change are an hour shorter and longer.
        (
            7,
            "Europe/Berlin",
            "2026-03-28T12:00:00+00:00",
            "2026-03-23",
            "2026-03-30T05:00:00+00:00",
        ),
        (
            7,
            "Europe/Berlin",
            "2026-10-24T12:00:00+00:00",
            "2026-10-19",
            "2026-10-26T06:00:00+00:00",
        ),
    ],
)
def test_a_week_is_due_on_the_monday_after_it(
    hour: int, tz: str, now: str, monday: str, due: str
) -> None:
    found = preferring.first_due("weekly", hour, tz, datetime.fromisoformat(now))
    assert found == (date.fromisoformat(monday), datetime.fromisoformat(due))

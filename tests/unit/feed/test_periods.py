"""Days and weeks of a user's time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed.periods import is_zone, period

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
# Half hours, midnights that do not exist or come twice, a day that never was, both ends of the day.
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Etc/GMT+12",
)
zones = st.sampled_from(ZONES)
instants = st.integers(631_152_000, 2_114_380_800).map(lambda at: datetime.fromtimestamp(at, UTC))
days = st.dates(date(1975, 1, 1), date(2037, 12, 30))


@pytest.mark.parametrize(
    ("day", "tz", "start", "hours"),
    [
        ("2026-03-29", "Europe/Berlin", "2026-03-28T23:00", 23),
        ("2026-10-25", "Europe/Berlin", "2026-10-24T22:00", 25),
        ("2026-07-01", "Europe/Berlin", "2026-06-30T22:00", 24),
        ("2026-03-08", "America/St_Johns", "2026-03-08T03:30", 23),
        ("2026-11-01", "America/St_Johns", "2026-11-01T02:30", 25),
        ("2026-04-05", "Australia/Lord_Howe", "2026-04-04T13:00", 24.5),
        ("2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00", 23),  # began at one o'clock
        ("2011-12-29", "Pacific/Apia", "2011-12-29T10:00", 24),
        ("2011-12-30", "Pacific/Apia", "2011-12-30T10:00", 0),  # never was
        ("2011-12-31", "Pacific/Apia", "2011-12-30T10:00", 24),
        ("2026-11-20", "UTC", "2026-11-20T00:00", 24),
    ],
)
def test_a_day_is_the_days_of_its_zone(day: str, tz: str, start: str, hours: float) -> None:
    found = period(day, None, tz, NOW)
    assert (found.kind, found.date.isoformat(), found.tz) == ("daily", day, tz)
    assert found.start == datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert found.end - found.start == timedelta(hours=hours)


@given(days, zones)
def test_days_follow_each_other_without_a_gap_or_an_overlap(day: date, tz: str) -> None:
    first = period(day.isoformat(), None, tz, NOW)
    second = period((day + timedelta(days=1)).isoformat(), None, tz, NOW)
    assert first.end == second.start


@given(days, zones)
def test_a_week_is_its_seven_days_and_begins_on_monday(day: date, tz: str) -> None:
    week = period("weekly", day.isoformat(), tz, NOW)
    assert week.kind == "weekly"
    assert week.date.isoweekday() == 1
    assert week.date <= day < week.date + timedelta(days=7)
    assert week.date.isocalendar()[:2] == day.isocalendar()[:2]
    sunday = week.date + timedelta(days=6)
    assert week.start == period(week.date.isoformat(), None, tz, NOW).start
    assert week.end == period(sunday.isoformat(), None, tz, NOW).end


@given(instants, zones)
def test_today_holds_the_present_instant(now: datetime, tz: str) -> None:
    for word in ("daily", "weekly"):
        today = period(word, None, tz, now)
        assert today.start <= now < today.end
    assert period("daily", None, tz, now).date == now.astimezone(ZoneInfo(tz)).date()


@pytest.mark.parametrize(
    "tz", ["Europe/Nowhere", "../../etc/passwd", "", "Europe", "UTC\x00", "/etc", "a" * 500]
)
def test_a_zone_that_is_none_is_refused(tz: str) -> None:
    with pytest.raises(DistillError) as caught:
        period("daily", None, tz, NOW)
    assert caught.value.reason == ErrorReason.INVALID_ARGUMENT
    assert set(caught.value.details) == {"tz"}


@pytest.mark.parametrize(
    ("word", "day", "field"),
    [
        ("2026-02-30", None, "period"),
        ("monthly", None, "period"),
        ("daily", "yesterday", "date"),
        ("2026-02-01", "2026-02-01", "date"),
        ("daily", "9999-12-31", "date"),
        ("9999-12-31", None, "period"),
        ("weekly", "0001-01-01", "date"),
    ],
)
def test_a_day_that_is_none_is_refused(word: str, day: str | None, field: str) -> None:
    with pytest.raises(DistillError) as caught:
        period(word, day, "Asia/Tokyo", NOW)
    assert caught.value.reason == ErrorReason.INVALID_ARGUMENT
    assert set(caught.value.details) == {field}


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "US/Pacific", "Etc/GMT+5"])
def test_names_of_iana_are_zones(name: str) -> None:
    assert is_zone(name)


@pytest.mark.parametrize(
    "name", ["localtime", "posixrules", "Factory", "posix/UTC", "europe/berlin", "../UTC", "", "/"]
)
def test_what_means_something_else_elsewhere_is_no_zone(name: str) -> None:
    assert not is_zone(name)

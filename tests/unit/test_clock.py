"""Instants and durations as the seeds print them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_grpc import clock


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (timedelta(days=2, hours=3, minutes=59), "2 days, 3 hours"),
        (timedelta(days=7), "7 days"),
        (timedelta(days=1, minutes=5), "1 day"),
        (timedelta(hours=1, minutes=1), "1 hour, 1 minute"),
        (timedelta(minutes=30), "30 minutes"),
        (timedelta(seconds=1, milliseconds=999), "1 second"),
        (timedelta(0), "0 seconds"),
        (timedelta(seconds=-5), "0 seconds"),
    ],
)
def test_durations_in_words(duration: timedelta, words: str) -> None:
    assert clock.in_words(duration) == words


@pytest.mark.parametrize("text", ["30m", "90m", "2h", "24h", "45s", "61s"])
def test_a_duration_is_written_as_it_is_read(text: str) -> None:
    assert clock.short(clock.parse_duration(text)) == text


@given(st.timedeltas(timedelta(0), timedelta(days=10_000)), st.integers(1, 4))
def test_words_name_at_most_as_many_units_as_asked_for(duration: timedelta, parts: int) -> None:
    words = clock.in_words(duration, parts=parts).split(", ")
    assert 1 <= len(words) <= parts
    for word in words:
        number, unit = word.split()
        assert (number == "1") is not unit.endswith("s")


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("30m", timedelta(minutes=30)),
        (" 2h ", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
        ("45s", timedelta(seconds=45)),
        ("0s", timedelta(0)),
    ],
)
def test_durations_are_read(text: str, duration: timedelta) -> None:
    assert clock.parse_duration(text) == duration


@pytest.mark.parametrize(
    "text", ["", "30", "m", "1.5h", "-5m", "5 m", "5M", "1h30m", "9999999999s", "999999999d", "٣m"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        clock.parse_duration(text)


def test_instants_are_printed_in_whole_seconds_of_utc() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    instant = datetime(2026, 1, 10, 15, 30, 59, 999_999, tzinfo=zone)
    assert clock.iso(instant) == "2026-01-10T10:00:59Z"
    assert clock.whole_seconds(instant) == datetime(2026, 1, 10, 10, 0, 59, tzinfo=UTC)
    assert clock.uptime(timedelta(days=2, hours=3, minutes=24, seconds=15.7)) == "2 days, 3:24:15"

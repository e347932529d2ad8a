from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from distill_grpc.sources.freshness import LONGEST_WAIT, max_age, retry_at, server_date

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
SERVER = "Fri, 20 Nov 2026 15:00:00 GMT"  # its clock is three hours ahead


def seconds(**headers: str) -> float | None:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    instant = retry_at(named, NOW)
    return None if instant is None else (instant - NOW).total_seconds()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", 120),
        (" 120 ", 120),
        ("0", 0),
        ("-5", 0),
        ("+7", 7),
        ("1.5", 1.5),
        ("86400", 86_400),
        ("86401", 86_400),
        ("9" * 5000, 86_400),
    ],
)
@pytest.mark.parametrize("date", [None, SERVER, "nonsense"])
def test_seconds_count_from_now_whatever_the_servers_clock_says(value, expected, date):
    headers = {"Retry_After": value} | ({"Date": date} if date else {})
    assert seconds(**headers) == expected


@pytest.mark.parametrize(
    "value",
    [
        "Fri, 20 Nov 2026 15:01:30 GMT",
        "Friday, 20-Nov-26 15:01:30 GMT",
        "Fri Nov 20 15:01:30 2026",
        "Fri, 20 Nov 2026 16:01:30 +0100",
    ],
)
def test_a_date_is_held_against_the_servers_own_date(value: str):
    assert seconds(Retry_After=value, Date=SERVER) == 90


def test_a_date_without_the_servers_date_is_held_against_our_clock():
    assert seconds(Retry_After="Fri, 20 Nov 2026 12:00:45 GMT") == 45
    assert seconds(Retry_After="Fri, 20 Nov 2026 12:00:45 GMT", Date="?") == 45


def test_a_date_is_clamped_on_both_sides():
    assert seconds(Retry_After="Thu, 01 Jan 1970 00:00:00 GMT", Date=SERVER) == 0
    assert seconds(Retry_After="Fri, 31 Dec 9999 23:59:59 GMT", Date=SERVER) == 86_400


@pytest.mark.parametrize(
    "value",
    ["", "soon", "1e9", "١٢٠", "inf", "nan", "12 s", "Fri, 20 Nov 2026 99:00:00 GMT", "0x10"],
)
def test_what_is_neither_seconds_nor_a_date_is_not_told(value: str):
    assert seconds(Retry_After=value) is None


def test_without_the_header_nothing_is_told():
    assert seconds() is None


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_header_breaks_the_clock(value: str, date: str):
    headers = CIMultiDict({"Retry-After": value, "Date": date, "Expires": value, "Age": date})
    instant = retry_at(headers, NOW)
    assert instant is None or NOW <= instant <= NOW + LONGEST_WAIT
    assert server_date(headers, NOW).utcoffset() == timedelta(0)
    age = max_age(headers, NOW)
    assert age is None or age >= 0


def test_the_servers_date_or_else_our_clock():
    assert server_date(CIMultiDict(Date=SERVER), NOW) == datetime(2026, 11, 20, 15, tzinfo=UTC)
    for bad in ("", "0", "Fri, 31 Dec 9999 23:59:59 -0100", "Fri, 20 Nov 2026 25:00:00 GMT"):
        assert server_date(CIMultiDict(Date=bad), NOW) == NOW
    assert server_date(CIMultiDict(), NOW) == NOW


EXPIRES = "Fri, 20 Nov 2026 15:10:00 GMT"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Cache-Control": "public"}, None),
        ({"Cache-Control": "max-age=300"}, 300),
        ({"Cache-Control": "public, MAX-AGE = 300, must-revalidate"}, 300),
        ({"Cache-Control": 'max-age="300"'}, 300),
        ({"Cache-Control": "max-age=300, max-age=5"}, 300),
        ({"Cache-Control": "s-maxage=10, max-age=300"}, 300),
        ({"Cache-Control": "max-age=300", "Age": "100"}, 200),
        ({"Cache-Control": "max-age=300", "Age": "900"}, 0),
        ({"Cache-Control": "max-age=300", "Age": "old"}, 300),
        ({"Cache-Control": "max-age=0"}, 0),
        ({"Cache-Control": "max-age=-1"}, 0),
        ({"Cache-Control": "max-age"}, 0),
        ({"Cache-Control": "max-age=" + "9" * 5000}, 2**31),
        ({"Cache-Control": "no-cache, max-age=300"}, 0),
        ({"Cache-Control": "no-store"}, 0),
        ({"Cache-Control": 'private="x, no-store", max-age=60'}, 60),
        ({"Expires": EXPIRES, "Date": SERVER}, 600),
        ({"Expires": EXPIRES, "Date": SERVER, "Age": "60"}, 540),
        ({"Expires": "Fri, 20 Nov 2026 12:05:00 GMT"}, 300),
        ({"Expires": "0"}, 0),
        ({"Expires": "-1", "Date": SERVER}, 0),
        ({"Expires": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
        ({"Expires": EXPIRES, "Cache-Control": "max-age=5", "Date": SERVER}, 5),
    ],
)
def test_freshness_follows_cache_control_then_expires(headers, expected):
    assert max_age(CIMultiDict(headers), NOW) == expected


def test_several_cache_control_headers_are_one():
    headers = CIMultiDict([("Cache-Control", "public"), ("Cache-Control", "max-age=7")])
    assert max_age(headers, NOW) == 7

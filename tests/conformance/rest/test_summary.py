"""`GET /content/summary/{period}`: periods, time zones, what a summary rests on, and when it is remade."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from distill_grpc import clock
from tests.conformance.seeds import DATE, assert_error, assert_shaped, example, instant
from tests.conformance.users import store, story, watch
from tests.service import DOORS, Door, Service

Json = Any

DAY = timedelta(days=1)


def monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


@pytest.fixture(scope="module")
async def digested(shared: Service, reader: str) -> str:
    """The reader, and yesterday, which is over and full of items."""
    assert reader
    return (clock.utc_now().date() - DAY).isoformat()


@pytest.mark.parametrize("door", DOORS)
async def test_the_answer_has_the_seeds_shape(
    shared: Service, reader: str, digested: str, door: Door
) -> None:
    path = f"/content/summary/{digested}"
    answer = await shared.call("GET", path, user=reader, door=door)
    assert answer.status == 200
    like = example("summary")
    assert set(answer.body) == {"summary", "metadata"}
    told = answer.body["summary"]
    assert set(told) == set(like["summary"])
    like["summary"]["content"]["sections"] = dict.fromkeys(told["content"]["sections"], "said")
    assert_shaped(answer.body, like)
    assert set(told["content"]["sections"]) <= {"trending", "mentions", "important"}
    assert (told["period"], told["date"]) == ("daily", digested)
    assert told["statistics"]["time_range"] == {
        "start": f"{digested}T00:00:00Z",
        "end": f"{digested}T23:59:59Z",
    }
    assert 1 <= len(told["content"]["highlights"]) <= 7
    assert answer.body["metadata"]["model_used"]
    assert re.fullmatch(r"\d+\.\ds", answer.body["metadata"]["processing_time"])
    assert 0 < answer.body["metadata"]["confidence"] <= 1


async def test_every_statement_rests_on_items_that_are_there(
    shared: Service, reader: str, digested: str
) -> None:
    answer = await shared.call("GET", f"/content/summary/{digested}", user=reader)
    content = answer.body["summary"]["content"]
    recent = await shared.call("GET", "/content/recent?hours=48&limit=500", user=reader)
    items = {item["id"]: item for item in recent.body["data"]}
    of_the_day = [item for item in items.values() if item["timestamp"].startswith(digested)]
    counted = answer.body["summary"]["statistics"]
    assert counted["items_processed"] == len(of_the_day)
    assert counted["sources"] == len({(i["source"], i["author"]) for i in of_the_day})
    cited = content["citations"]
    assert {c["highlight"] for c in cited if "highlight" in c} == set(
        range(len(content["highlights"]))
    )
    assert {c["section"] for c in cited if "section" in c} == set(content["sections"])
    for citation in cited:
        assert citation["items"]
        assert ("highlight" in citation) != ("section" in citation)
        for one in citation["items"]:
            item = items[one["id"]]
            assert item["timestamp"].startswith(digested)
            assert one["source"] == item["source"]
            assert one["author"] == item["author"]
            assert one.get("url") == item.get("url")


@pytest.mark.parametrize("door", DOORS)
async def test_daily_is_today_and_weekly_begins_on_monday(
    idle: Service, user: str, door: Door
) -> None:
    await watch(idle, user)
    await store(idle, user, story(1, ago=timedelta(0)))
    today = clock.utc_now().date()
    daily = (await idle.call("GET", "/content/summary/daily", user=user, door=door)).body
    assert (daily["summary"]["period"], daily["summary"]["date"]) == ("daily", today.isoformat())
    weekly = (await idle.call("GET", "/content/summary/weekly", user=user, door=door)).body
    first = monday(today)
    assert (weekly["summary"]["period"], weekly["summary"]["date"]) == ("weekly", first.isoformat())
    assert weekly["summary"]["statistics"]["time_range"] == {
        "start": f"{first}T00:00:00Z",
        "end": f"{first + timedelta(days=6)}T23:59:59Z",
    }


async def test_the_date_parameter_is_the_day_or_lies_in_the_week(
    shared: Service, reader: str, digested: str
) -> None:
    by_path = await shared.call("GET", f"/content/summary/{digested}", user=reader)
    by_query = await shared.call("GET", f"/content/summary/daily?date={digested}", user=reader)
    assert by_path.body == by_query.body
    week = await shared.call("GET", f"/content/summary/weekly?date={digested}", user=reader)
    first = monday(date.fromisoformat(digested)).isoformat()
    assert (week.body["summary"]["period"], week.body["summary"]["date"]) == ("weekly", first)


@pytest.mark.parametrize(
    ("tz", "day", "start", "end"),
    [
        ("UTC", "2026-03-29", "2026-03-29T00:00:00Z", "2026-03-29T23:59:59Z"),
        # Clocks go forward and back: days of 23 and 25 hours.
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00:00Z", "2026-03-29T21:59:59Z"),
        ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00:00Z", "2026-10-25T22:59:59Z"),
        ("Asia/Kathmandu", "2026-03-29", "2026-03-28T18:15:00Z", "2026-03-29T18:14:59Z"),
        ("Pacific/Kiritimati", "2026-03-29", "2026-03-28T10:00:00Z", "2026-03-29T09:59:59Z"),
    ],
)
async def test_days_are_the_users(
    idle: Service, user: str, tz: str, day: str, start: str, end: str
) -> None:
    await watch(idle, user)
    edges = [instant(start), instant(end)]
    outside = [edges[0] - timedelta(seconds=1), edges[1] + timedelta(seconds=1)]
    now = clock.utc_now()
    await store(idle, user, *(story(n, ago=now - at) for n, at in enumerate([*edges, *outside])))
    path = f"/content/summary/{day}?tz={tz}"
    told = (await idle.call("GET", path, user=user)).body["summary"]
    assert told["statistics"]["time_range"] == {"start": start, "end": end}
    assert told["statistics"]["items_processed"] == 2
    assert told["date"] == day


async def test_today_is_the_users_today(idle: Service, user: str) -> None:
    await watch(idle, user)
    await store(idle, user, story(1, ago=timedelta(0)))
    for tz in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):  # more than a day apart
        before = datetime.now(ZoneInfo(tz)).date()
        answer = await idle.call("GET", f"/content/summary/daily?tz={tz}", user=user)
        after = datetime.now(ZoneInfo(tz)).date()
        assert date.fromisoformat(answer.body["summary"]["date"]) in {before, after}


@pytest.mark.parametrize(
    "tz",
    [
        "Mars/Olympus",
        "localtime",
        "Factory",
        "posix/UTC",
        "europe/berlin/",
        "Europe",
        "../../etc/passwd",
        "/etc/localtime",
        "Europe/../Europe/Berlin",
        ".",
        "..",
        "UTC+1",
        "+01:00",
        "%00",
        "tzdata.zi",
        "zone.tab",
        "__init__.py",
        "\u00fc",
        "a" * 100,
        "a" * 101,
        "",
    ],
)
@pytest.mark.parametrize("door", DOORS)
async def test_a_zone_that_is_none_is_refused(
    shared: Service, reader: str, door: Door, tz: str
) -> None:
    answer = await shared.call("GET", f"/content/summary/daily?tz={tz}", user=reader, door=door)
    assert_error(answer, "invalid_argument", details={"tz"})


@pytest.mark.parametrize(
    ("period", "query", "field"),
    [
        ("monthly", "", "period"),
        ("Daily", "", "period"),
        ("daily ", "", "period"),
        ("daily%0A", "", "period"),
        ("2024-1-10", "", "period"),
        ("2024-01-10T00:00:00Z", "", "period"),
        ("20240110", "", "period"),
        ("2024-02-30", "", "period"),
        ("2023-02-29", "", "period"),
        ("2024-13-01", "", "period"),
        ("2024-00-10", "", "period"),
        ("0000-01-01", "", "period"),
        ("\u0662\u0660\u0662\u0664-01-10", "", "period"),
        ("daily", "date=2024-02-30", "date"),
        ("daily", "date=10.01.2024", "date"),
        ("daily", "date=2024-01-10%0A", "date"),
        ("daily", "date=", "date"),
        ("daily", "date=today", "date"),
        ("weekly", "date=2024-W02", "date"),
        ("daily", "date=2024-01-10&date=2024-01-11", "date"),
        ("2024-01-10", "date=2024-01-10", "date"),
        ("daily", "days=2", "days"),
        ("daily", "period=weekly", "period"),
    ],
)
@pytest.mark.parametrize("door", DOORS)
async def test_a_period_or_date_that_is_none_is_refused(
    shared: Service, reader: str, door: Door, period: str, query: str, field: str
) -> None:
    path = f"/content/summary/{period}" + (f"?{query}" if query else "")
    answer = await shared.call("GET", path, user=reader, door=door)
    assert_error(answer, "invalid_argument", details={field})


@pytest.mark.parametrize(
    "path",
    [
        "2024-02-29",
        "1970-01-01",
        "0002-01-01",
        "0001-01-01",
        "9998-12-31",
        "weekly?date=0001-01-05",
        "weekly?date=2001-01-01",
        "daily?date=2999-01-01",
        "1900-01-01?tz=Europe/Berlin",
    ],
)
@pytest.mark.parametrize("door", DOORS)
async def test_a_period_without_items_has_no_summary(
    shared: Service, reader: str, door: Door, path: str
) -> None:
    answer = await shared.call("GET", f"/content/summary/{path}", user=reader, door=door)
    assert_error(answer, "summary_unavailable", details={"period", "date", "tz"})


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("9999-12-31", "period"),
        ("0001-01-01?tz=Asia/Tokyo", "period"),
        ("weekly?date=9999-12-31", "date"),
        ("daily?date=9999-12-31", "date"),
    ],
)
async def test_a_period_beyond_the_calendar_is_refused(
    shared: Service, reader: str, path: str, field: str
) -> None:
    answer = await shared.call("GET", f"/content/summary/{path}", user=reader)
    assert_error(answer, "invalid_argument", details={field})


@pytest.mark.parametrize("door", DOORS)
async def test_a_summary_is_kept_until_an_item_of_its_period_changes(
    idle: Service, user: str, door: Door
) -> None:
    await watch(idle, user)
    at = datetime.combine(clock.utc_now().date() - DAY, datetime.min.time(), UTC)
    ago = clock.utc_now() - at
    await store(idle, user, story(1, ago=ago), story(2, ago=ago - timedelta(minutes=5)))
    path = f"/content/summary/{at.date()}"

    async def summary() -> Json:
        answer = await idle.call("GET", path, user=user, door=door)
        assert answer.status == 200
        return answer.body

    first = await summary()
    assert first["summary"]["statistics"]["items_processed"] == 2
    await past_this_second()
    assert await summary() == first
    # Something of another day changes nothing, and neither does the same item again.
    await store(idle, user, story(3, ago=timedelta(0)))
    await store(idle, user, story(1, ago=ago))
    assert await summary() == first
    await store(idle, user, story(4, ago=ago - timedelta(minutes=9)))
    second = await summary()
    assert second["summary"]["statistics"]["items_processed"] == 3
    assert instant(second["summary"]["generated_at"]) > instant(first["summary"]["generated_at"])
    changed = [story(n, ago=ago - timedelta(minutes=n), title="Another ending") for n in (1, 2, 4)]
    await store(idle, user, *changed)
    assert "Another ending" in str((await summary())["summary"]["content"]["highlights"])


async def test_summaries_that_were_made_are_listed(idle: Service, user: str) -> None:
    await watch(idle, user)
    days = [clock.utc_now().date() - n * DAY for n in (1, 2, 4)]
    for number, day in enumerate(days):
        at = datetime.combine(day, datetime.min.time(), UTC)
        await store(idle, user, story(number, ago=clock.utc_now() - at))
    for day in reversed(days):
        assert (await idle.call("GET", f"/content/summary/{day}", user=user)).status == 200
    body = (await idle.call("GET", "/metadata", user=user)).body
    daily = next(e for e in body["available_endpoints"] if e["path"] == "/content/summary/daily")
    assert daily["available_dates"] == [day.isoformat() for day in days]
    assert daily["latest_summary"] == days[0].isoformat()
    assert DATE.fullmatch(daily["latest_summary"])
    assert body["statistics"]["summaries_generated"] == 3


async def past_this_second() -> None:
    """Waits until instants in whole seconds differ from now."""
    await asyncio.sleep(1.01)

"""`GET /content/recent`: shape, parameters, order and filters."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.conformance.seeds import assert_error, assert_shaped, example, seconds_from_now
from tests.conformance.users import connect, store, story, watch
from tests.service import DOORS, Door, Service

Json = Any

ITEM_KEYS = {
    "id",
    "platform_id",
    "timestamp",
    "content",
    "author",
    "metrics",
    "ai_tags",
    "raw_data",
    "source",
    "title",
    "url",
    "kind",
    "thread_id",
}
METADATA_KEYS = {"query_time", "freshness", "completeness", "warnings", "count", "has_more"}


@pytest.mark.parametrize("door", DOORS)
async def test_the_answer_has_the_seeds_shape(shared: Service, reader: str, door: Door) -> None:
    path = "/content/recent?hours=48&include_raw=true&limit=500"
    answer = await shared.call("GET", path, user=reader, door=door)
    assert answer.status == 200
    assert set(answer.body) == {"data", "metadata"}
    for item in answer.body["data"]:
        like = example("recent")["data"][0]
        like["metrics"] = dict.fromkeys(item["metrics"], 1.0)  # a mail has none
        assert_shaped(item, like)
        assert set(item) <= ITEM_KEYS
        assert item["id"].startswith("item_")
        assert isinstance(item["raw_data"], dict)
        assert item["raw_data"]
    about = answer.body["metadata"]
    assert_shaped(about, example("recent")["metadata"])
    assert set(about) == METADATA_KEYS
    assert (about["completeness"], about["warnings"]) == (1.0, [])
    assert about["count"] == len(answer.body["data"]) > 100
    assert -30 < seconds_from_now(about["query_time"]) <= 0
    assert {item["source"] for item in answer.body["data"]} == {
        "email",
        "github",
        "rss",
        "x",
        "youtube",
    }


async def test_raw_data_come_only_where_they_are_asked_for(shared: Service, reader: str) -> None:
    for query in ("", "?include_raw=false"):
        answer = await shared.call("GET", f"/content/recent{query}", user=reader)
        assert answer.body["data"]
        assert all("raw_data" not in item for item in answer.body["data"])


async def test_items_come_newest_first(shared: Service, reader: str) -> None:
    answer = await shared.call("GET", "/content/recent?hours=168&limit=500", user=reader)
    keys = [(item["timestamp"], item["id"]) for item in answer.body["data"]]
    assert all(first > second for first, second in pairwise(keys))


@pytest.mark.parametrize("door", DOORS)
async def test_without_hours_a_day_is_shown_and_without_a_limit_a_hundred(
    idle: Service, user: str, door: Door
) -> None:
    await watch(idle, user)
    shown = [story(n, ago=timedelta(hours=24) - timedelta(seconds=30 + n)) for n in range(101)]
    hidden = [story(1000, ago=timedelta(hours=24, seconds=30))]
    await store(idle, user, *shown, *hidden)
    first = (await idle.call("GET", "/content/recent", user=user, door=door)).body
    assert (first["metadata"]["count"], first["metadata"]["has_more"]) == (100, True)
    token = first["metadata"]["next_page_token"]
    rest = await idle.call("GET", f"/content/recent?page_token={token}", user=user, door=door)
    assert rest.body["metadata"]["has_more"] is False
    assert "next_page_token" not in rest.body["metadata"]
    numbers = {item["platform_id"] for item in first["data"] + rest.body["data"]}
    assert numbers == {item.platform_id for item in shown}


async def test_hours_bound_what_is_shown(idle: Service, user: str) -> None:
    await watch(idle, user)
    ages = (0.5, 1.5, 24.5, 167.5, 168.5)
    await store(idle, user, *(story(n, ago=timedelta(hours=age)) for n, age in enumerate(ages)))
    for hours, count in ((1, 1), (2, 2), (24, 2), (25, 3), (168, 4)):
        answer = await idle.call("GET", f"/content/recent?hours={hours}", user=user)
        assert answer.body["metadata"]["count"] == count, hours


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("hours=0", "hours"),
        ("hours=169", "hours"),
        ("hours=-1", "hours"),
        ("hours=", "hours"),
        ("hours=1.5", "hours"),
        ("hours=1e2", "hours"),
        ("hours=0x10", "hours"),
        ("hours=+24", "hours"),
        ("hours=%2B24", "hours"),
        ("hours=99999999999999999999", "hours"),
        ("hours=24&hours=24", "hours"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=ten", "limit"),
        ("limit=null", "limit"),
        ("include_raw=yes", "include_raw"),
        ("include_raw=1", "include_raw"),
        ("include_raw=TRUE", "include_raw"),
        ("include_raw=", "include_raw"),
        ("include_raw=true&include_raw=true", "include_raw"),
        ("include_raw", "include_raw"),
        ("hour=24", "hour"),
        ("Hours=24", "Hours"),
        ("offset=1", "offset"),
        ("user_id=reader", "user_id"),
        ("sources=", "sources[0]"),
        ("sources=rss,", "sources[1]"),
        ("sources=nowhere", "sources[0]"),
        ("sources=rss&sources=nowhere", "sources[1]"),
        ("sources=RSS", "sources[0]"),
        ("sources=rss%20", "sources[0]"),
        (f"sources={','.join(['rss'] * 21)}", "sources"),
        (f"page_token={'a' * 1001}", "page_token"),
    ],
)
@pytest.mark.parametrize("door", DOORS)
async def test_a_wrong_parameter_is_named(
    shared: Service, reader: str, door: Door, query: str, field: str
) -> None:
    answer = await shared.call("GET", f"/content/recent?{query}", user=reader, door=door)
    assert_error(answer, "invalid_argument", details={field})


@pytest.mark.parametrize("query", ["hours=1", "hours=168", "limit=1", "limit=500", "page_token="])
async def test_the_ends_of_the_ranges_are_in_them(shared: Service, reader: str, query: str) -> None:
    answer = await shared.call("GET", f"/content/recent?{query}", user=reader)
    assert answer.status == 200, answer.text[:500]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sources=rss", {"rss"}),
        ("sources=rss,x", {"rss", "x"}),
        ("sources=rss&sources=x", {"rss", "x"}),
        ("sources=rss,x&sources=email", {"rss", "x", "email"}),
        ("sources=rss&sources=rss", {"rss"}),
        ("sources=rss%2Cx", {"rss", "x"}),
    ],
)
async def test_sources_are_repeated_or_separated_by_commas(
    shared: Service, reader: str, door: Door, query: str, expected: set[str]
) -> None:
    path = f"/content/recent?hours=168&limit=500&{query}"
    answer = await shared.call("GET", path, user=reader, door=door)
    assert {item["source"] for item in answer.body["data"]} == expected


async def test_what_is_not_known_about_an_item_is_not_printed(idle: Service, user: str) -> None:
    await watch(idle, user)
    await store(idle, user, story(1, title="", author=""))
    answer = await idle.call("GET", "/content/recent?include_raw=true", user=user)
    (item,) = answer.body["data"]
    assert set(item) == ITEM_KEYS - {"raw_data", "title", "url", "thread_id"}
    assert (item["author"], item["metrics"], item["ai_tags"]) == ("", {}, [])
    assert item["kind"] == "article"


async def test_any_text_comes_back_as_it_was_stored(idle: Service, user: str) -> None:
    await watch(idle, user)
    content = 'Zürich \U0001f600 "quoted" \\ <b>&amp;</b> \u2028 \u202e end\n\tof it'
    raw = {"id": "9007199254740993", "n": 1.5, "list": [None, True, {"deep": content}]}
    await store(idle, user, story(1, content=content, raw=raw, metrics={"engagement": 45.0}))
    for door in DOORS:
        answer = await idle.call("GET", "/content/recent?include_raw=true", user=user, door=door)
        (item,) = answer.body["data"]
        assert (item["content"], item["raw_data"]) == (content, raw)
        assert '"engagement":45}' in answer.text.replace(" ", "").replace("45.0", "45")


async def test_before_the_first_sync_there_is_a_warning(idle: Service, user: str) -> None:
    await watch(idle, user)
    about = (await idle.call("GET", "/content/recent", user=user)).body["metadata"]
    assert about["warnings"] == ["not_synced_yet"]
    assert (about["completeness"], about["count"]) == (0.0, 0)
    assert "freshness" not in about


async def test_a_source_that_fails_is_warned_of(shared: Service, user: str) -> None:
    await connect(shared, user, "github", settings={"simulate": "platform_error"})
    await connect(shared, user, "rss")
    await watch(shared, user)
    await shared.synced(user)
    about = (await shared.call("GET", "/content/recent", user=user)).body["metadata"]
    assert about["warnings"] == ["some_data_delayed", "source_failing:github"]
    assert 0 < about["completeness"] < 1

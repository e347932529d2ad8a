"""From an item as a source yields it to a row that the database takes."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_grpc.feed import ingesting
from distill_grpc.sources.base import Item

NOW = datetime(2026, 11, 20, 12, 0, 0, 999_999, tzinfo=UTC)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)

any_text = st.text(st.characters(codec=None), max_size=40)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=10,
)


def rows(*items: Item, since: datetime = LONG_AGO) -> list[dict[str, Any]]:
    return ingesting.rows("rss", items, since=since, now=NOW)


def item(platform_id: str = "1", **values: Any) -> Item:
    return Item(**{"platform_id": platform_id, "published_at": NOW, "content": "said", **values})


def raw_of(row: dict[str, Any]) -> Any:
    return orjson.loads(orjson.dumps(row["raw"]))


@given(any_text.filter(lambda text: text.strip("\x00")), any_text, any_text, any_json)
def test_whatever_a_platform_says_becomes_json_that_postgresql_takes(
    platform_id: str, content: str, author: str, raw: Any
) -> None:
    made = rows(item(platform_id, content=content, author=author, raw=raw, tags=(content, author)))
    text = orjson.dumps(made).decode()  # refuses lone surrogates itself
    assert "\\u0000" not in text
    assert "\x00" not in text


@pytest.mark.parametrize("platform_id", ["", "\x00", "\ud800"])
def test_an_item_without_an_id_is_left_out_and_the_rest_is_kept(platform_id: str) -> None:
    assert [row["platform_id"] for row in rows(item(platform_id), item("2"))] == ["2"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"published_at": NOW.replace(tzinfo=None)},
        {"published_at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))},
        {"content": None},
        {"tags": (1,)},
        {"metrics": None},
        {"metrics": {"likes": "many"}},
        {"metrics": {"likes": 10**400}},
    ],
)
def test_an_item_of_a_wrong_shape_is_left_out_and_the_rest_is_kept(wrong: dict[str, Any]) -> None:
    assert [row["platform_id"] for row in rows(item("1", **wrong), item("2"))] == ["2"]


@given(st.text(min_size=1, max_size=2000).filter(lambda text: text.replace("\x00", "")))
def test_an_id_fits_the_index_and_differs_where_the_platforms_differ(platform_id: str) -> None:
    (row,) = rows(item(platform_id))
    assert 0 < len(row["platform_id"].encode()) <= ingesting.MAX_PLATFORM_ID
    (other,) = rows(item(platform_id + "x"))
    assert other["platform_id"] != row["platform_id"]
    assert other["id"] != row["id"]


def test_an_item_keeps_its_id_and_has_another_at_another_source() -> None:
    assert ingesting.item_id("rss", "1") == ingesting.item_id("rss", "1")
    assert ingesting.item_id("rss", "1") != ingesting.item_id("x", "1")


def test_the_last_of_two_items_with_one_id_wins() -> None:
    (row,) = rows(item("1", content="first"), item("1", content="second"))
    assert row["content"] == "second"


def test_a_date_in_the_future_or_none_becomes_now_in_whole_seconds() -> None:
    future, none = rows(
        item("1", published_at=NOW + timedelta(days=400)), item("2", published_at=None)
    )
    assert future["published_at"] == none["published_at"] == NOW.replace(microsecond=0)


def test_items_before_the_window_are_left_out() -> None:
    start = NOW.replace(microsecond=0) - timedelta(days=1)
    old = item("old", published_at=start - timedelta(seconds=1))
    assert [
        row["platform_id"] for row in rows(old, item("1", published_at=start), since=start)
    ] == ["1"]


def test_long_texts_are_cut_and_a_raw_that_is_too_large_is_not_kept() -> None:
    (row,) = rows(
        item(
            content="c" * 200_000, title="t" * 5_000, url="u" * 5_000, raw={"body": "r" * 2_000_000}
        )
    )
    assert len(row["content"]) == ingesting.MAX_CONTENT
    assert len(row["title"]) == 1_000
    assert len(row["url"]) == 2_000
    assert raw_of(row) is None


def test_a_raw_that_json_cannot_hold_costs_nobody_the_item() -> None:
    deep: Any = "bottom"
    for _ in range(100_000):
        deep = [deep]
    first, second = rows(item("1", raw={"bytes": b"\x00"}), item("2", raw=deep))
    assert raw_of(first) is None
    assert raw_of(second) is None


def test_numbers_beyond_64_bits_stay_exact_as_text() -> None:
    (row,) = rows(item(raw={"id": 2**70, "small": 2**60, "yes": True}))
    assert raw_of(row) == {"id": str(2**70), "small": 2**60, "yes": True}


def test_metrics_that_are_no_numbers_are_left_out() -> None:
    (row,) = rows(item(metrics={"likes": 3, "rate": math.nan, "reach": math.inf}))
    assert row["metrics"] == {"likes": 3.0}


def test_tags_are_lower_case_joined_by_dashes_and_there_once() -> None:
    (row,) = rows(
        item(tags=("Open Source", " open\tsource ", "KÜCHE", "", "\x00", *map(str, range(50))))
    )
    assert row["ai_tags"][:2] == ["open-source", "küche"]
    assert len(row["ai_tags"]) == ingesting.MAX_TAGS
    assert all(row["ai_tags"])


def test_the_hash_changes_with_what_is_shown_and_not_with_the_raw() -> None:
    def seen(**values: Any) -> str:
        return str(rows(item(**values))[0]["content_hash"])

    same = seen(content="a", raw={"views": 1}, metrics={"b": 1, "a": 2})
    assert same == seen(content="a", raw={"views": 2}, metrics={"a": 2, "b": 1})
    assert same != seen(content="b", metrics={"b": 1, "a": 2})
    assert same != seen(content="a", metrics={"b": 1, "a": 3})


@given(any_text, st.integers(1, 100))
def test_plain_text_is_one_storable_line(text: str, limit: int) -> None:
    line = ingesting.plain(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1 or not set(line) & set("\n\r\t")
    json.dumps(line).encode()
    line.encode()

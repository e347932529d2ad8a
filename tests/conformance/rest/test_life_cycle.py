"""Watch and unwatch through both doors, in the seed's words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.conformance.seeds import assert_error, example, instant, seconds_from_now
from tests.conformance.users import collected, connect, watch
from tests.service import DOORS, Door, Service

Json = Any


@pytest.mark.parametrize("door", DOORS)
async def test_a_new_watch_is_201_and_a_second_one_200(
    shared: Service, user: str, door: Door
) -> None:
    first = await shared.call("POST", "/watch", user=user, door=door)
    assert first.status == 201
    assert set(first.body) == set(example("watch_created"))
    assert first.body["status"] == "watching"
    assert first.body["backfill_status"] == "queued"
    assert -30 < seconds_from_now(first.body["since"]) <= 0
    assert instant(first.body["next_sync"]) - instant(first.body["since"]) == timedelta(minutes=30)
    await shared.synced(user)
    second = await shared.call("POST", "/watch", user=user, door=door)
    assert second.status == 200
    assert set(second.body) == set(example("watch_already"))
    assert second.body["status"] == "already_watching"
    assert second.body["since"] == first.body["since"]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("body", [None, {}, {"options": None}, {"options": {}}])
async def test_every_option_may_be_left_out(
    idle: Service, user: str, door: Door, body: Json
) -> None:
    assert (await idle.call("POST", "/watch", body, user=user, door=door)).status == 201


@pytest.mark.parametrize(
    ("frequency", "apart"),
    [
        ("5m", timedelta(minutes=5)),
        ("30m", timedelta(minutes=30)),
        ("1440m", timedelta(hours=24)),
        ("1h", timedelta(hours=1)),
        ("24h", timedelta(hours=24)),
    ],
)
async def test_the_next_sync_comes_after_the_chosen_time(
    idle: Service, user: str, frequency: str, apart: timedelta
) -> None:
    answer = await watch(idle, user, sync_frequency=frequency)
    assert instant(answer.body["next_sync"]) - instant(answer.body["since"]) == apart


@pytest.mark.parametrize("days", [1, 30])
async def test_the_first_sync_goes_back_as_far_as_asked(
    shared: Service, user: str, days: int
) -> None:
    # Items stay for seven days, so that is how far back they can be seen.
    body = await collected(shared, user, "rss", backfill_days=days)
    search = next(e for e in body["available_endpoints"] if e["path"] == "/content/search")
    span = -seconds_from_now(search["date_range"]["start"])
    assert span <= timedelta(days=days).total_seconds() + 60
    assert span > timedelta(days=days - 1).total_seconds()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"backfill_days": 0}, "options.backfill_days"),
        ({"backfill_days": 31}, "options.backfill_days"),
        ({"backfill_days": -1}, "options.backfill_days"),
        ({"backfill_days": 2**40}, "options.backfill_days"),
        ({"backfill_days": 1.5}, "options.backfill_days"),
        ({"backfill_days": "7"}, "options.backfill_days"),
        ({"backfill_days": True}, "options.backfill_days"),
        ({"backfill_days": [7]}, "options.backfill_days"),
        ({"sync_frequency": "4m"}, "options.sync_frequency"),
        ({"sync_frequency": "1441m"}, "options.sync_frequency"),
        ({"sync_frequency": "25h"}, "options.sync_frequency"),
        ({"sync_frequency": "0h"}, "options.sync_frequency"),
        ({"sync_frequency": "030m"}, "options.sync_frequency"),
        ({"sync_frequency": "1d"}, "options.sync_frequency"),
        ({"sync_frequency": "300s"}, "options.sync_frequency"),
        ({"sync_frequency": "30 m"}, "options.sync_frequency"),
        ({"sync_frequency": "30m\n"}, "options.sync_frequency"),
        ({"sync_frequency": "\u0663\u0660m"}, "options.sync_frequency"),
        ({"sync_frequency": "-30m"}, "options.sync_frequency"),
        ({"sync_frequency": ""}, "options.sync_frequency"),
        ({"sync_frequency": 30}, "options.sync_frequency"),
        ({"backfill": 7}, "options.backfill"),
        ({"backfillDays": 7}, "options.backfillDays"),
    ],
)
@pytest.mark.parametrize("door", DOORS)
async def test_an_option_out_of_its_range_is_named_and_nothing_begins(
    idle: Service, user: str, door: Door, options: Json, field: str
) -> None:
    answer = await idle.call("POST", "/watch", {"options": options}, user=user, door=door)
    assert_error(answer, "invalid_argument", details={field})
    assert (await idle.call("POST", "/unwatch", user=user)).body == {"status": "not_watching"}


@pytest.mark.parametrize("body", [{"option": {}}, {"options": []}, {"options": "7"}, {"watch": 1}])
async def test_a_body_of_another_shape_is_refused(idle: Service, user: str, body: Json) -> None:
    answer = await idle.call("POST", "/watch", body, user=user)
    assert_error(answer, "invalid_argument", details=set(body))


async def test_every_wrong_option_is_named_at_once(idle: Service, user: str) -> None:
    options = {"backfill_days": 0, "sync_frequency": "1s"}
    answer = await idle.call("POST", "/watch", {"options": options}, user=user)
    fields = {"options.backfill_days", "options.sync_frequency"}
    assert_error(answer, "invalid_argument", details=fields)


async def test_a_second_watch_takes_over_the_options_that_it_names(
    idle: Service, user: str
) -> None:
    first = await watch(idle, user, sync_frequency="6h", backfill_days=2)
    assert instant(first.body["next_sync"]) - instant(first.body["since"]) == timedelta(hours=6)
    options = {"options": {"sync_frequency": "10m"}}
    second = await idle.call("POST", "/watch", options, user=user)
    assert second.status == 200
    sooner = instant(second.body["next_sync"]) - instant(first.body["since"])
    assert timedelta(minutes=10) <= sooner < timedelta(minutes=11)
    third = await idle.call("POST", "/watch", user=user)
    assert third.body["next_sync"] == second.body["next_sync"]
    assert await stored_options(idle, user) == (2, 600)


async def test_a_second_watch_with_a_wrong_option_changes_nothing(idle: Service, user: str) -> None:
    await watch(idle, user, sync_frequency="6h", backfill_days=2)
    options = {"options": {"sync_frequency": "10m", "backfill_days": 99}}
    answer = await idle.call("POST", "/watch", options, user=user)
    assert_error(answer, "invalid_argument", details={"options.backfill_days"})
    assert await stored_options(idle, user) == (2, 6 * 3600)


@pytest.mark.parametrize("door", DOORS)
async def test_unwatch_says_how_long_and_what_is_kept(
    shared: Service, user: str, door: Door
) -> None:
    await collected(shared, user, "rss")
    await age(shared, user, "2 days 3 hours 20 minutes")
    answer = await shared.call("POST", "/unwatch", user=user, door=door)
    assert answer.status == 200
    assert answer.body == example("unwatch")
    again = await shared.call("POST", "/unwatch", user=user, door=door)
    assert again.status == 200
    assert again.body == {"status": "not_watching"}


async def test_unwatch_of_a_stranger_is_no_error(idle: Service, user: str) -> None:
    answer = await idle.call("POST", "/unwatch", {}, user=user)
    assert (answer.status, answer.body) == (200, {"status": "not_watching"})


async def test_unwatch_takes_no_options(idle: Service, user: str) -> None:
    answer = await idle.call("POST", "/unwatch", {"force": True}, user=user)
    assert_error(answer, "invalid_argument", details={"force"})


@pytest.mark.parametrize("door", DOORS)
async def test_who_left_is_not_watching(idle: Service, user: str, door: Door) -> None:
    await watch(idle, user)
    await idle.call("POST", "/unwatch", user=user)
    for method, path, body in (
        ("POST", "/sync", None),
        ("GET", "/content/recent", None),
        ("POST", "/content/search", {"query": "news"}),
        ("GET", "/content/summary/daily", None),
    ):
        answer = await idle.call(method, path, body, user=user, door=door)
        assert_error(answer, "not_watching", details={})
    metadata = await idle.call("GET", "/metadata", user=user, door=door)
    assert metadata.body["user_status"] == {"watching": False}


async def test_watching_again_brings_the_items_back(shared: Service, user: str) -> None:
    await collected(shared, user, "rss")
    path = "/content/recent?hours=168&limit=500"
    before = await shared.call("GET", path, user=user)
    assert before.body["data"]
    await shared.call("POST", "/unwatch", user=user)
    again = await shared.call("POST", "/watch", user=user)
    assert (again.status, again.body["status"]) == (201, "watching")
    after = await shared.call("GET", path, user=user)
    ids = [item["id"] for item in after.body["data"]]
    assert [item["id"] for item in before.body["data"]] == ids[-len(before.body["data"]) :]


async def test_a_sync_of_who_leaves_is_ended_and_writes_nothing_more(
    shared: Service, user: str
) -> None:
    await connect(shared, user, settings={"pages": 10, "delay": 0.1})
    await watch(shared, user)
    refused = await shared.call("POST", "/sync", user=user)
    job = refused.body["details"]["job_id"]
    await shared.call("POST", "/unwatch", user=user)
    ended = (await shared.call("GET", f"/sync/{job}", user=user)).body
    assert ended["status"] == "skipped"
    assert ended["progress"] == 1.0
    metadata = (await shared.call("GET", "/metadata", user=user)).body
    assert metadata["user_status"] == {"watching": False}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("path", ["/watch", "/sync"])
async def test_without_credits_nothing_is_begun(
    idle: Service, user: str, door: Door, path: str
) -> None:
    token = idle.token(user, credits=False)
    headers = {"Authorization": f"Bearer {token}"}
    answer = await idle.call("POST", path, door=door, headers=headers)
    body = assert_error(answer, "insufficient_credits", details={})
    assert answer.status == 402
    assert body["user_action_required"] is True
    # What costs nothing is open: leaving, for one.
    left = await idle.call("POST", "/unwatch", door=door, headers=headers)
    assert left.body == {"status": "not_watching"}


@pytest.mark.parametrize("door", DOORS)
async def test_a_watch_needs_a_connected_platform(real: Service, user: str, door: Door) -> None:
    answer = await real.call("POST", "/watch", user=user, door=door)
    body = assert_error(answer, "no_platform_auth", details={})
    assert answer.status == 403
    assert body["user_action_required"] is True
    await connect(real, user, settings={"feeds": ["https://feed.example/a.xml"]})
    assert (await real.call("POST", "/watch", user=user, door=door)).status == 201
    deleted = await real.call("DELETE", "/connections/rss", user=user)
    assert deleted.status == 200


async def stored_options(service: Service, user: str) -> tuple[int, int]:
    """Days and seconds."""
    query = "SELECT backfill_days, sync_interval FROM watches WHERE user_id = %s"
    async with await psycopg.AsyncConnection.connect(service.settings.database_url) as connection:
        row = await (await connection.execute(query, (user,))).fetchone()
        assert row is not None
        return row[0], row[1]


async def age(service: Service, user: str, interval: str) -> None:
    """Makes a watch older."""
    query = "UPDATE watches SET since = since - %s::interval WHERE user_id = %s"
    async with await psycopg.AsyncConnection.connect(service.settings.database_url) as connection:
        await connection.execute(query, (interval, user))

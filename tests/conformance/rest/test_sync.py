"""Syncs on demand: what is accepted, what is refused and until when, and how a sync goes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from distill_grpc.proto import contract
from tests.conformance.seeds import (
    assert_error,
    assert_shaped,
    example,
    instant,
    seconds_from_now,
)
from tests.conformance.users import collected, connect, syncing, watch
from tests.service import DOORS, Door, Service

Json = Any

DATA_TYPES = [name for rpc in contract.rpcs() for name in rpc.data_types]
JOB_KEYS = {
    "job_id",
    "status",
    "trigger",
    "queued_at",
    "started_at",
    "progress",
    "items_new",
    "items_updated",
    "items_deleted",
    "sources",
}
SOURCE_KEYS = {
    "source",
    "status",
    "items_new",
    "items_updated",
    "items_deleted",
    "parts_done",
    "parts_total",
    "parts_failed",
}


@pytest.mark.parametrize("door", DOORS)
async def test_an_accepted_sync_is_202_and_runs(shared: Service, user: str, door: Door) -> None:
    await collected(shared, user, "rss")
    answer = await shared.call("POST", "/sync", {"force": True}, user=user, door=door)
    assert answer.status == 202
    assert set(answer.body) == set(example("sync_accepted"))
    assert_shaped(answer.body, example("sync_accepted"))
    assert answer.body["status"] == "syncing"
    assert answer.body["job_id"].startswith("sync_")
    assert seconds_from_now(answer.body["estimated_completion"]) > 0
    done = await shared.job_done(answer.body["job_id"], user)
    assert (done["status"], done["trigger"]) == ("completed", "request")


@pytest.mark.parametrize("door", DOORS)
async def test_a_second_sync_is_refused_while_one_goes_on(
    shared: Service, user: str, door: Door
) -> None:
    job = await syncing(shared, user)
    for body in (None, {"force": True}):
        answer = await shared.call("POST", "/sync", body, user=user, door=door)
        told = assert_error(answer, "sync_in_progress", details={"job_id", "status"})
        assert told["details"]["job_id"] == job
        assert told["details"]["status"] in {"queued", "running"}
        assert told["user_action_required"] is False


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("body", [None, {}, {"force": False}, {"force": None}])
async def test_a_sync_just_after_another_is_rate_limited_with_an_instant(
    shared: Service, reader: str, door: Door, body: Json
) -> None:
    answer = await shared.call("POST", "/sync", body, user=reader, door=door)
    told = assert_error(answer, "rate_limited")
    assert_shaped(told, example("error_rate_limited"))
    assert told["user_action_required"] is False
    wait = seconds_from_now(told["retry_after"])
    assert 0 < wait <= 3600
    assert abs(int(answer.headers["Retry-After"]) - wait) < 3
    metadata = (await shared.call("GET", "/metadata", user=reader)).body["user_status"]
    apart = instant(told["retry_after"]) - instant(metadata["last_sync"])
    assert apart.total_seconds() == 3600  # as this operator chose


async def test_force_does_not_bypass_the_window_of_a_platform(shared: Service, user: str) -> None:
    await connect(shared, user, settings={"simulate": "rate_limited"})
    await watch(shared, user)
    await shared.synced(user)
    answer = await shared.call("POST", "/sync", {"force": True}, user=user)
    told = assert_error(answer, "rate_limited")
    assert 14 * 60 < seconds_from_now(told["retry_after"]) <= 15 * 60 + 1
    assert "Platform" in told["message"]


@pytest.mark.parametrize("door", DOORS)
async def test_who_is_not_watched_cannot_sync(idle: Service, user: str, door: Door) -> None:
    answer = await idle.call("POST", "/sync", {"force": True}, user=user, door=door)
    assert_error(answer, "not_watching", details={})


async def test_who_disconnected_everything_has_no_platform(shared: Service, user: str) -> None:
    await collected(shared, user, "rss")
    await shared.call("DELETE", "/connections/rss", user=user)
    answer = await shared.call("POST", "/sync", {"force": True}, user=user)
    assert_error(answer, "no_platform_auth", details={})


@pytest.mark.parametrize("types", [[], DATA_TYPES[:1], DATA_TYPES, ["content/summary/weekly"]])
async def test_types_of_the_capabilities_are_accepted(
    shared: Service, user: str, types: list[str]
) -> None:
    await collected(shared, user, "rss", backfill_days=1)
    body = {"force": True, "types": types}
    answer = await shared.call("POST", "/sync", body, user=user)
    assert answer.status == 202, answer.text[:500]
    assert (await shared.job_done(answer.body["job_id"], user))["status"] == "completed"


async def test_a_summary_that_was_asked_for_by_its_type_is_made(shared: Service, user: str) -> None:
    await collected(shared, user, "rss")
    body = {"force": True, "types": ["content/summary/weekly"]}
    answer = await shared.call("POST", "/sync", body, user=user)
    await shared.job_done(answer.body["job_id"], user)
    metadata = (await shared.call("GET", "/metadata", user=user)).body
    weekly = next(
        e for e in metadata["available_endpoints"] if e["path"] == "/content/summary/weekly"
    )
    assert len(weekly["available_dates"]) == 1
    assert weekly["latest_summary"] == weekly["available_dates"][0]
    assert metadata["statistics"]["summaries_generated"] == 1


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "types", [["content"], ["content/recent", "x"], [""], ["CONTENT/RECENT"], ["content/recent/"]]
)
async def test_other_types_are_named_with_those_that_are_allowed(
    shared: Service, reader: str, door: Door, types: list[str]
) -> None:
    answer = await shared.call("POST", "/sync", {"types": types}, user=reader, door=door)
    wrong = f"types[{len(types) - 1}]"
    told = assert_error(answer, "invalid_argument", details={wrong})
    assert all(name in told["details"][wrong] for name in DATA_TYPES)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"force": 1}, "force"),
        ({"force": "true"}, "force"),
        ({"types": "content/recent"}, "types"),
        ({"types": [1]}, "types[0]"),
        ({"types": [None]}, "types[0]"),
        ({"types": ["content/recent"] * 21}, "types"),
        ({"now": True}, "now"),
    ],
)
async def test_a_wrong_field_is_named(shared: Service, reader: str, body: Json, field: str) -> None:
    answer = await shared.call("POST", "/sync", body, user=reader)
    assert_error(answer, "invalid_argument", details={field})


@pytest.mark.parametrize("door", DOORS)
async def test_a_sync_can_be_followed_to_its_end(shared: Service, user: str, door: Door) -> None:
    job = await syncing(shared, user, pages=4, delay=0.2)
    seen: list[Json] = []
    async with asyncio.timeout(60):
        while not seen or seen[-1]["status"] in {"queued", "running"}:
            answer = await shared.call("GET", f"/sync/{job}", user=user, door=door)
            assert answer.status == 200
            seen.append(answer.body)
            await asyncio.sleep(0.05)
    running = [body for body in seen if body["status"] == "running"]
    assert running
    for body in running:
        assert set(body) == {*JOB_KEYS, "estimated_completion"}
        assert 0 <= body["progress"] < 1
    progress = [body["progress"] for body in seen]
    assert progress == sorted(progress)
    collected_so_far = [body["items_new"] for body in seen]
    assert collected_so_far == sorted(collected_so_far)
    assert len(set(collected_so_far)) > 2  # page by page
    last = seen[-1]
    assert set(last) == {*JOB_KEYS, "finished_at"}
    assert (last["job_id"], last["status"], last["trigger"]) == (job, "completed", "watch")
    assert last["progress"] == 1.0
    assert instant(last["queued_at"]) <= instant(last["started_at"])
    assert instant(last["started_at"]) <= instant(last["finished_at"])
    (source,) = last["sources"]
    assert set(source) == SOURCE_KEYS
    assert (source["source"], source["status"]) == ("rss", "completed")
    assert (source["parts_done"], source["parts_total"], source["parts_failed"]) == (1, 1, 0)
    assert source["items_new"] == last["items_new"] > 0


async def test_a_source_that_fails_is_told_apart_from_those_that_do_not(
    shared: Service, user: str
) -> None:
    await connect(shared, user, "github", settings={"simulate": "platform_error"})
    await connect(shared, user, "x", settings={"simulate": "token_expired"})
    await connect(shared, user, "email")
    await watch(shared, user)
    metadata = await shared.synced(user)
    assert metadata["user_status"]["last_sync_status"] == "partial"
    answer = await shared.call("POST", "/sync", {"force": True}, user=user)
    done = await shared.job_done(answer.body["job_id"], user)
    assert done["status"] == "partial"
    by_name = {source["source"]: source for source in done["sources"]}
    assert by_name["email"]["status"] == "completed"
    assert (by_name["github"]["status"], by_name["github"]["error"]) == ("failed", "platform_error")
    assert (by_name["x"]["status"], by_name["x"]["error"]) == ("failed", "token_expired")
    assert all(by_name[name]["message"] for name in ("github", "x"))


async def test_a_sync_in_which_everything_fails_has_failed(shared: Service, user: str) -> None:
    await connect(shared, user, settings={"simulate": "no_platform_auth"})
    await watch(shared, user)
    metadata = await shared.synced(user)
    assert metadata["user_status"]["last_sync_status"] == "failed"
    assert metadata["sources"][0]["error"] == "no_platform_auth"


@pytest.mark.parametrize("door", DOORS)
async def test_ids_that_are_unknown_malformed_or_foreign_cannot_be_told_apart(
    shared: Service, user: str, door: Door
) -> None:
    foreign = await syncing(shared, user)
    unknown = "sync_" + "a" * 26
    ids = [foreign, unknown, "sync_abc123", "sync_", "x", "sync", foreign[:-1], foreign + "a"]
    ids += [foreign.replace("sync_", "job_"), "sync_" + "1" * 26, "%C3%BC", "..%2F..", "sync_%20"]
    answers = [
        await shared.call("GET", f"/sync/{one}", user="somebody-else", door=door) for one in ids
    ]
    for answer in answers:
        assert_error(answer, "not_found", details={})
    assert len({answer.text for answer in answers}) == 1


async def test_an_id_longer_than_any_is_refused_by_its_rule(shared: Service, reader: str) -> None:
    answer = await shared.call("GET", f"/sync/{'a' * 65}", user=reader)
    assert_error(answer, "invalid_argument", details={"job_id"})

"""Calls of one user at the same time: each answer is one of those that the seeds know."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import Any

import psycopg
import pytest

from tests.conformance.seeds import assert_error
from tests.conformance.users import collected, connect, watch
from tests.service import DOORS, Answer, Service

Json = Any

AT_ONCE = 16


async def at_once(service: Service, user: str, path: str, body: Json = None) -> list[Answer]:
    """The same call many times side by side, through every door in turn."""
    for door in DOORS:
        await service.address(door)  # a door that starts first would come too late
    doors = itertools.islice(itertools.cycle(DOORS), AT_ONCE)
    calls = [service.call("POST", path, body, user=user, door=door) for door in doors]
    return await asyncio.gather(*calls)


async def test_of_many_first_watches_one_is_new(shared: Service, user: str) -> None:
    answers = await at_once(shared, user, "/watch")
    assert Counter(answer.status for answer in answers) == {201: 1, 200: AT_ONCE - 1}
    assert len({answer.body["since"] for answer in answers}) == 1
    # One first sync, which none of the others disturbed.
    metadata = await shared.synced(user)
    assert metadata["user_status"]["last_sync_status"] == "completed"
    assert {source["state"] for source in metadata["sources"]} == {"ok"}
    assert await count_runs(shared, user) == 1


async def test_of_many_watches_after_leaving_one_is_new(idle: Service, user: str) -> None:
    await watch(idle, user)
    await idle.call("POST", "/unwatch", user=user)
    answers = await at_once(idle, user, "/watch")
    assert Counter(answer.status for answer in answers) == {201: 1, 200: AT_ONCE - 1}


async def test_of_many_unwatches_one_ends_the_watch(idle: Service, user: str) -> None:
    await watch(idle, user)
    answers = await at_once(idle, user, "/unwatch")
    said = Counter(answer.body["status"] for answer in answers)
    assert said == {"unwatched": 1, "not_watching": AT_ONCE - 1}
    assert {answer.status for answer in answers} == {200}


async def test_of_many_syncs_one_is_accepted(shared: Service, user: str) -> None:
    feeds = ["https://slow.example/feed.xml"]
    await connect(shared, user, settings={"feeds": feeds, "delay": 1.0})
    await watch(shared, user)
    await shared.synced(user)
    answers = await at_once(shared, user, "/sync", {"force": True})
    accepted = [answer for answer in answers if answer.status == 202]
    assert len(accepted) == 1
    job = accepted[0].body["job_id"]
    for answer in answers:
        if answer is not accepted[0]:
            body = assert_error(answer, "sync_in_progress", details={"job_id", "status"})
            assert body["details"]["job_id"] == job
    assert (await shared.job_done(job, user))["status"] == "completed"


async def test_many_connections_at_once_leave_one(idle: Service, user: str) -> None:
    body = {"settings": {"feeds": ["https://one.example/feed.xml"]}}
    calls = [idle.call("PUT", "/connections/rss", body, user=user) for _ in range(AT_ONCE)]
    assert {answer.status for answer in await asyncio.gather(*calls)} == {200}
    listed = (await idle.call("GET", "/connections", user=user)).body["connections"]
    assert [(one["source"], len(one["parts"])) for one in listed] == [("rss", 1)]


@pytest.mark.parametrize("attempt", range(3))
async def test_whatever_is_mixed_nothing_breaks(shared: Service, user: str, attempt: int) -> None:
    """Coming, going, syncing and connecting while a worker reads: no deadlock, no fault."""
    await collected(shared, user, "rss")
    body = {"settings": {"pages": 2}}
    kinds = [
        ("POST", "/watch", None, {200, 201}),
        ("POST", "/unwatch", None, {200}),
        ("POST", "/sync", {"force": True}, {202, 404, 409}),
        ("PUT", "/connections/rss", body, {200}),
        ("GET", "/metadata", None, {200}),
        ("GET", "/content/summary/weekly", None, {200, 404}),
    ]
    calls = [kinds[i % len(kinds)] for i in range(24)]
    answers = await asyncio.gather(
        *(shared.call(method, path, body, user=user) for method, path, body, _ in calls)
    )
    for (method, path, _, allowed), answer in zip(calls, answers, strict=True):
        assert answer.status in allowed, f"{method} {path}: {answer.text}"
    await shared.call("POST", "/watch", user=user)
    await settled(shared, user)


@pytest.mark.parametrize(
    ("statement", "delay"),
    [
        # What `/unwatch` does while a sync ends.
        ("UPDATE sync_runs SET status = status WHERE user_id = %s", 0.3),
        # What `/watch` does while a connection is changed.
        ("UPDATE connections SET settings = settings WHERE user_id = %s", None),
    ],
)
async def test_who_holds_the_watch_is_never_in_a_deadlock(
    shared: Service, user: str, statement: str, delay: float | None
) -> None:
    await connect(shared, user, settings={"pages": 1, "delay": delay or 0})
    await watch(shared, user)
    if delay is None:
        await shared.synced(user)
    async with await psycopg.AsyncConnection.connect(shared.settings.database_url) as held:
        await held.execute("SELECT 1 FROM watches WHERE user_id = %s FOR UPDATE", (user,))
        other = asyncio.create_task(
            shared.call("PUT", "/connections/rss", {"settings": {}}, user=user)
            if delay is None
            else shared.synced(user)
        )
        await somebody_waits_for(held)
        await held.execute("SET LOCAL lock_timeout = '500ms'")
        await held.execute(statement, (user,))
    await other


async def somebody_waits_for(connection: psycopg.AsyncConnection[Any]) -> None:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    )
    async with asyncio.timeout(60):
        while True:
            row = await (await connection.execute(query)).fetchone()
            if row is not None and row[0]:
                return
            await asyncio.sleep(0.02)


async def settled(service: Service, user: str) -> None:
    """Waits until a sync can begin and ends well."""
    async with asyncio.timeout(20):
        while True:
            answer = await service.call("POST", "/sync", {"force": True}, user=user)
            if answer.status == 202:
                break
            assert_error(answer, "sync_in_progress")
            await asyncio.sleep(0.1)
    assert (await service.job_done(answer.body["job_id"], user))["status"] == "completed"


async def count_runs(service: Service, user: str) -> int:
    query = "SELECT count(*) FROM sync_runs WHERE user_id = %s"
    async with await psycopg.AsyncConnection.connect(service.settings.database_url) as connection:
        row = await (await connection.execute(query, (user,))).fetchone()
        assert row is not None
        return int(row[0])

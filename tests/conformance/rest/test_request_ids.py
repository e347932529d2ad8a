"""`X-Request-Id`: the client's or a new one, in every answer and in every line of the log."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from structlog.typing import EventDict

from tests.conformance.users import connect, watch
from tests.service import DOORS, TRANSPORTS, Door, Service


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("method", "path", "user", "status"),
    [
        ("GET", "/api", None, 200),
        ("GET", "/metadata", "somebody", 200),
        ("GET", "/metadata", None, 401),
        ("GET", "/sync/unknown", "somebody", 404),
        ("GET", "/nowhere", None, 404),
        ("DELETE", "/watch", None, 405),
        ("GET", "/content/recent?hours=0", "somebody", 400),
        ("OPTIONS", "/watch", None, 204),
        ("GET", "/metrics", None, 200),
    ],
)
async def test_the_id_of_the_client_comes_back(
    idle: Service, door: Door, method: str, path: str, user: str | None, status: int
) -> None:
    given = f"test.{uuid.uuid4()}_1"
    headers = {"X-Request-Id": given}
    answer = await idle.call(method, path, user=user, door=door, headers=headers)
    assert (answer.status, answer.headers["X-Request-Id"]) == (status, given)
    assert len(answer.headers.getall("X-Request-Id")) == 1


@pytest.mark.parametrize("door", DOORS)
async def test_without_one_each_answer_gets_its_own(idle: Service, door: Door) -> None:
    ids = {
        (await idle.call("GET", path, user=None, door=door)).headers["X-Request-Id"]
        for path in ("/api", "/api", "/health", "/nowhere", "/metadata")
    }
    assert len(ids) == 5
    assert all(ids)


@pytest.mark.parametrize(
    "given", ["a b", "x" * 129, "a\tb", '"quoted"', "\u00fc", "a;b", "../x", "{}", "%0a"]
)
@pytest.mark.parametrize("door", DOORS)
async def test_an_id_that_is_no_plain_word_is_replaced(
    idle: Service, door: Door, given: str, log_lines: list[EventDict]
) -> None:
    headers = {"X-Request-Id": given}
    answer = await idle.call("GET", "/api", user=None, door=door, headers=headers)
    made = answer.headers["X-Request-Id"]
    assert made != given
    assert made.isalnum()
    assert {line["request_id"] for line in log_lines} == {made}


@pytest.mark.parametrize("door", TRANSPORTS)
async def test_every_line_of_a_request_carries_its_id(
    idle: Service, user: str, door: Door, log_lines: list[EventDict]
) -> None:
    headers = {"X-Request-Id": f"lines-{user}"}
    for method, path, who in (
        ("POST", "/watch", user),
        ("GET", "/content/recent?hours=0", user),
        ("GET", "/metadata", None),
        ("GET", "/nowhere", None),
    ):
        log_lines.clear()
        await idle.call(method, path, user=who, door=door, headers=headers)
        assert log_lines
        assert {line.get("request_id") for line in log_lines} == {f"lines-{user}"}, log_lines
        assert [line["event"] for line in log_lines].count("http_request") == 1


async def test_the_lines_of_a_job_carry_the_id_of_the_request_that_made_it(
    shared: Service, user: str, log_lines: list[EventDict]
) -> None:
    await connect(shared, user)
    await watch(shared, user)
    await shared.synced(user)
    headers = {"X-Request-Id": f"job-{user}"}
    answer = await shared.call("POST", "/sync", {"force": True}, user=user, headers=headers)
    await shared.job_done(answer.body["job_id"], user)
    finished = [line for line in log_lines if line["event"] == "sync_finished"]
    assert f"job-{user}" in {line.get("request_id") for line in finished}


async def test_ids_of_requests_side_by_side_are_not_mixed_up(
    idle: Service, log_lines: list[EventDict]
) -> None:
    async def one(number: int) -> None:
        mine = f"side-{number}"
        answer = await idle.call(
            "GET",
            "/metadata",
            user=f"side-user-{number}",
            door=DOORS[number % len(DOORS)],
            headers={"X-Request-Id": mine},
        )
        assert answer.headers["X-Request-Id"] == mine

    await asyncio.gather(*(one(number) for number in range(40)))
    told = {(line["user_id"], line["request_id"]) for line in log_lines if line["event"] == "rpc"}
    assert told == {(f"side-user-{n}", f"side-{n}") for n in range(40)}

"""The limit on each user's calls."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.conformance.seeds import assert_error, seconds_from_now
from tests.databases import fresh_database
from tests.service import DOORS, Door, Service, start_service

LIMIT = 5


@pytest.fixture(scope="module")
async def limited(
    postgres: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    folder = tmp_path_factory.mktemp("limited")
    with fresh_database(postgres) as address:
        async with start_service(
            address, folder, mock=True, worker=False, api_calls_per_minute=LIMIT
        ) as running:
            yield running


@pytest.mark.parametrize("door", DOORS)
async def test_after_the_limit_calls_are_refused_until_an_instant(
    limited: Service, user: str, door: Door
) -> None:
    for _ in range(LIMIT):
        assert (await limited.call("GET", "/metadata", user=user, door=door)).status == 200
    answer = await limited.call("GET", "/metadata", user=user, door=door)
    body = assert_error(answer, "rate_limited", details={"limit"})
    assert body["details"]["limit"] == "5 per minute per user"
    assert body["user_action_required"] is False
    wait = seconds_from_now(body["retry_after"])
    assert 0 < wait <= 62
    assert 1 <= int(answer.headers["Retry-After"]) <= 62
    assert abs(int(answer.headers["Retry-After"]) - wait) < 3
    # Others, and what is public, are not touched by it.
    assert (await limited.call("GET", "/metadata", user=f"{user}-other", door=door)).status == 200
    for path in ("/api", "/capabilities", "/health"):
        headers = {"Authorization": f"Bearer {limited.token(user)}"}
        for _ in range(LIMIT + 2):
            assert (await limited.call("GET", path, door=door, headers=headers)).status == 200


async def test_all_doors_and_all_endpoints_count_together(limited: Service, user: str) -> None:
    calls = [
        limited.call("GET", "/metadata", user=user, door="local"),
        limited.call("GET", "/metadata", user=user, door="remote"),
        limited.call("GET", "/connections", user=user, door="local"),
        limited.call(
            "GET", "/content/recent", user=user, door="remote"
        ),  # an error is a call as well
        limited.call("GET", "/content/recent?hours=500", user=user, door="local"),
    ]
    statuses = [answer.status for answer in await asyncio.gather(*calls)]
    assert statuses == [200, 200, 200, 404, 400]
    assert (await limited.call("GET", "/metadata", user=user)).status == 429


async def test_of_many_calls_at_once_exactly_as_many_pass(limited: Service, user: str) -> None:
    calls = [
        limited.call("GET", "/metadata", user=user, door=DOORS[n % len(DOORS)]) for n in range(40)
    ]
    statuses = Counter(answer.status for answer in await asyncio.gather(*calls))
    assert statuses == {200: LIMIT, 429: 40 - LIMIT}


async def test_who_is_refused_at_the_door_spends_nothing(limited: Service, user: str) -> None:
    for _ in range(LIMIT + 1):
        assert (await limited.call("GET", "/metadata", user=None)).status == 401
        headers = {"Authorization": f"Bearer {limited.token(user)[:-2]}"}
        assert (await limited.call("GET", "/metadata", headers=headers)).status == 401
    assert (await limited.call("GET", "/metadata", user=user)).status == 200

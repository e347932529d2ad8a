"""Accounts: what may be registered, what a login tells, and how often it may be tried."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.typing import EventDict

from tests.conformance.calls import PASSWORD
from tests.conformance.publishing.people import as_nobody, person
from tests.service import DOORS, TRANSPORTS, Door, Service, start_service

Json = Any


def account(name: str, **changes: Json) -> Json:
    return {
        "email": f"{name}@example.com",
        "password": PASSWORD,
        "username": name,
        "role": "reader",
        **changes,
    }


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"email": "nobody"}, "email"),
        ({"email": "a@b\r\nBcc: c@example.com"}, "email"),
        ({"email": f"{'a' * 250}@example.com"}, "email"),
        ({"password": "seven77"}, "password"),
        ({"password": "a" * 129}, "password"),
        ({"password": "a\u0301" * 7}, "password"),  # 14 characters as typed, 7 as they are kept
        ({"password": None}, "password"),
        ({"email": "a..b@example.com"}, "email"),  # mail could never go there
        ({"email": ".a@example.com"}, "email"),
        ({"email": "a.@example.com"}, "email"),
        ({"username": "ab"}, "username"),
        ({"username": "a" * 31}, "username"),
        ({"username": "-abc"}, "username"),
        ({"username": "a b c"}, "username"),
        ({"username": "\N{CYRILLIC SMALL LETTER A}dmin"}, "username"),
        ({"role": "admin"}, "role"),
        ({"role": None}, "role"),
        ({"id": "1"}, "id"),
    ],
)
async def test_what_breaks_a_rule_is_refused_by_the_name_of_the_field(
    shared: Service, door: Door, changes: dict[str, Json], field: str
) -> None:
    answer = await as_nobody(
        shared, "POST", "/users/register", account("rules", **changes), door=door
    )
    assert (answer.status, set(answer.body["field_errors"])) == (400, {field})


async def test_a_name_may_change_its_case_but_not_become_anothers(shared: Service) -> None:
    ada, bob = await person(shared), await person(shared)
    path = f"/users/{ada.id}"
    assert (await ada.call("PUT", path, {"username": ada.name.upper()})).status == 200
    taken = await ada.call("PUT", path, {"username": bob.name.upper()})
    assert (taken.status, taken.body["field_errors"]) == (409, {"username": "is taken"})
    body = (await ada.call("PUT", path, {"bio": "a\u202eb\x7f\nc"})).body
    assert (body["username"], body["bio"]) == (ada.name.upper(), "ab\nc")
    assert (await ada.call("PUT", path, {"bio": ""})).body["bio"] == ""


@pytest.mark.parametrize("door", DOORS)
async def test_a_login_does_not_tell_what_was_wrong(shared: Service, door: Door) -> None:
    ada = await person(shared)
    answers = [
        await as_nobody(shared, "POST", "/users/login", told, door=door)
        for told in (
            {"email": f"{ada.name}@example.com", "password": "wrong horse"},
            {"email": f"no-{ada.name}@example.com", "password": PASSWORD},
            {"email": "not an address", "password": "x"},
        )
    ]
    assert {answer.status for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].body["code"] == "INVALID_CREDENTIALS"


async def test_a_login_takes_the_same_time_for_nobody(shared: Service) -> None:
    """Both compute one argon2 hash, tens of milliseconds; without it nobody's would take none."""
    people = [await person(shared) for _ in range(6)]

    async def took(email: str) -> float:
        begin = time.perf_counter()
        told = {"email": email, "password": "wrong horse"}
        assert (await as_nobody(shared, "POST", "/users/login", told)).status == 401
        return time.perf_counter() - begin

    known, unknown = [], []
    for turn in range(4):  # one after the other, so that what the machine does else falls on both
        for one in people:
            known.append(await took(f"{one.name}@example.com"))
            unknown.append(await took(f"no-{turn}-{one.name}@example.com"))
    ratio = statistics.median(unknown) / statistics.median(known)
    assert 0.6 < ratio < 1.6


async def test_hashing_leaves_the_event_loop_free(shared: Service) -> None:
    longest = 0.0
    done = asyncio.Event()

    async def watch() -> None:
        nonlocal longest
        while not done.is_set():
            begin = time.perf_counter()
            await asyncio.sleep(0)
            longest = max(longest, time.perf_counter() - begin)
            await asyncio.sleep(0.001)

    watching = asyncio.create_task(watch())
    told = {"email": "nobody@example.com", "password": "wrong horse"}
    answers = await asyncio.gather(
        *(
            as_nobody(shared, "POST", "/users/login", {**told, "email": f"n{n}@example.com"})
            for n in range(20)
        )
    )
    done.set()
    await watching
    assert {answer.status for answer in answers} == {401}
    assert longest < 0.5


async def test_more_passwords_than_can_be_hashed_soon_are_turned_away(shared: Service) -> None:
    calls = (
        as_nobody(
            shared,
            "POST",
            "/users/login",
            {"email": f"flood-{number}@example.com", "password": "wrong horse"},
        )
        for number in range(120)
    )
    answers = await asyncio.gather(*calls)
    assert {answer.status for answer in answers} == {401, 503}
    refused = next(answer for answer in answers if answer.status == 503)
    assert refused.body["code"] == "UNAVAILABLE"
    assert int(refused.headers["Retry-After"]) >= 1


async def test_no_password_and_no_token_reaches_a_log(
    shared: Service, log_lines: list[EventDict]
) -> None:
    ada = await person(shared)
    told = account("canary-7", password="canary-password")
    await as_nobody(shared, "POST", "/users/register", told)
    await as_nobody(shared, "POST", "/users/login", {**told, "role": "x"})
    text = repr(log_lines)
    assert "rpc" in text
    assert "canary-password" not in text
    assert ada.token not in text


@pytest.fixture
async def limited(database_url: str, tmp_path: Path) -> AsyncIterator[Service]:
    """A service with the limits that operators get."""
    async with start_service(
        database_url, tmp_path, worker=False, logins_per_minute=20, registrations_per_hour=10
    ) as running:
        yield running


async def test_an_account_is_guessed_at_five_times_a_minute_from_everywhere(
    limited: Service,
) -> None:
    told = {"email": "Ada@example.com", "password": "wrong horse"}
    found = []
    for number in range(8):
        spelled = {**told, "email": told["email"].upper() if number % 2 else told["email"]}
        door = TRANSPORTS[number % 2]
        found.append(await as_nobody(limited, "POST", "/users/login", spelled, door=door))
    assert [answer.status for answer in found] == [401] * 5 + [429] * 3
    assert found[-1].body["code"] == "RATE_LIMITED"
    assert 0 < int(found[-1].headers["Retry-After"]) <= 62


async def test_an_address_logs_in_twenty_times_a_minute_whatever_it_claims(
    limited: Service,
) -> None:
    found = []
    for number in range(24):
        told = {"email": f"n{number}@example.com", "password": "wrong horse"}
        headers = {"X-Forwarded-For": f"203.0.113.{number}"}
        path = "/api/v1/users/login"
        found.append(await limited.call("POST", path, told, user=None, headers=headers))
    assert [answer.status for answer in found] == [401] * 20 + [429] * 4


async def test_an_address_makes_ten_accounts_an_hour(limited: Service) -> None:
    found = []
    for number in range(12):
        told = account(f"ten-{number}")
        found.append((await as_nobody(limited, "POST", "/users/register", told)).status)
    assert found == [201] * 10 + [429] * 2


async def test_who_comes_through_a_trusted_proxy_is_counted_by_its_own_address(
    database_url: str, tmp_path: Path
) -> None:
    async with start_service(
        database_url,
        tmp_path,
        worker=False,
        registrations_per_hour=1,
        trusted_proxies="127.0.0.0/8",
    ) as service:
        for door, clients in (
            (
                "local",
                ("198.51.100.1", "198.51.100.2", "198.51.100.1", "2001:db8::1", "2001:db8::2"),
            ),
            ("remote", ("203.0.113.1", "203.0.113.2", "203.0.113.1", "2001:db9::1", "2001:db9::2")),
        ):
            found = []
            for number, client in enumerate(clients):
                # What stands before the proxy's own word is made up.
                headers = {"X-Forwarded-For": f"192.0.2.{number}, {client}"}
                told = account(f"{door}-{number}")
                path = "/api/v1/users/register"
                answer = await service.call(
                    "POST", path, told, user=None, headers=headers, door=door
                )
                found.append(answer.status)
            assert found == [201, 201, 429, 201, 429]


async def test_where_nobody_can_count_nobody_logs_in(database_url: str, tmp_path: Path) -> None:
    async with start_service(
        database_url, tmp_path, worker=False, redis_url="redis://127.0.0.1:1/0"
    ) as service:
        told = {"email": "ada@example.com", "password": "wrong horse"}
        for path, body in (("login", told), ("register", account("ada"))):
            answer = await as_nobody(service, "POST", f"/users/{path}", body)
            assert (answer.status, answer.body["code"]) == (503, "UNAVAILABLE")
        assert (await service.call("GET", "/metadata")).status == 200

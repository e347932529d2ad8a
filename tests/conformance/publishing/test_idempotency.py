"""`Idempotency-Key`: what is repeated with its key happens once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from distill_grpc.db import replies
from distill_grpc.db.engine import create_engine
from distill_grpc.proto import contract
from distill_grpc.rpc.idempotency import KEPT
from tests.conformance.calls import PASSWORD
from tests.conformance.publishing.people import person
from tests.service import DOORS, Answer, Door, Service

Json = Any

KEYED = {
    "Watch",
    "Sync",
    "Register",
    "CreatePost",
    "PublishPost",
    "CreateComment",
    "Subscribe",
}


def key(name: str) -> dict[str, str]:
    return {"Idempotency-Key": name}


async def tell(service: Service, query: str, **values: Json) -> int:
    engine = create_engine(service.settings.database_url or "", pool_size=1)
    async with engine.begin() as connection:
        count = (await connection.execute(text(query), values)).rowcount
    await engine.dispose()
    return count


def test_what_makes_something_takes_a_key() -> None:
    assert {rpc.name for rpc in contract.rpcs() if rpc.keyed} == KEYED


@pytest.mark.parametrize("door", DOORS)
async def test_a_repeated_call_gets_the_first_answer_and_happens_once(
    shared: Service, door: Door
) -> None:
    ada, bob = await person(shared), await person(shared, "reader")
    post = await ada.post()
    draft = await ada.post(publish=False)
    for who, path, body, status in (
        (ada, "/posts", {"title": "T", "content": "C"}, 201),
        (ada, f"/posts/{draft}/publish", None, 200),
        (bob, f"/posts/{post}/comments", {"content": "Once."}, 201),
        (bob, f"/creators/{ada.id}/subscribe", None, 201),
    ):
        first = await who.call("POST", path, body, headers=key(f"k{path}"), door=door)
        again = await who.call("POST", path, body, headers=key(f"k{path}"), door=door)
        assert (first.status, again.status) == (status, status), again.text
        assert again.body == first.body
    assert len((await ada.call("GET", f"/posts/{post}/comments")).body) == 1
    assert len((await ada.call("GET", f"/creators/{ada.id}/posts")).body) == 3


@pytest.mark.parametrize("door", DOORS)
async def test_a_registration_can_be_repeated(shared: Service, door: Door) -> None:
    name = f"again-{door}"
    told = {"email": f"{name}@example.com", "password": PASSWORD, "username": name}
    told["role"] = "reader"
    path = "/api/v1/users/register"
    calls = [
        await shared.call("POST", path, told, user=None, headers=key(name), door=door)
        for _ in range(2)
    ]
    assert [answer.status for answer in calls] == [201, 201]
    assert calls[0].body == calls[1].body
    other = {**told, "password": "another horse"}
    again = await shared.call("POST", path, other, user=None, headers=key(name), door=door)
    assert (again.status, again.body["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


async def rows(service: Service, query: str, **values: Json) -> list[Any]:
    engine = create_engine(service.settings.database_url or "", pool_size=1)
    async with engine.connect() as connection:
        found = list(await connection.execute(text(query), values))
    await engine.dispose()
    return found


@pytest.mark.parametrize("door", DOORS)
async def test_a_key_that_comes_with_something_else_is_refused(shared: Service, door: Door) -> None:
    ada = await person(shared)
    told = {"title": "T", "content": "C"}
    await ada.call("POST", "/posts", told, headers=key("k"), door=door)
    for path, body in (
        ("/posts", {**told, "title": "U"}),
        (f"/posts/{await ada.post(publish=False)}/publish", None),
    ):
        answer = await ada.call("POST", path, body, headers=key("k"), door=door)
        assert (answer.status, answer.body["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_keys_belong_to_their_users(shared: Service) -> None:
    made = []
    for _ in range(2):
        ada = await person(shared)
        told = {"title": "T", "content": "C"}
        made.append((await ada.call("POST", "/posts", told, headers=key("mine"))).body)
    assert made[0]["creator_id"] != made[1]["creator_id"]


async def test_a_call_that_fails_gives_its_key_back(shared: Service) -> None:
    ada, bob = await person(shared), await person(shared, "reader")
    draft = await ada.post(publish=False)
    path, told = f"/posts/{draft}/comments", {"content": "Early."}
    assert (await bob.call("POST", path, told, headers=key("e"))).status == 404
    await ada.call("POST", f"/posts/{draft}/publish")
    assert (await bob.call("POST", path, told, headers=key("e"))).status == 201


async def test_of_calls_at_once_one_happens(shared: Service) -> None:
    ada = await person(shared)
    told = {"title": "T", "content": "C" * 20_000}

    async def create() -> Answer:
        return await ada.call("POST", "/posts", told, headers=key("at-once"))

    answers = await asyncio.gather(*(create() for _ in range(20)))
    assert {answer.status for answer in answers} <= {201, 409}
    assert len({answer.body["id"] for answer in answers if answer.status == 201}) == 1
    for answer in answers:
        if answer.status == 409:
            assert answer.body["code"] == "REQUEST_IN_PROGRESS"
            assert int(answer.headers["Retry-After"]) >= 1
    assert len((await ada.call("GET", f"/creators/{ada.id}/posts")).body) == 1


async def test_a_call_whose_end_nobody_knows_is_not_made_again(shared: Service) -> None:
    ada = await person(shared)
    told = {"title": "T", "content": "C"}
    await ada.call("POST", "/posts", told, headers=key("lost"))
    # As where its process died between the work and the receipt.
    forget = "UPDATE keyed_replies SET response = NULL {} WHERE key = 'lost'"
    assert await tell(shared, forget.format("")) == 1
    answer = await ada.call("POST", "/posts", told, headers=key("lost"))
    assert answer.body["code"] == "REQUEST_IN_PROGRESS"
    await tell(shared, forget.format(", created_at = now() - interval '2 minutes'"))
    answer = await ada.call("POST", "/posts", told, headers=key("lost"))
    assert (answer.status, answer.body["code"]) == (409, "CONFLICT")
    assert len((await ada.call("GET", f"/creators/{ada.id}/posts")).body) == 1


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("bad", ["a b", "a" * 256, "ä"])
async def test_a_key_that_is_none_is_refused(shared: Service, door: Door, bad: str) -> None:
    ada = await person(shared)
    told = {"title": "T", "content": "C"}
    answer = await ada.call("POST", "/posts", told, headers=key(bad), door=door)
    assert (answer.status, set(answer.body["field_errors"])) == (400, {"idempotency-key"})


async def test_a_watch_takes_a_key_too(shared: Service, user: str) -> None:
    answers = [
        await shared.call("POST", "/watch", user=user, headers=key("watch")) for _ in range(2)
    ]
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].body == answers[1].body
    assert (await shared.call("POST", "/watch", user=user)).status == 200


async def test_replies_are_forgotten_after_a_day(shared: Service) -> None:
    ada = await person(shared)
    told = {"title": "T", "content": "C"}
    for name in ("young", "old"):
        await ada.call("POST", "/posts", told, headers=key(name))
    age = "UPDATE keyed_replies SET created_at = now() - interval '{} hours' WHERE key = '{}'"
    await tell(shared, age.format(23, "young"))
    await tell(shared, age.format(25, "old"))
    engine = create_engine(shared.settings.database_url or "", pool_size=1)
    async with engine.begin() as connection:
        assert await replies.delete_older_than(connection, KEPT) == 1
    await engine.dispose()
    left = await rows(shared, "SELECT key FROM keyed_replies WHERE key IN ('young', 'old')")
    assert [row.key for row in left] == ["young"]


async def test_a_login_is_never_kept(shared: Service) -> None:
    ada = await person(shared)
    told = {"email": f"{ada.name}@example.com", "password": PASSWORD}
    path = "/api/v1/users/login"
    for _ in range(2):
        assert (await shared.call("POST", path, told, user=None, headers=key("l"))).status == 200
    assert await rows(shared, "SELECT 1 FROM keyed_replies WHERE key = 'l'") == []

"""Comments: threads that stay whole, in an order that stays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill_grpc.publishing.comments import DEEPEST
from tests.conformance.publishing.people import Person, as_nobody, person
from tests.service import DOORS, Door, Service

Json = Any


@pytest.fixture(scope="module")
async def ada(shared: Service) -> Person:
    return await person(shared)


async def listed(shared: Service, post: str, query: str = "?limit=100") -> list[Json]:
    answer = await as_nobody(shared, "GET", f"/posts/{post}/comments{query}")
    assert answer.status == 200, answer.text
    return list(answer.body)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({}, "content"),
        ({"content": ""}, "content"),
        ({"content": "\u200b\u202e "}, "content"),
        ({"content": "a" * 10_001}, "content"),
        ({"content": "https://a.example " * 6}, "content"),
        ({"content": "a", "parent_comment_id": "x"}, "parent_comment_id"),
        (
            {"content": "a", "parent_comment_id": "01a217c9-792a-736d-bb2c-b6dfc9a2f809"},
            "parent_comment_id",
        ),
        ({"content": "a", "user_id": "me"}, "user_id"),
    ],
)
async def test_a_comment_that_breaks_a_rule_is_refused_by_the_name_of_the_field(
    ada: Person, door: Door, told: Json, field: str
) -> None:
    answer = await ada.call("POST", f"/posts/{await ada.post()}/comments", told, door=door)
    assert answer.status == 400
    assert set(answer.body["field_errors"]) == {field}


async def test_a_reply_belongs_to_the_same_post(shared: Service, ada: Person) -> None:
    elsewhere = await (await person(shared)).comment(await ada.post())
    told = {"content": "a", "parent_comment_id": elsewhere}
    answer = await ada.call("POST", f"/posts/{await ada.post()}/comments", told)
    assert set(answer.body["field_errors"]) == {"parent_comment_id"}


async def test_threads_end_at_their_depth(shared: Service, ada: Person) -> None:
    post, bob = await ada.post(), await person(shared, "reader")
    parent, chain = None, list[str]()
    for _ in range(DEEPEST):
        parent = await bob.comment(post, parent)
        chain.append(parent)
    told = {"content": "Deeper.", "parent_comment_id": parent}
    answer = await bob.call("POST", f"/posts/{post}/comments", told)
    assert set(answer.body["field_errors"]) == {"parent_comment_id"}
    assert [one["id"] for one in await listed(shared, post)] == chain


async def test_a_deleted_comment_keeps_its_place_and_nothing_else(
    shared: Service, ada: Person
) -> None:
    post, bob = await ada.post(), await person(shared, "reader")
    first = await bob.comment(post)
    reply = await ada.comment(post, first)
    last = await bob.comment(post)
    before = await listed(shared, post)
    await bob.call("DELETE", f"/posts/{post}/comments/{first}")
    gone, *others = await listed(shared, post)
    assert others == before[1:]
    assert [one["id"] for one in others] == [reply, last]
    assert (gone["id"], gone["content"], gone["content_html"]) == (first, "", "")
    assert (gone["user_id"], gone["deleted"]) == ("", True)
    assert gone["created_at"] == before[0]["created_at"]
    told = {"content": "To nobody.", "parent_comment_id": first}
    answer = await bob.call("POST", f"/posts/{post}/comments", told)
    assert set(answer.body["field_errors"]) == {"parent_comment_id"}


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(parents=st.lists(st.integers(-1, 8), min_size=1, max_size=9), window=st.integers(1, 4))
async def test_windows_of_any_threads_put_together_are_the_threads_in_their_order(
    shared: Service, ada: Person, parents: list[int], window: int
) -> None:
    post, bob = await ada.post(), await person(shared, "reader")
    made: list[str] = []
    children: dict[str | None, list[str]] = {}
    for at, wanted in enumerate(parents):
        parent = made[wanted] if 0 <= wanted < at else None
        depth, above = 1, parent
        while above is not None:
            above = next((p for p, kids in children.items() if above in kids), None)
            depth += 1
        if depth > DEEPEST:
            continue
        one = await bob.comment(post, parent)
        made.append(one)
        children.setdefault(parent, []).append(one)

    def walk(parent: str | None) -> list[str]:
        return [each for kid in children.get(parent, []) for each in (kid, *walk(kid))]

    found: list[str] = []
    for offset in range(0, len(made) + window, window):
        part = await listed(shared, post, f"?limit={window}&offset={offset}")
        found += [one["id"] for one in part]
    assert found == walk(None)

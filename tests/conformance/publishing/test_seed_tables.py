"""Every row of seed 001's tables, through every door: its fields and no others but those listed here."""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.calls import PASSWORD
from tests.conformance.publishing.people import as_nobody, person
from tests.conformance.seeds import assert_shaped
from tests.service import DOORS, Answer, Door, Service

Json = Any

GOLDEN = Path(__file__).parents[2] / "golden" / "seed_001"
READ = {"content_format", "content_html", "slug"}


def example(name: str) -> Json:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def check(answer: Answer, status: int, name: str, *, more: Set[str] = frozenset()) -> Json:
    """The status and the golden shape, with exactly `more` beside it; the body."""
    assert answer.status == status, answer.text
    like = example(name)
    assert_shaped(answer.body, like)
    (one,), (got,) = ([like], [answer.body]) if isinstance(like, dict) else (like, answer.body)
    assert set(got) == set(one) | more
    return got


@pytest.mark.parametrize("door", DOORS)
async def test_users(shared: Service, door: Door) -> None:
    name = f"seed-{door}"
    told = {**example("register_request"), "email": f"{name}@example.com", "username": name}
    answer = await as_nobody(shared, "POST", "/users/register", told, door=door)
    made = check(answer, 201, "register")
    assert (made["email"], made["username"], made["role"]) == (told["email"], name, "creator")
    given = {"email": told["email"].upper(), "password": told["password"]}
    login = await as_nobody(shared, "POST", "/users/login", given, door=door)
    token = check(login, 200, "login")
    assert token["token_type"] == "bearer"
    assert login.headers["Cache-Control"] == "no-store"
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    path = f"/api/v1/users/{made['id']}"
    got = await shared.call("GET", path, user=None, headers=headers, door=door)
    assert check(got, 200, "user")["bio"] == ""
    change = {"bio": "I write."}
    put = await shared.call("PUT", path, change, user=None, headers=headers, door=door)
    assert check(put, 200, "user_update")["bio"] == "I write."
    other = await person(shared, "reader", door=door)
    seen = await other.call("GET", f"/users/{made['id']}")
    assert set(seen.body) == set(example("user")) - {"email"}


@pytest.mark.parametrize("door", DOORS)
async def test_posts(shared: Service, door: Door) -> None:
    ada = await person(shared, door=door)
    created = check(await ada.call("POST", "/posts", example("post_request")), 201, "post_created")
    assert (created["creator_id"], created["status"]) == (ada.id, "draft")
    path = f"/posts/{created['id']}"
    draft = await ada.call("GET", path)
    assert set(draft.body) == (set(example("post")) | READ) - {"published_at"}
    put = await ada.call("PUT", path, example("post_update_request"))
    check(put, 200, "post_update", more=READ)
    published = check(await ada.call("POST", f"{path}/publish"), 200, "post", more=READ)
    assert published["status"] == "published"
    read = await as_nobody(shared, "GET", path, door=door)
    shown = check(read, 200, "post", more=READ | {"view_count"})
    assert shown == {**published, "view_count": 0}
    assert read.body["content_html"] == "<h1>Hello</h1>\n"
    query = f"/creators/{ada.id}/posts?status=published&limit=1&offset=0"
    listed = await as_nobody(shared, "GET", query, door=door)
    assert check(listed, 200, "posts")["id"] == created["id"]
    nothing = await as_nobody(shared, "GET", f"/creators/{ada.id}/posts?offset=1", door=door)
    assert nothing.text == "[]"


@pytest.mark.parametrize("door", DOORS)
async def test_comments(shared: Service, door: Door) -> None:
    ada, bob = await person(shared, door=door), await person(shared, "reader", door=door)
    path = f"/posts/{await ada.post()}/comments"
    first = check(await bob.call("POST", path, {"content": "Well said."}), 201, "comment_created")
    assert first["user_id"] == bob.id
    listed = await as_nobody(shared, "GET", f"{path}?limit=100&offset=0", door=door)
    check(listed, 200, "comments", more={"content_html"})
    told = {"content": "Thanks!", "parent_comment_id": first["id"]}
    reply = check(
        await ada.call("POST", path, told), 201, "comment_created", more={"parent_comment_id"}
    )
    listed = await as_nobody(shared, "GET", path, door=door)
    assert [one["id"] for one in listed.body] == [first["id"], reply["id"]]


@pytest.mark.parametrize("door", DOORS)
async def test_subscriptions(shared: Service, door: Door) -> None:
    ada, bob = await person(shared, door=door), await person(shared, "reader", door=door)
    path = f"/creators/{ada.id}"
    new = check(await bob.call("POST", f"{path}/subscribe"), 201, "subscription")
    assert (new["subscriber_id"], new["creator_id"], new["status"]) == (bob.id, ada.id, "active")
    listed = await bob.call("GET", f"/users/{bob.id}/subscriptions")
    check(listed, 200, "subscriptions")
    ended = check(await bob.call("POST", f"{path}/unsubscribe"), 200, "subscription")
    assert ended == {**new, "status": "cancelled"}
    listed = await bob.call("GET", f"/users/{bob.id}/subscriptions")
    check(listed, 200, "subscriptions", more={"cancelled_at"})


@pytest.mark.parametrize("door", DOORS)
async def test_the_standardised_error_body(shared: Service, door: Door) -> None:
    told = {"email": "nobody", "password": "short", "username": "a b", "role": "creator"}
    answer = await as_nobody(shared, "POST", "/users/register", told, door=door)
    assert answer.status == 400
    assert list(answer.body) == list(example("error"))
    assert set(answer.body["field_errors"]) == {"email", "password", "username"}
    for method, path, status in (
        ("GET", "/nowhere", 404),
        ("DELETE", "/posts", 405),
        ("GET", "/posts/no-id", 400),
    ):
        answer = await as_nobody(shared, method, path, door=door)
        assert answer.status == status
        assert {"detail", "code"} <= set(answer.body) <= set(example("error"))


async def test_the_token_of_a_login_opens_distill_where_the_operator_says_so(
    shared: Service,
) -> None:
    ada = await person(shared)
    headers = {"Authorization": f"Bearer {ada.token}"}
    assert (await shared.call("GET", "/metadata", user=None, headers=headers)).status == 200
    assert (await shared.call("POST", "/watch", user=None, headers=headers)).status == 201
    assert PASSWORD not in ada.token

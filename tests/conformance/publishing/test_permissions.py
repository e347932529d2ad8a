"""Who may do what: every RPC of the publishing platform for every kind of caller.

The table is complete by a test: an RPC without its row fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.message import Message

from distill_grpc.proto import contract
from tests.conformance.calls import NOBODY, method, publishing_requests
from tests.conformance.grpc.failures import failure
from tests.conformance.publishing.people import Person, person
from tests.service import Service

RPCS = [rpc for rpc in contract.rpcs() if rpc.package == "distill.publishing.v1"]
CALLERS = ("anonymous", "no account", "reader", "creator", "owner")
OK, NO, LOGIN, GONE = "ok", "FORBIDDEN", "AUTHENTICATION_FAILED", "NOT_FOUND"

# For each RPC, what each of CALLERS gets who asks for what the owner has.
TABLE = {
    "Register": (OK, OK, OK, OK, OK),
    "Login": (OK, OK, OK, OK, OK),
    "GetUser": (LOGIN, OK, OK, OK, OK),
    "UpdateUser": (LOGIN, NO, NO, NO, OK),
    "CreatePost": (LOGIN, NO, NO, OK, OK),
    "GetPost": (OK, OK, OK, OK, OK),
    "UpdatePost": (LOGIN, NO, NO, NO, OK),
    "PublishPost": (LOGIN, NO, NO, NO, "CONFLICT"),
    "ListPosts": (OK, OK, OK, OK, OK),
    "CreateComment": (LOGIN, NO, OK, OK, OK),
    "ListComments": (OK, OK, OK, OK, OK),
    "DeleteComment": (LOGIN, NO, NO, NO, OK),
    "Subscribe": (LOGIN, NO, OK, OK, "INVALID_ARGUMENT"),
    "Unsubscribe": (LOGIN, NO, OK, OK, GONE),
    "ListSubscriptions": (LOGIN, NO, NO, NO, OK),
    "GetRssFeed": (OK, OK, OK, OK, OK),
    "GetAtomFeed": (OK, OK, OK, OK, OK),
    "GetJsonFeed": (OK, OK, OK, OK, OK),
    "ShowUnsubscription": (GONE, GONE, GONE, GONE, GONE),  # by a link that nobody made
    "EndSubscription": (GONE, GONE, GONE, GONE, GONE),
    "GetStats": (LOGIN, NO, NO, NO, OK),
}
# The same, where the post is a draft.
DRAFTS = {
    "GetPost": (GONE, GONE, GONE, GONE, OK),
    "UpdatePost": (LOGIN, NO, NO, GONE, OK),
    "PublishPost": (LOGIN, NO, NO, GONE, OK),
    "CreateComment": (LOGIN, NO, GONE, GONE, "CONFLICT"),
    "ListComments": (GONE, GONE, GONE, GONE, OK),
    "DeleteComment": (LOGIN, NO, GONE, GONE, GONE),
}


@dataclass
class Scene:
    """Callers, and what the owner has."""

    callers: dict[str, Person | None]
    owner: Person

    async def requests(self, name: str, *, publish: bool) -> dict[str, Message]:
        """Requests about a new post of the owner and, once it is published, a comment on it."""
        owner = self.owner
        post = await owner.post(publish=publish)
        comment = NOBODY
        if publish:
            comment = await (await person(owner.service, "reader")).comment(post)
        ids = {"user": owner.id, "creator": owner.id, "post": post, "comment": comment}
        return dict(publishing_requests(name=name, **ids))


@pytest.fixture(scope="module")
async def scene(shared: Service) -> Scene:
    stranger = Person(shared, "", "stranger", shared.token("stranger"))
    owner = await person(shared)
    callers = {
        "anonymous": None,
        "no account": stranger,
        "reader": await person(shared, "reader"),
        "creator": await person(shared),
        "owner": owner,
    }
    return Scene(callers, owner)


def test_the_table_is_complete() -> None:
    assert set(TABLE) == {rpc.name for rpc in RPCS}
    about_posts = {
        rpc.name
        for rpc in RPCS
        if rpc.path.startswith(("/api/v1/posts/{id}", "/api/v1/posts/{post_id}"))
    }
    assert set(DRAFTS) == about_posts
    assert {rpc.name for rpc in RPCS if rpc.public} == {
        name for name, (anonymous, *_) in TABLE.items() if anonymous in {OK, GONE}
    }


async def ask(shared: Service, rpc: contract.Rpc, request: Message, who: Person | None) -> Any:
    metadata = () if who is None else (("authorization", f"Bearer {who.token}"),)
    return method(shared.channel, rpc)(request, metadata=metadata, timeout=10)


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("rpc", RPCS, ids=lambda rpc: rpc.name)
@pytest.mark.parametrize("published", [True, False], ids=["published", "draft"])
async def test_a_caller_gets_what_the_table_says(
    shared: Service, scene: Scene, rpc: contract.Rpc, caller: str, published: bool
) -> None:
    table = TABLE if published else DRAFTS
    if rpc.name not in table:
        assert not published  # it is about no post
        return
    expected = table[rpc.name][CALLERS.index(caller)]
    name = f"m-{CALLERS.index(caller)}"
    requests = await scene.requests(name, publish=published)
    if rpc.name == "Login":
        register = contract.rpc("/distill.publishing.v1.UserService/Register")
        fresh = publishing_requests(name=f"l-{CALLERS.index(caller)}")
        await (await ask(shared, register, fresh[register.full_name], None))
        requests[rpc.full_name] = fresh[rpc.full_name]
    who = scene.callers[caller]
    if rpc.name == "Unsubscribe" and expected == OK and who is not None:
        await who.call("POST", f"/creators/{scene.owner.id}/subscribe")
    call = await ask(shared, rpc, requests[rpc.full_name], who)
    if expected == OK:
        assert isinstance(await call, rpc.response_class)
    else:
        await failure(call, expected)


async def test_what_may_not_be_seen_is_answered_like_what_is_not_there(
    shared: Service, scene: Scene
) -> None:
    other = scene.callers["creator"]
    assert other is not None
    draft, unknown = await scene.owner.post(publish=False), "01a217c9-792a-736d-bb2c-b6dfc9a2f809"
    for verb, path, body in (
        ("GET", "/posts/{}", None),
        ("PUT", "/posts/{}", {"title": "Mine"}),
        ("POST", "/posts/{}/publish", None),
        ("GET", "/posts/{}/comments", None),
        ("POST", "/posts/{}/comments", {"content": "First!"}),
    ):
        hidden = await other.call(verb, path.format(draft), body)
        missing = await other.call(verb, path.format(unknown), body)
        assert (hidden.status, hidden.text) == (missing.status, missing.text)
        assert hidden.status == 404
    for path in ("/users/{}/subscriptions",):
        hidden = await other.call("GET", path.format(scene.owner.id))
        missing = await other.call("GET", path.format(unknown))
        assert (hidden.status, hidden.text) == (missing.status, missing.text)
        assert hidden.status == 403


async def test_a_comment_is_deleted_by_its_author_and_by_the_creator_of_the_post(
    shared: Service, scene: Scene
) -> None:
    reader = scene.callers["reader"]
    assert reader is not None
    post = await scene.owner.post()
    for who in (reader, scene.owner):
        comment = await reader.comment(post)
        for _ in range(2):  # the second time changes nothing
            answer = await who.call("DELETE", f"/posts/{post}/comments/{comment}")
            assert answer.body == {"id": comment, "status": "deleted"}


async def test_a_role_cannot_be_given_to_oneself(shared: Service, scene: Scene) -> None:
    reader = scene.callers["reader"]
    assert reader is not None
    answer = await reader.call("PUT", f"/users/{reader.id}", {"role": "creator", "bio": "x"})
    assert (answer.status, set(answer.body["field_errors"])) == (400, {"role"})
    token = shared.issuer.issue(
        user_id=reader.id, email=None, expires_in=timedelta(hours=1), claims={"role": "creator"}
    )
    promoted = Person(shared, reader.id, reader.name, token)
    answer = await promoted.call("POST", "/posts", {"title": "T", "content": "C"})
    assert answer.status == 403  # the account decides, not the token


async def test_a_bad_token_is_refused_where_a_good_one_shows_more(
    shared: Service, scene: Scene
) -> None:
    post = await scene.owner.post()
    for path in (f"/posts/{post}", f"/creators/{scene.owner.id}/posts", f"/posts/{post}/comments"):
        for token in ("garbage", shared.token(scene.owner.id, expires_in=-10)):
            bad = Person(shared, "", "", token)
            answer = await bad.call("GET", path)
            assert (answer.status, answer.body["code"]) == (401, "AUTHENTICATION_FAILED")
    login = {"email": f"{scene.owner.name}@example.com", "password": "wrong horse"}
    answer = await Person(shared, "", "", "garbage").call("POST", "/users/login", login)
    assert answer.body["code"] == "INVALID_CREDENTIALS"  # nobody looks at the token there

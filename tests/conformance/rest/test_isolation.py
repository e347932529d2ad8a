"""Two users see nothing of each other, whatever one asks with the other's ids in hand."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message

from distill_grpc.proto import contract
from tests.conformance.calls import method, requests
from tests.conformance.seeds import assert_error
from tests.conformance.users import collected, connect, store, story, watch
from tests.service import DOORS, Door, Service

Json = Any

MARK = "tainted"
FEED = f"https://{MARK}.example/feed.xml"


@pytest.fixture(scope="module")
async def marked(shared: Service) -> dict[str, str]:
    """The ids of what `marked-a` has, every bit of it marked."""
    user = "marked-a"
    settings = {"feeds": [FEED], "simulate_parts": {FEED: "platform_error"}}
    await connect(shared, user, settings=settings)
    await connect(shared, user, "github", credentials={"token": MARK})
    await watch(shared, user)
    await shared.synced(user)
    one = story(
        1,
        platform_id=MARK,
        content=f"{MARK} story",
        title=MARK,
        author=MARK,
        url=f"https://{MARK}.example/",
        tags=(MARK,),
        raw={MARK: MARK},
    )
    (item,) = await store(shared, user, one)
    assert (await shared.call("GET", "/content/summary/weekly", user=user)).status == 200
    listed = await shared.call("GET", "/content/recent?limit=1", user=user)
    body = {"query": MARK}
    found = (await shared.call("POST", "/content/search", body, user=user)).body["data"]
    assert [each["id"] for each in found] == [item]
    answer = await shared.call("POST", "/sync", {"force": True}, user=user)
    await shared.job_done(answer.body["job_id"], user)
    return {
        "item": item,
        "job": answer.body["job_id"],
        "token": listed.body["metadata"]["next_page_token"],
    }


@pytest.mark.parametrize("state", ["stranger", "watching", "left"])
async def test_no_rpc_shows_another_user_anything(
    shared: Service, user: str, marked: dict[str, str], state: str
) -> None:
    if state != "stranger":
        await collected(shared, user, "rss")
    if state == "left":
        await shared.call("POST", "/unwatch", user=user)
    answered = 0
    for full_name, request in requests(marked["job"]).items():
        for changed in variants(request, marked):
            call = method(shared.channel, contract.rpc(full_name))
            try:
                text = str(await call(changed, metadata=shared.metadata(user)))
                answered += 1
            except Exception as error:
                text = repr(error)
            # What was asked for may be repeated, also as a preference.
            told = text.replace("'tainted'", "").replace('authors: "tainted"', "")
            assert MARK not in told, full_name
            assert marked["item"] not in text, full_name
            assert "marked-a" not in text, full_name
    assert answered >= 8


def variants(request: Message, marked: dict[str, str]) -> list[Message]:
    """The request as it is, and asking for what is the other's."""
    found = [request]
    fields = request.DESCRIPTOR.fields_by_name
    for name, value in (("query", MARK), ("page_token", marked["token"]), ("authors", [MARK])):
        if name in fields:
            changed = type(request)()
            changed.CopyFrom(request)
            json_format.ParseDict({name: value}, changed)
            found.append(changed)
    return found


@pytest.mark.parametrize("door", DOORS)
async def test_ids_of_another_user_are_unknown(
    shared: Service, user: str, marked: dict[str, str], door: Door
) -> None:
    await collected(shared, user, "rss")
    job = await shared.call("GET", f"/sync/{marked['job']}", user=user, door=door)
    unknown = await shared.call("GET", "/sync/sync_" + "a" * 26, user=user, door=door)
    assert (job.status, job.text) == (404, unknown.text)
    page = f"/content/recent?limit=1&page_token={marked['token']}"
    refused = await shared.call("GET", page, user=user, door=door)
    assert_error(refused, "invalid_argument", details={"page_token"})
    assert_error(await shared.call("GET", "/connections/github", user=user, door=door), "not_found")
    assert_error(
        await shared.call("DELETE", "/connections/github", user=user, door=door), "not_found"
    )


async def test_what_one_user_does_changes_nothing_for_another(
    shared: Service, user: str, marked: dict[str, str]
) -> None:
    async def state() -> Json:
        about = (await shared.call("GET", "/metadata", user="marked-a")).body
        about["connections"] = (await shared.call("GET", "/connections", user="marked-a")).body
        recent = await shared.call("GET", "/content/recent?limit=500", user="marked-a")
        about["items"] = recent.body["data"]
        return about

    before = await state()
    await connect(shared, user, settings={"feeds": [FEED]})
    await connect(shared, user, "github", credentials={"token": "other"})
    await collected(shared, user)
    await store(shared, user, story(1, platform_id=MARK, content="Something else."))
    for path in ("/connections/rss", "/connections/github"):
        await shared.call("DELETE", path, user=user)
    await shared.call("POST", "/unwatch", user=user)
    assert await state() == before


async def test_the_same_item_is_each_users_own(shared: Service, user: str) -> None:
    other = f"{user}-other"
    for who in (user, other):
        await watch(shared, who)
        await store(shared, who, story(7, content=f"Seen by {who}."))
    for who in (user, other):
        body = {"query": '"seen by"'}
        answer = await shared.call("POST", "/content/search", body, user=who)
        assert [item["content"] for item in answer.body["data"]] == [f"Seen by {who}."]


@pytest.mark.parametrize(
    ("one", "other"),
    [("case", "CASE"), ("percent%", "percent_"), ("a", "a\u0301"), ("user.1", "user-1")],
)
async def test_users_whose_names_look_alike_are_two(idle: Service, one: str, other: str) -> None:
    await watch(idle, one)
    await store(idle, one, story(1))
    answer = await idle.call("GET", "/metadata", user=other)
    assert answer.body["user_status"] == {"watching": False}
    await watch(idle, other)
    assert (await idle.call("GET", "/content/recent", user=other)).body["data"] == []

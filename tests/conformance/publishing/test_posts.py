"""Posts: what may be written, how a draft becomes a post, and what lists show."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from distill_grpc import clock
from tests.conformance.publishing.people import Person, as_nobody, person
from tests.service import DOORS, Door, Service

Json = Any

LATER = (clock.utc_now() + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture(scope="module")
async def ada(shared: Service) -> Person:
    return await person(shared)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"title": ""}, "title"),
        ({"title": " \t\u200b"}, "title"),
        ({"title": "a" * 201}, "title"),
        ({"title": 7}, "title"),
        ({"content": ""}, "content"),
        ({"content": "\u200b \n"}, "content"),
        ({"content": "a" * (512 * 1024 + 1)}, "content"),
        ({"content": "ä" * (256 * 1024 + 1)}, "content"),
        ({"content": "a\x00b"}, "content"),
        ({"content_format": "rtf"}, "content_format"),
        ({"content_format": "content_format_unspecified"}, "content_format"),
        ({"scheduled_at": "2020-01-01T00:00:00Z"}, "scheduled_at"),
        ({"scheduled_at": "tomorrow"}, "scheduled_at"),
        ({"status": "published"}, "status"),
        ({"creator_id": "me"}, "creator_id"),
    ],
)
async def test_a_post_that_breaks_a_rule_is_refused_by_the_name_of_the_field(
    ada: Person, door: Door, changes: dict[str, Json], field: str
) -> None:
    told = {"title": "T", "content": "C", **changes}
    answer = await ada.call("POST", "/posts", told, door=door)
    assert (answer.status, answer.body["code"]) == (400, "INVALID_ARGUMENT")
    assert set(answer.body["field_errors"]) == {field}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("status", ["DRAFT", "status_unspecified", "gone"])
async def test_what_is_no_status_is_refused_with_the_choice(
    ada: Person, door: Door, status: str
) -> None:
    rule = {"status": "must be one of: draft, published"}
    path = f"/creators/{ada.id}/posts?status={status}"
    assert (await ada.call("GET", path, door=door)).body["field_errors"] == rule
    post = await ada.post(publish=False)
    changed = await ada.call("PUT", f"/posts/{post}", {"status": status}, door=door)
    assert changed.body["field_errors"] == rule


async def test_the_largest_post_is_kept_to_the_last_character(ada: Person) -> None:
    line = "Ünd so weiter & so fort, <3.\n"
    content = line * ((512 * 1024 - 3) // len(line.encode())) + "end"
    post = await ada.post(content=content, title="t" * 200)
    body = (await ada.call("GET", f"/posts/{post}", door="remote")).body
    assert body["content"] == content
    assert body["content_html"].rstrip().endswith("end</p>")


async def test_a_title_is_one_line_without_what_nobody_sees(ada: Person) -> None:
    post = await ada.post(title="  Hello\u202e \n\t wor\u200bld\u0007 ")
    assert (await ada.call("GET", f"/posts/{post}")).body["title"] == "Hello world"


async def test_what_is_not_named_stays_as_it_is(ada: Person) -> None:
    post = await ada.post(publish=False, title="One", content="*a*", content_format="html")
    path = f"/posts/{post}"
    before = (await ada.call("GET", path)).body
    assert (await ada.call("PUT", path, {})).body["title"] == "One"
    assert (await ada.call("PUT", path, {"title": "Two"})).body["content"] == "*a*"
    changed = (await ada.call("PUT", path, {"content_format": "markdown"})).body
    assert changed["content_html"] == "<p><em>a</em></p>\n"
    assert (before["content_html"], before["slug"], changed["slug"]) == ("*a*", "one", "two")


async def test_a_published_post_can_be_edited_and_keeps_its_instant_and_its_address(
    ada: Person,
) -> None:
    post = await ada.post(title="As it was")
    path = f"/posts/{post}"
    before = (await ada.call("GET", path)).body
    answer = await ada.call("PUT", path, {"title": "As it is", "status": "published"})
    assert answer.status == 200
    after = (await ada.call("GET", path)).body
    assert after["title"] == "As it is"
    for kept in ("published_at", "slug", "status"):
        assert after[kept] == before[kept]


@pytest.mark.parametrize(
    "change", [{"status": "draft"}, {"scheduled_at": LATER}, {"title": "x", "status": "draft"}]
)
async def test_a_published_post_never_becomes_a_draft_again(
    ada: Person, change: dict[str, Json]
) -> None:
    post = await ada.post()
    before = (await ada.call("GET", f"/posts/{post}")).body
    answer = await ada.call("PUT", f"/posts/{post}", change)
    assert (answer.status, answer.body["code"]) == (409, "CONFLICT")
    assert (await ada.call("GET", f"/posts/{post}")).body == before


async def test_a_schedule_can_be_set_changed_and_taken_away(ada: Person) -> None:
    post = await ada.post(publish=False)
    path = f"/posts/{post}"
    assert (await ada.call("PUT", path, {"scheduled_at": LATER})).body["scheduled_at"] == LATER
    both = {"scheduled_at": LATER, "unschedule": True}
    assert set((await ada.call("PUT", path, both)).body["field_errors"]) == {"unschedule"}
    at_once = {"scheduled_at": LATER, "status": "published"}
    assert set((await ada.call("PUT", path, at_once)).body["field_errors"]) == {"scheduled_at"}
    assert "scheduled_at" not in (await ada.call("PUT", path, {"unschedule": True})).body
    await ada.call("PUT", path, {"scheduled_at": LATER})
    published = (await ada.call("POST", f"{path}/publish")).body
    assert (published["status"], "scheduled_at" in published) == ("published", False)


async def test_lists_show_drafts_to_their_creator_only(shared: Service) -> None:
    ada, bob = await person(shared), await person(shared)
    posts = [await ada.post(publish=bool(number % 2)) for number in range(6)]
    newest_first = list(reversed(posts))
    published = [one for one in newest_first if posts.index(one) % 2]
    drafts = [one for one in newest_first if one not in published]
    path = f"/creators/{ada.id}/posts"

    async def ids(who: Person | None, query: str = "") -> list[str]:
        url = f"{path}{query}"
        answer = await (as_nobody(shared, "GET", url) if who is None else who.call("GET", url))
        assert answer.status == 200, answer.text
        return [one["id"] for one in answer.body]

    assert await ids(ada) == newest_first
    assert await ids(ada, "?status=draft") == drafts
    for who in (ada, bob, None):
        assert await ids(who, "?status=published") == published
    for other in (bob, None):
        assert await ids(other) == published
        assert await ids(other, "?status=draft") == []
    windows = [await ids(ada, f"?limit=4&offset={offset}") for offset in (0, 4, 8)]
    assert windows == [newest_first[:4], newest_first[4:], []]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=x",
        "limit=1&limit=2",
        "offset=-1",
        "offset=1000001",
        "offset=99999999999999999999",
        "page=2",
    ],
)
async def test_a_window_out_of_range_is_refused(ada: Person, door: Door, query: str) -> None:
    for path in (f"/creators/{ada.id}/posts", f"/posts/{await ada.post()}/comments"):
        answer = await ada.call("GET", f"{path}?{query}", door=door)
        assert answer.status == 400, answer.text
        assert set(answer.body["field_errors"]) == {query.partition("=")[0]}


@pytest.mark.parametrize("door", DOORS)
async def test_an_error_of_no_field_has_no_field_errors_but_the_same_structure(
    ada: Person, door: Door
) -> None:
    unknown = await ada.call("GET", "/posts/01a217c9-792a-736d-bb2c-b6dfc9a2f809", door=door)
    nowhere = await ada.call("GET", "/nowhere", door=door)
    published = await ada.call("POST", f"/posts/{await ada.post()}/publish", door=door)
    for answer, status in ((unknown, 404), (nowhere, 404), (published, 409)):
        assert answer.status == status
        assert set(answer.body) == {"detail", "code", "field_errors"}
        assert answer.body["field_errors"] == {}


async def test_readers_and_nobody_are_no_creators(shared: Service) -> None:
    reader = await person(shared, "reader")
    for creator in (reader.id, "01a217c9-792a-736d-bb2c-b6dfc9a2f809"):
        for method, path in (("GET", "posts"), ("POST", "subscribe")):
            who = await person(shared, "reader")
            answer = await who.call(method, f"/creators/{creator}/{path}")
            assert (answer.status, answer.body["code"]) == (404, "NOT_FOUND")

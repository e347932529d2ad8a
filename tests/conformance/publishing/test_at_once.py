"""What many do at the same moment happens once, and what is noted down with it too."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from distill_grpc import clock
from distill_grpc.db.engine import create_engine
from distill_grpc.publishing import posts
from tests.conformance.publishing.people import Person, as_nobody, person
from tests.service import Answer, Service

Json = Any


async def rows(service: Service, query: str, **values: Json) -> list[Any]:
    engine = create_engine(service.settings.database_url or "", pool_size=1)
    async with engine.connect() as connection:
        found = list(await connection.execute(text(query), values))
    await engine.dispose()
    return found


async def outbox(service: Service, post_id: str) -> list[Any]:
    query = "SELECT payload FROM outbox WHERE job = :job AND key = :key"
    return await rows(service, query, job="send_new_post_notifications", key=post_id)


def statuses(answers: list[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


async def test_of_fifty_publications_one_happens_and_is_announced_once(shared: Service) -> None:
    ada = await person(shared)
    post = await ada.post(publish=False)
    assert await outbox(shared, post) == []

    async def publish(number: int) -> Answer:
        if number % 2:
            return await ada.call("POST", f"/posts/{post}/publish")
        told = {"status": "published", "title": f"Title {number}"}
        return await ada.call("PUT", f"/posts/{post}", told)

    answers = await asyncio.gather(*(publish(number) for number in range(50)))
    by_post = [answer for number, answer in enumerate(answers) if number % 2]
    assert set(statuses(by_post)) <= {200, 409}
    assert statuses(by_post)[200] <= 1
    (row,) = await outbox(shared, post)
    assert row.payload["post_id"] == post


async def test_fifty_calls_to_publish_have_one_winner(shared: Service) -> None:
    ada = await person(shared)
    post = await ada.post(publish=False)
    calls = (ada.call("POST", f"/posts/{post}/publish") for _ in range(50))
    answers = await asyncio.gather(*calls)
    found = statuses(answers)
    assert found[200] == 1
    # A machine that is slow for fifty at once may turn some away.
    assert found.keys() <= {200, 409, 503}
    assert len(await outbox(shared, post)) == 1


async def test_one_address_and_one_name_make_one_account(shared: Service) -> None:
    def told(number: int) -> Json:
        spelled = "Twin" if number % 2 else "tWiN"
        return {
            "email": f"{spelled}@Example.com",
            "password": "correct horse",
            "username": spelled,
            "role": "reader",
        }

    calls = (as_nobody(shared, "POST", "/users/register", told(n)) for n in range(12))
    answers = await asyncio.gather(*calls)
    assert statuses(answers) == {201: 1, 409: 11}
    for answer in answers:
        if answer.status == 409:
            assert answer.body["code"] == "ALREADY_EXISTS"
            assert set(answer.body["field_errors"]) == {"email", "username"}


async def test_subscribing_at_once_makes_one_row(shared: Service) -> None:
    ada, bob = await person(shared), await person(shared, "reader")
    calls = (bob.call("POST", f"/creators/{ada.id}/subscribe") for _ in range(20))
    answers = await asyncio.gather(*calls)
    assert statuses(answers) == {201: 1, 200: 19}
    assert len({answer.body["id"] for answer in answers}) == 1


async def test_posts_of_one_title_made_at_once_get_names_of_their_own(shared: Service) -> None:
    ada = await person(shared)
    ids = await asyncio.gather(*(ada.post(publish=False, title="Same here") for _ in range(12)))
    slugs = [(await ada.call("GET", f"/posts/{one}")).body["slug"] for one in ids]
    assert sorted(slugs) == sorted(["same-here", *(f"same-here-{n}" for n in range(2, 13))])


def let_happen(
    monkeypatch: pytest.MonkeyPatch, *happenings: Callable[[], Awaitable[Answer]]
) -> None:
    """Makes each of these happen while a post is changed: after reading, before writing."""
    update, waiting = posts.update, list(happenings)

    async def late(*arguments: Any, **named: Any) -> Any:
        if waiting:
            happening = waiting.pop(0)
            assert (await happening()).status == 200
        return await update(*arguments, **named)

    monkeypatch.setattr(posts, "update", late)


@pytest.mark.parametrize(
    ("slow", "meanwhile", "html"),
    [
        ({"content_format": "html"}, {"content": "*new*"}, "*new*"),
        ({"content": "*new*"}, {"content_format": "html"}, "*new*"),
        ({"content": "*a*"}, {"content": "*b*", "content_format": "html"}, "*a*"),
    ],
)
async def test_a_change_keeps_what_it_does_not_name_as_others_saved_it_meanwhile(
    shared: Service,
    monkeypatch: pytest.MonkeyPatch,
    slow: Json,
    meanwhile: Json,
    html: str,
) -> None:
    ada = await person(shared)
    path = f"/posts/{await ada.post(content='*old*')}"
    let_happen(monkeypatch, lambda: ada.call("PUT", path, meanwhile))
    assert (await ada.call("PUT", path, slow)).status == 200
    body = (await ada.call("GET", path)).body
    expected = {"content": "*old*", "content_format": "markdown", **meanwhile, **slow}
    assert {name: body[name] for name in ("content", "content_format")} == expected
    assert body["content_html"] == html


async def test_a_change_is_refused_where_the_content_never_stays_the_same(
    shared: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await person(shared)
    path = f"/posts/{await ada.post(content='old')}"
    written: list[str] = []
    update = posts.update

    async def restless(*arguments: Any, **named: Any) -> Any:
        if arguments[-1].content.format == "html":
            written.append(f"new {len(written)}")
            told = {"content": written[-1], "content_format": "markdown"}
            assert (await ada.call("PUT", path, told)).status == 200
        return await update(*arguments, **named)

    monkeypatch.setattr(posts, "update", restless)
    answer = await ada.call("PUT", path, {"content_format": "html", "title": "Never"})
    assert (answer.status, answer.body["code"]) == (409, "CONFLICT")
    body = (await ada.call("GET", path)).body
    assert (body["content"], body["content_format"]) == (written[-1], "markdown")
    assert body["title"] != "Never"


async def test_ten_comments_a_minute_are_exactly_ten(shared: Service) -> None:
    ada, bob = await person(shared), await person(shared, "reader")
    post = await ada.post()

    def comment(number: int) -> Any:
        return bob.call("POST", f"/posts/{post}/comments", {"content": f"Number {number}."})

    answers = await asyncio.gather(*(comment(number) for number in range(25)))
    assert statuses(answers) == {201: 10, 429: 15}
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.body["code"] == "RATE_LIMITED"
    assert 0 < int(refused.headers["Retry-After"]) <= 61
    assert len((await ada.call("GET", f"/posts/{post}/comments?limit=100")).body) == 10


async def test_the_third_time_the_same_text_is_refused(shared: Service) -> None:
    ada, bob = await person(shared), await person(shared, "reader")
    found = []
    for content in ("Buy now!", "buy  NOW!", "Buy\u200b n\u200dow!", "Something else."):
        path = f"/posts/{await ada.post()}/comments"
        found.append((await bob.call("POST", path, {"content": content})).status)
    assert found == [201, 201, 429, 201]


async def scheduled(ada: Person, seconds: float) -> str:
    at = clock.utc_now() + timedelta(seconds=seconds)
    return await ada.post(publish=False, scheduled_at=at.isoformat().replace("+00:00", "Z"))


async def test_a_scheduled_post_is_published_when_it_is_due(shared: Service) -> None:
    ada = await person(shared)
    post = await scheduled(ada, 1.0)
    body = (await ada.call("GET", f"/posts/{post}")).body
    assert (body["status"], "scheduled_at" in body) == ("draft", True)
    async with asyncio.timeout(60):
        while (await as_nobody(shared, "GET", f"/posts/{post}")).status == 404:
            await asyncio.sleep(0.1)
    body = (await as_nobody(shared, "GET", f"/posts/{post}")).body
    assert (body["status"], "scheduled_at" in body) == ("published", False)
    assert len(await outbox(shared, post)) == 1


async def test_ticks_at_once_and_the_creator_publish_a_due_post_once(idle: Service) -> None:
    ada = await person(idle)
    made = [await scheduled(ada, 3600) for _ in range(5)]
    engine = create_engine(idle.settings.database_url or "")
    later = clock.utc_now() + timedelta(hours=2)

    async def tick() -> int:
        async with engine.begin() as connection:
            return await posts.publish_due(connection, later)

    async def publish() -> Answer:
        return await ada.call("POST", f"/posts/{made[0]}/publish")

    *counts, answer = await asyncio.gather(tick(), tick(), tick(), publish())
    # What another tick or the creator holds is left to them, so one more tick finds the rest.
    total = sum(counts) + await tick() + (answer.status == 200)
    await engine.dispose()
    assert total == 5
    for post in made:
        assert len(await outbox(idle, post)) == 1
        assert (await ada.call("GET", f"/posts/{post}")).body["status"] == "published"


async def test_a_publication_that_is_rolled_back_leaves_no_announcement(idle: Service) -> None:
    ada = await person(idle)
    post = await scheduled(ada, 3600)
    engine = create_engine(idle.settings.database_url or "")
    async with engine.connect() as connection:
        await posts.publish_due(connection, clock.utc_now() + timedelta(hours=2))
        await connection.rollback()
    await engine.dispose()
    assert await outbox(idle, post) == []
    assert (await ada.call("GET", f"/posts/{post}")).body["status"] == "draft"

"""What reaches readers and comes back: feeds, figures, and the link that ends mails."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from distill_grpc import clock
from distill_grpc.publishing.links import SubscriptionLinks
from distill_grpc.sources.base import FetchRequest, Item
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext
from distill_grpc.sources.rss import RssSource
from tests.conformance.publishing.people import Person, as_nobody, person
from tests.conformance.users import link_tokens
from tests.integration.feed.waiting import until
from tests.service import DOORS, Door, Service

TYPES = {"rss": "application/rss+xml", "atom": "application/atom+xml"}
TYPES |= {"json": "application/feed+json"}


async def link(service: Service, reader: Person, creator: Person) -> str:
    """The path that a mail to the reader holds."""
    tokens = await link_tokens(service)
    links = SubscriptionLinks(tokens.sign, tokens.read)
    return f"/unsubscribe/{links.token(UUID(reader.id), UUID(creator.id))}"


async def read(address: str) -> list[Item]:
    """What our own source of feeds finds at an address."""
    http = HttpClient(allow_private_addresses=True)
    source = RssSource(SourceContext(http=http))
    now = clock.utc_now()
    wanted = FetchRequest(
        credentials={},
        settings={"feeds": [address]},
        cursors={},
        since={},
        default_since=now - timedelta(days=1),
        skip=frozenset(),
        now=now + timedelta(seconds=5),
    )
    pages = [page async for page in source.fetch(wanted)]
    await source.close()
    await http.close()
    assert [page.failure for page in pages] == [None]
    return [item for page in pages for item in page.items]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", TYPES)
async def test_a_feed_holds_the_published_posts_and_can_be_read(
    shared: Service, door: Door, kind: str
) -> None:
    ada = await person(shared)
    hostile = "Hi <script>x</script> & \u0001 *you* <img src='javascript:1'>"
    first = await ada.post(title="First & foremost", content=hostile)
    second = await ada.post(title="Second")
    await ada.post(title="A draft", publish=False)
    path = f"/creators/{ada.id}/feed.{kind}"
    answer = await as_nobody(shared, "GET", path, door=door)
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, TYPES[kind])
    assert "lt;script" not in answer.text
    assert "<script" not in answer.text
    assert 'rel="hub"' not in answer.text
    assert '"hubs"' not in answer.text
    items = await read(f"{await shared.address(door)}/api/v1{path}")
    assert {item.title for item in items} == {"First & foremost", "Second"}
    assert {item.platform_id.rpartition(":")[2] for item in items} == {first, second}
    assert all(item.author == ada.name for item in items)
    assert "you" in "".join(item.content for item in items)


@pytest.mark.parametrize("kind", TYPES)
async def test_a_feed_that_did_not_change_is_not_sent_again(shared: Service, kind: str) -> None:
    ada = await person(shared)
    await ada.post(title="First")
    address = f"{shared.doors['local']}/api/v1/creators/{ada.id}/feed.{kind}"
    async with HttpClient(allow_private_addresses=True) as http:
        known = {"If-None-Match": (await http.get(address)).headers["ETag"]}
        unchanged = await http.get(address, headers=known)
        assert (unchanged.status, unchanged.body) == (304, b"")
        await ada.post(title="Second")
        changed = await http.get(address, headers=known)
        assert changed.status == 200
        assert b"Second" in changed.body


async def test_a_creator_without_posts_has_an_empty_feed_and_a_reader_has_none(
    shared: Service,
) -> None:
    ada, reader = await person(shared), await person(shared, "reader")
    assert await read(f"{shared.doors['local']}/api/v1/creators/{ada.id}/feed.atom") == []
    for kind in TYPES:
        answer = await as_nobody(shared, "GET", f"/creators/{reader.id}/feed.{kind}")
        assert (answer.status, answer.body["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("door", DOORS)
async def test_the_link_of_a_mail_asks_first_and_ends_the_subscription_then(
    shared: Service, door: Door
) -> None:
    ada, reader = await person(shared), await person(shared, "reader")
    await reader.call("POST", f"/creators/{ada.id}/subscribe")
    path = await link(shared, reader, ada)

    async def status() -> str:
        listed = await reader.call("GET", f"/users/{reader.id}/subscriptions")
        return str(listed.body[0]["status"])

    asked = await as_nobody(shared, "GET", path, door=door)
    assert (asked.status, asked.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert ada.name in asked.text
    assert '<form method="post">' in asked.text
    assert await status() == "active"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for _ in range(2):
        ended = await shared.call(
            "POST",
            f"/api/v1{path}",
            user=None,
            door=door,
            headers=form,
            data=b"List-Unsubscribe=One-Click",
        )
        assert ended.status == 200, ended.text
        assert await status() == "cancelled"


async def test_a_link_that_was_changed_ends_nothing(shared: Service) -> None:
    ada, bob, reader = (await person(shared), await person(shared), await person(shared, "reader"))
    for creator in (ada, bob):
        await reader.call("POST", f"/creators/{creator.id}/subscribe")
    good = await link(shared, reader, ada)
    other = await link(shared, reader, bob)
    body, _, mac = good.rpartition(".")
    for forged in (
        f"{body}.{'A' * len(mac)}",
        f"{other.rpartition('.')[0]}.{mac}",
        body,
        good[:-1],
    ):
        for method in ("GET", "POST"):
            answer = await as_nobody(shared, method, forged)
            assert (answer.status, answer.body["code"]) == (404, "NOT_FOUND")
    listed = await reader.call("GET", f"/users/{reader.id}/subscriptions")
    assert {one["status"] for one in listed.body} == {"active"}


@pytest.mark.parametrize("door", DOORS)
async def test_reading_is_counted_but_not_that_of_the_creator(shared: Service, door: Door) -> None:
    ada, bob, eve = (await person(shared), await person(shared, "reader"), await person(shared))
    post = await ada.post()
    path = f"/posts/{post}"
    assert (await ada.call("GET", path, door=door)).body["view_count"] == 0
    for who in (bob, bob, eve, ada):
        assert (await who.call("GET", path, door=door)).status == 200
    assert (await as_nobody(shared, "GET", path, door=door)).status == 200
    assert (await bob.call("HEAD", path, door=door)).status == 200  # asked, but not read
    await bob.call("POST", f"/creators/{ada.id}/subscribe")

    async def counted() -> bool:
        return bool((await ada.call("GET", path, door=door)).body["view_count"] == 4)

    await until(counted, timeout=30)
    stats = (await ada.call("GET", f"/creators/{ada.id}/stats?days=3", door=door)).body
    assert (stats["views"], stats["subscribers"], len(stats["days"])) == (4, 1, 3)
    today: dict[str, Any] = stats["days"][-1]
    assert today == {
        "date": clock.utc_now().date().isoformat(),
        "views": 4,
        "readers": 2,
        "subscribed": 1,
        "unsubscribed": 0,
        "subscribers": 1,
    }
    assert stats["days"][0]["views"] == stats["days"][0]["subscribers"] == 0


async def test_a_draft_has_no_count(shared: Service) -> None:
    ada = await person(shared)
    draft = await ada.post(publish=False)
    assert "view_count" not in (await ada.call("GET", f"/posts/{draft}")).body


@pytest.mark.parametrize("query", ["days=0", "days=367", "days=x", "from=2026-01-01"])
async def test_days_out_of_range_are_refused(shared: Service, query: str) -> None:
    ada = await person(shared)
    answer = await ada.call("GET", f"/creators/{ada.id}/stats?{query}")
    assert answer.status == 400
    assert set(answer.body["field_errors"]) == {query.partition("=")[0]}


async def test_publishing_tells_subscribers_and_stats_show_it(shared: Service) -> None:
    ada, bob = await person(shared), await person(shared, "reader")
    await bob.call("POST", f"/creators/{ada.id}/subscribe")
    post = await ada.post()
    assert post

    async def delivered() -> bool:
        stats = (await ada.call("GET", f"/creators/{ada.id}/stats")).body
        return bool(stats["deliveries"]["logged"] == 1)

    await until(delivered, timeout=30)

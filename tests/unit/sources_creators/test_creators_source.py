"""The source of creators' posts: whom it reads, what it takes up again, and how it fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from distill_grpc.sources.base import (
    Account,
    FetchRequest,
    InvalidConnection,
    NoPlatformAuth,
    Page,
    RateLimited,
)
from distill_grpc.sources.creators import SUBSCRIPTIONS, CreatorsSource
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import OwnInstance, SourceContext
from tests.servers.creators import READER, CreatorsServer, creator_id, token
from tests.servers.platform import Clock

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ADA, BOB = creator_id(1), creator_id(2)


@pytest.fixture
def platform_clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
async def server(platform_clock: Clock) -> AsyncIterator[CreatorsServer]:
    async with CreatorsServer(platform_clock) as running:
        yield running
        assert not running.violations


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient(allow_private_addresses=True) as client:
        yield client


def request(server: CreatorsServer, **changes: Any) -> FetchRequest:
    first = FetchRequest(
        credentials={"access_token": token()},
        settings={"url": server.origin},
        cursors={},
        since={},
        default_since=NOW - timedelta(days=7),
        skip=frozenset(),
        now=NOW,
        user="somebody",
    )
    return replace(first, **changes)


async def read(source: CreatorsSource, wanted: FetchRequest) -> list[Page]:
    return [page async for page in source.fetch(wanted)]


async def test_whom_the_user_follows_is_read_and_whom_no_more_is_forgotten(
    server: CreatorsServer, http: HttpClient
) -> None:
    server.add(ADA, 3, until=NOW)
    server.add(BOB, 1, until=NOW)
    server.follow(ADA)
    server.follow(BOB, status="cancelled")
    source = CreatorsSource(SourceContext(http=http))
    pages = await read(source, request(server, cursors={BOB: None}))
    assert [page.part for page in pages] == [SUBSCRIPTIONS, ADA, BOB]
    assert [item.title for item in pages[1].items] == ["Post 0", "Post 1", "Post 2"]
    assert pages[1].items[0].author == pages[1].title == f"name-{ADA[-4:]}"
    assert pages[1].items[0].content == "Words of post 0"
    assert pages[2].ended


async def test_what_is_known_costs_one_call_and_what_is_new_one_more(
    server: CreatorsServer, http: HttpClient
) -> None:
    server.add(ADA, 3, until=NOW - timedelta(hours=2))
    source = CreatorsSource(SourceContext(http=http))
    named = request(server, settings={"url": server.origin, "creators": [ADA]})
    cursors = {page.part: page.cursor for page in await read(source, named)}
    server.ledger.clear()
    (quiet,) = await read(source, replace(named, cursors=cursors))
    assert (quiet.unchanged, [asked.status for asked in server.ledger]) == (True, [304])

    new = server.add(ADA, 1, until=NOW)
    server.ledger.clear()
    (page,) = await read(source, replace(named, cursors=cursors))
    assert [item.platform_id for item in page.items] == new
    assert [asked.path for asked in server.ledger] == [f"/api/v1/creators/{ADA}/feed.json"]


async def test_a_post_that_was_changed_is_given_again(
    server: CreatorsServer, http: HttpClient
) -> None:
    posts = server.add(ADA, 4, until=NOW - timedelta(hours=1))
    server.follow(ADA)
    source = CreatorsSource(SourceContext(http=http))
    cursors = {page.part: page.cursor for page in await read(source, request(server))}
    server.edit(posts[1], "<p>Other words</p>")
    pages = await read(source, request(server, cursors=cursors))
    assert [(i.platform_id, i.content) for i in pages[-1].items] == [(posts[1], "Other words")]


async def test_a_post_that_comes_to_light_a_little_late_is_not_missed(
    server: CreatorsServer, http: HttpClient
) -> None:
    server.add(ADA, 1, until=NOW)
    server.follow(ADA)
    source = CreatorsSource(SourceContext(http=http))
    first = await read(source, request(server))
    late = server.add(ADA, 1, until=NOW - timedelta(minutes=2))
    pages = await read(source, request(server, cursors={p.part: p.cursor for p in first}))
    assert [item.platform_id for item in pages[-1].items] == list(late)


async def test_what_the_feed_shows_no_more_is_looked_up(
    server: CreatorsServer, http: HttpClient
) -> None:
    server.add(ADA, 2, until=NOW - timedelta(days=6))
    server.follow(ADA)
    source = CreatorsSource(SourceContext(http=http))
    cursors = {page.part: page.cursor for page in await read(source, request(server))}
    missed = server.add(ADA, 50, until=NOW)
    pages = await read(source, request(server, cursors=cursors))
    given = [item.platform_id for page in pages for item in page.items]
    assert [one for one in given if one in missed] == list(missed)
    assert len(server.asked("/posts/")) <= 50 - 30 + 1


async def test_where_the_platform_says_stop_what_was_read_stays(
    server: CreatorsServer, http: HttpClient, platform_clock: Clock
) -> None:
    posts = server.add(ADA, 35, until=NOW)
    server.add(BOB, 1, until=NOW)
    server.follow(ADA, BOB)
    server.limit = 5  # the list of creators, the feed, the list of posts, two posts
    source = CreatorsSource(SourceContext(http=http))
    pages: list[Page] = []

    async def collect() -> None:
        async for page in source.fetch(request(server)):
            pages.append(page)  # noqa: PERF401 -- what came before the failure counts

    with pytest.raises(RateLimited) as refused:
        await collect()
    assert refused.value.retry_at is not None
    assert [item.platform_id for item in pages[-1].items] == posts[:2]
    platform_clock.advance(seconds=30)
    server.limit = 100
    rest = await read(source, request(server, cursors={p.part: p.cursor for p in pages}))
    given = [item.platform_id for page in rest for item in page.items if page.part == ADA]
    assert set(given) >= set(posts[2:])
    assert len(given) == len(set(given))


async def test_this_instance_needs_no_credentials_of_its_own_users(
    server: CreatorsServer, http: HttpClient
) -> None:
    server.add(ADA, 1, until=NOW)
    server.follow(ADA)
    asked = []

    def mint(user: str) -> str:
        asked.append(user)
        return token()

    own = OwnInstance(url=server.origin, http=http, token=mint)
    guarded = HttpClient(allow_private_addresses=False)
    source = CreatorsSource(SourceContext(http=guarded, own=own))
    source.check({}, {})
    pages = await read(source, request(server, credentials={}, settings={}))
    assert len(pages[-1].items) == 1
    assert asked == ["somebody"]
    await guarded.close()


async def test_who_has_no_account_here_is_told_at_once_and_not_tried_again(
    server: CreatorsServer, http: HttpClient
) -> None:
    own = OwnInstance(url=server.origin, http=http, token=lambda _user: token("user_7"))
    source = CreatorsSource(SourceContext(http=http, own=own))
    for attempt in (
        source.identify_user("user_7", {}, {}),
        read(source, request(server, credentials={}, settings={})),
    ):
        with pytest.raises(NoPlatformAuth, match="POST /api/v1/users/register") as refused:
            await attempt
        assert refused.value.permanent


async def test_the_account_of_a_user_of_this_instance_is_looked_up(
    server: CreatorsServer, http: HttpClient
) -> None:
    own = OwnInstance(url=server.origin, http=http, token=lambda _user: token())
    source = CreatorsSource(SourceContext(http=http, own=own))
    assert await source.identify_user("user_1", {}, {}) == Account(name="name-0001", id=READER)
    server.gone.add(READER)
    with pytest.raises(NoPlatformAuth, match="POST /api/v1/users/register"):
        await source.identify_user("user_1", {}, {})


async def test_a_host_that_is_no_platform_is_told_by_the_setting(
    server: CreatorsServer, http: HttpClient
) -> None:
    server.gone.add(READER)
    source = CreatorsSource(SourceContext(http=http))
    with pytest.raises(InvalidConnection) as refused:
        await source.identify({"access_token": token()}, {"url": server.origin})
    assert set(refused.value.details) == {"settings.url"}


@pytest.mark.parametrize(
    ("credentials", "settings", "wrong"),
    [
        ({}, {}, {"settings.url"}),
        ({}, {"url": "https://a.example"}, {"credentials.access_token"}),
        ({"access_token": "abc"}, {"url": "https://a.example"}, {"credentials.access_token"}),
        ({"access_token": token()}, {"url": "ftp://a.example"}, {"settings.url"}),
        ({"access_token": token()}, {"url": "https://u:p@a.example"}, {"settings.url"}),
        ({"access_token": token()}, {"url": 7}, {"settings.url"}),
        (
            {"access_token": token()},
            {"url": "https://a.example", "creators": []},
            {"settings.creators"},
        ),
        (
            {"access_token": token()},
            {"url": "https://a.example", "creators": [ADA, ADA, "x"]},
            {"settings.creators[1]", "settings.creators[2]"},
        ),
    ],
)
async def test_a_connection_that_cannot_work_is_refused_by_field(
    http: HttpClient, credentials: dict[str, Any], settings: dict[str, Any], wrong: set[str]
) -> None:
    with pytest.raises(InvalidConnection) as refused:
        CreatorsSource(SourceContext(http=http)).check(credentials, settings)
    assert set(refused.value.details) == wrong


async def test_another_instance_at_a_private_address_is_refused_by_its_field() -> None:
    async with HttpClient(allow_private_addresses=False) as guarded:
        source = CreatorsSource(SourceContext(http=guarded))
        with pytest.raises(InvalidConnection) as refused:
            source.check({"access_token": token()}, {"url": "http://10.0.0.1:8080"})
        assert refused.value.details == {"settings.url": "must not be a private address"}
        source = CreatorsSource(SourceContext(http=guarded.trusting("http://10.0.0.1:8080")))
        source.check({"access_token": token()}, {"url": "http://10.0.0.1:8080"})

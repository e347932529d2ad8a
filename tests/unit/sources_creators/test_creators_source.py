"""The source of creators' posts: whom it reads, what it takes up again, and how it fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from distill_grpc.sources.base import (
    FetchRequest,
    InvalidConnection,
    NoPlatformAuth,
    Page,
    RateLimited,
)
from distill_grpc.sources.creators import SUBSCRIPTIONS, CreatorsSource
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import OwnInstance, SourceContext
from tests.servers.creators import CreatorsServer, creator_id, creators_server, token

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ADA, BOB = creator_id(1), creator_id(2)


@pytest.fixture
async def server() -> AsyncIterator[CreatorsServer]:
    async with creators_server() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient(allow_private_addresses=True) as client:
        yield client


def request(server: CreatorsServer, **changes: Any) -> FetchRequest:
    first = FetchRequest(
        credentials={"access_token": token()},
        settings={"url": server.url},
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


def follow(server: CreatorsServer, *creators: str, status: str = "active") -> None:
    server.followed += [{"creator_id": one, "status": status} for one in creators]


async def test_whom_the_user_follows_is_read_and_whom_no_more_is_left(
    server: CreatorsServer, http: HttpClient
) -> None:
    server.add(ADA, 3, until=NOW)
    server.add(BOB, 1, until=NOW)
    follow(server, ADA)
    follow(server, BOB, status="cancelled")
    source = CreatorsSource(SourceContext(http=http))
    pages = await read(source, request(server, cursors={BOB: None}))
    assert [page.part for page in pages] == [SUBSCRIPTIONS, ADA, BOB]
    assert [item.title for item in pages[1].items] == ["Post 0", "Post 1", "Post 2"]
    assert pages[1].items[0].author == pages[1].title == f"name-{ADA[-4:]}"
    assert pages[1].items[0].content == "Words of post 0"
    assert pages[2].unchanged


async def test_only_what_is_new_is_asked_for(server: CreatorsServer, http: HttpClient) -> None:
    server.add(ADA, 3, until=NOW - timedelta(hours=2))
    follow(server, ADA)
    source = CreatorsSource(SourceContext(http=http))
    first = await read(source, request(server))
    cursors = {page.part: page.cursor for page in first}
    new = server.add(ADA, 1, until=NOW)
    server.ledger.clear()
    pages = await read(source, request(server, cursors=cursors))
    assert [item.platform_id for item in pages[-1].items] == new
    assert [path for path in server.ledger if "/posts/" in path] == [f"/api/v1/posts/{new[0]}"]


async def test_a_post_that_comes_to_light_a_little_late_is_not_missed(
    server: CreatorsServer, http: HttpClient
) -> None:
    server.add(ADA, 1, until=NOW)
    follow(server, ADA)
    source = CreatorsSource(SourceContext(http=http))
    first = await read(source, request(server))
    late = server.add(ADA, 1, until=NOW - timedelta(minutes=2))
    pages = await read(source, request(server, cursors={p.part: p.cursor for p in first}))
    assert [item.platform_id for item in pages[-1].items] == list(late)


async def test_where_the_platform_says_stop_what_was_read_stays(
    server: CreatorsServer, http: HttpClient
) -> None:
    posts = server.add(ADA, 5, until=NOW)
    follow(server, ADA)
    server.refuse_after = 5  # the list of creators, of posts, the name, two posts
    source = CreatorsSource(SourceContext(http=http))
    pages = await read(source, request(server))
    assert isinstance(pages[-1].failure, RateLimited)
    assert pages[-1].failure.retry_at is not None
    assert [item.platform_id for item in pages[-1].items] == posts[:2]
    server.refuse_after = None
    rest = await read(source, request(server, cursors={p.part: p.cursor for p in pages}))
    assert [item.platform_id for item in rest[-1].items] == posts[2:]


async def test_this_instance_needs_no_credentials_of_its_own_users(
    server: CreatorsServer, http: HttpClient
) -> None:
    server.add(ADA, 1, until=NOW)
    follow(server, ADA)
    asked = []

    def mint(user: str) -> str:
        asked.append(user)
        return token()

    own = OwnInstance(url=server.url, http=http, token=mint)
    guarded = HttpClient(allow_private_addresses=False)
    source = CreatorsSource(SourceContext(http=guarded, own=own))
    source.check({}, {})
    pages = await read(source, request(server, credentials={}, settings={}))
    assert len(pages[-1].items) == 1
    assert asked == ["somebody"]
    await guarded.close()


async def test_a_token_of_no_account_is_a_failure_of_the_connection(
    server: CreatorsServer, http: HttpClient
) -> None:
    own = OwnInstance(url=server.url, http=http, token=lambda _user: token("user_7"))
    source = CreatorsSource(SourceContext(http=http, own=own))
    with pytest.raises(NoPlatformAuth):
        await read(source, request(server, credentials={}, settings={}))


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

"""Pages: everything once, whatever happens in between; tokens are good for their own list only."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.conformance.seeds import assert_error
from tests.conformance.users import store, story, watch
from tests.service import DOORS, Answer, Door, Service

Json = Any
Turn = Callable[[int], Awaitable[None]]


async def recent_pages(
    service: Service, user: str, door: Door = "local", between: Turn | None = None, **query: Json
) -> AsyncIterator[Json]:
    """The answers from the first page to the last."""
    token: dict[str, str] = {}
    for number in range(1000):
        path = f"/content/recent?{urlencode({**query, **token})}"
        answer = await service.call("GET", path, user=user, door=door)
        assert answer.status == 200, answer.text[:500]
        yield answer.body
        about = answer.body["metadata"]
        assert about["has_more"] is ("next_page_token" in about)
        if not about["has_more"]:
            return
        token = {"page_token": about["next_page_token"]}
        if between is not None:
            await between(number)


async def search_pages(service: Service, user: str, **body: Json) -> AsyncIterator[Json]:
    while True:
        answer = await service.call("POST", "/content/search", body, user=user)
        assert answer.status == 200, answer.text[:500]
        yield answer.body
        if not answer.body["metadata"]["has_more"]:
            return
        body["page_token"] = answer.body["metadata"]["next_page_token"]


def ids(pages: list[Json]) -> list[str]:
    return [item["id"] for page in pages for item in page["data"]]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("limit", [1, 3, 7, 20, 21, 500])
async def test_the_pages_are_the_whole_list(
    idle: Service, user: str, door: Door, limit: int
) -> None:
    await watch(idle, user)
    # Half of them at one instant: ids decide there.
    same = [story(n, ago=timedelta(hours=2)) for n in range(10)]
    apart = [story(n, ago=timedelta(minutes=n)) for n in range(10, 20)]
    stored = await store(idle, user, *same, *apart)
    whole = (await idle.call("GET", "/content/recent", user=user, door=door)).body
    pages = [page async for page in recent_pages(idle, user, door, limit=limit)]
    assert ids(pages) == ids([whole])
    assert sorted(ids(pages)) == sorted(stored)
    assert all(page["metadata"]["count"] == len(page["data"]) for page in pages)
    assert len(pages) == -(-20 // limit)


async def test_items_that_arrive_meanwhile_disturb_nothing(idle: Service, user: str) -> None:
    await watch(idle, user)
    stored = await store(
        idle, user, *(story(n, ago=timedelta(minutes=30 * (n + 1))) for n in range(20))
    )

    async def arrive(number: int) -> None:
        newer = story(100 + number, ago=timedelta(seconds=number))
        older = story(200 + number, ago=timedelta(hours=23, minutes=number))
        again = story(number, ago=timedelta(minutes=30 * (number + 1)), content="Changed.")
        await store(idle, user, newer, older)
        await store(idle, user, again)

    pages = [page async for page in recent_pages(idle, user, between=arrive, limit=3)]
    seen = ids(pages)
    assert len(seen) == len(set(seen))
    assert set(stored) <= set(seen)


async def test_pages_keep_the_window_of_the_first(idle: Service, user: str) -> None:
    await watch(idle, user)
    edge = timedelta(hours=1) - timedelta(seconds=2)
    await store(idle, user, story(1, ago=timedelta(0)), story(2, ago=edge))
    first = await idle.call("GET", "/content/recent?hours=1&limit=1", user=user)
    token = first.body["metadata"]["next_page_token"]
    await asyncio.sleep(2.2)  # now the second one is older than an hour
    rest = await idle.call("GET", f"/content/recent?hours=1&page_token={token}", user=user)
    assert rest.body["metadata"]["count"] == 1


async def test_search_pages_are_the_whole_list(idle: Service, user: str) -> None:
    await watch(idle, user)
    # Equal texts have equal ranks: ids decide there.
    items = [
        story(n, content="A lighthouse." if n % 2 else f"{n} lighthouse keepers, lighthouse")
        for n in range(25)
    ]
    stored = await store(idle, user, *items)
    whole = (await idle.call("POST", "/content/search", {"query": "lighthouse"}, user=user)).body
    pages = [page async for page in search_pages(idle, user, query="lighthouse", limit=4)]
    assert ids(pages) == ids([whole])
    assert sorted(ids(pages)) == sorted(stored)
    assert len(pages) == 7


@pytest.fixture(scope="module")
async def listed(idle: Service) -> dict[str, str]:
    """Users with enough items for two pages; a token of each list of the first."""
    for user in ("pager", "other-pager"):
        await watch(idle, user)
        await store(idle, user, *(story(n) for n in range(5)))
    recent = await idle.call("GET", "/content/recent?limit=2", user="pager")
    body = {"query": "story", "limit": 2}
    search = await idle.call("POST", "/content/search", body, user="pager")
    return {
        "recent": recent.body["metadata"]["next_page_token"],
        "search": search.body["metadata"]["next_page_token"],
    }


@pytest.mark.parametrize("door", DOORS)
async def test_a_token_is_opaque_and_fits_a_query_string(
    idle: Service, listed: dict[str, str], door: Door
) -> None:
    for token in listed.values():
        assert quote(token, safe="") == token
        assert "pager" not in token
    path = f"/content/recent?limit=3&page_token={listed['recent']}"
    answer = await idle.call("GET", path, user="pager", door=door)
    # Another limit is no other list.
    assert (answer.status, answer.body["metadata"]["count"]) == (200, 3)


async def ask(
    service: Service, kind: str, token: Json, user: str = "pager", **more: Json
) -> Answer:
    if kind == "recent":
        query = urlencode({"page_token": token, **more})
        return await service.call("GET", f"/content/recent?{query}", user=user)
    body = {"query": "story", "page_token": token, **more}
    return await service.call("POST", "/content/search", body, user=user)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("recent", {"user": "other-pager"}),
        ("recent", {"hours": 25}),
        ("recent", {"sources": "rss"}),
        ("search", {"user": "other-pager"}),
        ("search", {"query": "stories"}),
        ("search", {"tags": ["news"]}),
        ("search", {"authors": ["Ada"]}),
        ("search", {"sources": ["rss"]}),
        ("search", {"since": "2024-01-01T00:00:00Z"}),
        ("search", {"until": "2034-01-01T00:00:00Z"}),
    ],
)
async def test_a_token_of_another_user_or_query_is_refused(
    idle: Service, listed: dict[str, str], kind: str, changes: Json
) -> None:
    answer = await ask(idle, kind, listed[kind], **changes)
    assert_error(answer, "invalid_argument", details={"page_token"})


async def test_a_token_of_another_list_is_refused(idle: Service, listed: dict[str, str]) -> None:
    for kind, token in (("recent", listed["search"]), ("search", listed["recent"])):
        answer = await ask(idle, kind, token)
        assert_error(answer, "invalid_argument", details={"page_token"})


def spoiled(token: str) -> list[str]:
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    changed = []
    for place in (0, 15, 16, len(raw) - 1):
        other = bytearray(raw)
        other[place] ^= 1
        changed.append(base64.urlsafe_b64encode(other).decode().rstrip("="))
    return [
        *changed,
        token[:-1],
        token[:-4],
        token[4:],
        token[:10],
        token + "AAAA",
        token * 2,
        token[::-1],
        "x",
        "garbage",
        "=",
        "\u00fc\u00fc",
        "../../etc/passwd",
        "'; DROP TABLE items; --",
        base64.urlsafe_b64encode(b"{}").decode(),
        base64.urlsafe_b64encode(bytes(16) + b"{}").decode(),
    ]


@pytest.mark.parametrize("kind", ["recent", "search"])
async def test_a_token_that_was_tampered_with_is_refused(
    idle: Service, listed: dict[str, str], kind: str
) -> None:
    for token in spoiled(listed[kind]):
        answer = await ask(idle, kind, token)
        assert_error(answer, "invalid_argument", details={"page_token"})


async def test_a_token_that_is_no_text_is_refused(idle: Service, listed: dict[str, str]) -> None:
    for token in (1, True, {}, ["a"]):
        answer = await ask(idle, "search", token)
        assert_error(answer, "invalid_argument", details={"page_token"})

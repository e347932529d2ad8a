"""Searches and questions by meaning: what shares no word is found, whatever is amiss costs meaning only.

Feeds are collected by a real sync, embedded by the worker, and asked for at the doors.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from distill_grpc import clock
from distill_grpc.db.migrate import migrate
from tests.conformance.users import connect, watch
from tests.databases import empty_database, fresh_database
from tests.servers import openai
from tests.servers.embeddings import FAULTS, MODEL, EmbeddingsServer, embeddings_server, honest
from tests.servers.feeds import Answer, FeedServer
from tests.servers.openai import KEY, openai_server
from tests.service import DOORS, Door, Service, start_service

Json = Any

LIBRARY: dict[str, str] = {
    "Viaduct": "The old viaduct is shut until March.",
    "Clinic": "A surgeon from Brno joins us.",
    "Rye": "Rye bread from the oven.",
    "Cards": "An evening of bridge and whist.",
    "Loans": "A bridge loan helps the bank.",
}


@dataclass
class World:
    """A service, the model that it embeds with, and feeds."""

    service: Service
    model: EmbeddingsServer
    feeds: FeedServer
    names: dict[str, str] = field(default_factory=dict)

    async def collected(self, user: str, library: Mapping[str, str], **more: Json) -> None:
        """A user with these items, once they are stored."""
        now = clock.utc_now()
        told = [
            {
                "id": title,
                "title": title,
                "content_text": text,
                "authors": [{"name": f"Desk {title}"}],
                "tags": [title],
                "date_published": (now - timedelta(hours=age + 1)).isoformat(),
                **more,
            }
            for age, (title, text) in enumerate(library.items())
        ]
        feed = {"version": "https://jsonfeed.org/version/1.1", "title": "F", "items": told}
        body = json.dumps(feed).encode()
        url = self.feeds.serve(f"/{user}", Answer(body=body, content_type="application/feed+json"))
        await connect(self.service, user, settings={"feeds": [url]})
        await watch(self.service, user)
        await self._until(user, lambda numbers: numbers["total_items"] == len(library))

    async def embedded(self, user: str) -> Json:
        """Waits until everything of a user is embedded; `/metadata` then."""
        return await self._until(user, lambda numbers: numbers["embedded"] == 1)

    async def _until(self, user: str, is_so: Callable[[Json], bool]) -> Json:
        async with asyncio.timeout(20):
            while True:
                told = (await self.service.call("GET", "/metadata", user=user)).body
                if is_so(told["statistics"]):
                    return told
                await asyncio.sleep(0.1)

    async def search(self, user: str, query: str, door: Door = "local", **body: Json) -> Json:
        """An answer to a search."""
        answer = await self.service.call(
            "POST", "/content/search", {"query": query, **body}, user=user, door=door
        )
        assert answer.status == 200, answer.text[:500]
        return answer.body

    async def titles(self, user: str, query: str, door: Door = "local", **body: Json) -> list[str]:
        """The titles that a search finds, in order."""
        return [item["title"] for item in (await self.search(user, query, door, **body))["data"]]


@asynccontextmanager
async def world(address: str, folder: Path, **settings: Json) -> AsyncIterator[World]:
    async with (
        embeddings_server(honest) as model,
        FeedServer() as feeds,
        start_service(
            address,
            folder,
            **{
                "allow_private_addresses": True,
                "embedding_model": MODEL,
                "embedding_base_url": model.url,
                "embedding_api_key": KEY,
                **settings,
            },
        ) as service,
    ):
        yield World(service, model, feeds)


@pytest.fixture(scope="module")
async def shared_world(
    postgres: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    with fresh_database(postgres) as address:
        async with world(address, tmp_path_factory.mktemp("means")) as running:
            await running.collected("ada", LIBRARY)
            await running.embedded("ada")
            yield running


@pytest.fixture
async def own_world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with world(database_url, tmp_path) as running:
        yield running


@pytest.mark.parametrize("door", DOORS)
async def test_an_item_is_found_that_shares_no_word_with_the_query(
    shared_world: World, door: Door
) -> None:
    told = await shared_world.search("ada", "physician", door)
    assert [item["title"] for item in told["data"]] == ["Clinic"]
    assert "physician" not in json.dumps(told["data"])
    assert told["metadata"]["warnings"] == []


async def test_what_words_and_meaning_find_is_one_list_each_item_once(shared_world: World) -> None:
    titles = await shared_world.titles("ada", "bridge")
    assert sorted(titles) == ["Cards", "Loans", "Viaduct"]
    assert titles[-1] == "Viaduct"  # the others are in both lists


async def test_what_means_nothing_alike_is_not_found(shared_world: World) -> None:
    assert await shared_world.titles("ada", "astronomy") == []


@pytest.mark.parametrize(
    ("query", "filters", "found"),
    [
        ("crossing", {}, {"Viaduct", "Cards", "Loans"}),
        ("crossing -loan", {}, {"Viaduct", "Cards"}),
        ('crossing -"old viaduct"', {}, {"Cards", "Loans"}),
        ('"bridge loan" crossing', {}, {"Loans"}),
        ('"no such phrase" crossing', {}, set()),
        ('crossing "no such phrase" or crossing', {}, {"Viaduct", "Cards", "Loans"}),
        ("crossing from:desk-none", {}, set()),
        ('crossing from:"desk cards"', {}, {"Cards"}),
        ("crossing -from:cards", {}, {"Viaduct", "Loans"}),
        ("crossing tag:loans", {}, {"Loans"}),
        ("crossing -tag:loans", {}, {"Viaduct", "Cards"}),
        ("crossing source:github", {}, set()),
        ("crossing since:2h", {}, {"Viaduct"}),
        ("crossing until:2h", {}, {"Cards", "Loans"}),
        ("crossing", {"sources": ["github"]}, set()),
        ("crossing", {"tags": ["cards"]}, {"Cards"}),
        ("crossing", {"authors": ["desk loans"]}, {"Loans"}),
        ("tag:loans", {}, {"Loans"}),  # without words nothing is looked for by meaning
        ("-crossing", {}, set(LIBRARY)),
    ],
)
async def test_filters_phrases_and_exclusions_hold_for_meaning_too(
    shared_world: World, query: str, filters: Json, found: set[str]
) -> None:
    assert set(await shared_world.titles("ada", query, **filters)) == found


async def test_facets_and_snippets_cover_what_meaning_found(shared_world: World) -> None:
    told = await shared_world.search("ada", "crossing whist", facets=True, highlight=True)
    tags = {facet["value"]: facet["items"] for facet in told["facets"]["tags"]}
    assert tags == dict.fromkeys((item["title"].lower() for item in told["data"]), 1)
    snippets = {item["title"]: item["snippet"] for item in told["data"]}
    assert "viaduct" in snippets["Viaduct"]
    assert "<mark>whist</mark>" in snippets["Cards"]


async def test_a_question_is_embedded_once_and_paid_by_whoever_asks(shared_world: World) -> None:
    before = len(shared_world.model.requests)
    spent = (await shared_world.embedded("ada"))["llm"]["tokens"]
    for _ in range(3):
        await shared_world.search("ada", "  a NEW question ")
    assert shared_world.model.texts[-1] == "a NEW question"
    assert len(shared_world.model.requests) == before + 1
    told = (await shared_world.embedded("ada"))["llm"]
    assert told["tokens"] == spent + len("a NEW question") // 4 + 1
    assert told["embedding_model"] == MODEL


async def test_nobody_finds_what_is_anothers(shared_world: World) -> None:
    await shared_world.collected("bob", {"Oven": "Rolls from Vienna."})
    await shared_world.embedded("bob")
    assert await shared_world.titles("bob", "physician") == []
    assert await shared_world.titles("ada", "rolls") == []
    assert await shared_world.titles("bob", "surgeon or rolls") == ["Oven"]


async def test_who_does_not_watch_or_has_nothing_embedded_causes_no_cost(
    shared_world: World,
) -> None:
    before = len(shared_world.model.requests)
    body = {"query": "physician"}
    refused = await shared_world.service.call("POST", "/content/search", body, user="stranger")
    assert (refused.status, refused.body["error"]) == (404, "not_watching")
    body = {"query": "physician since:soon"}
    refused = await shared_world.service.call("POST", "/content/search", body, user="ada")
    assert refused.status == 400
    assert len(shared_world.model.requests) == before


async def test_without_credits_words_alone_are_searched(shared_world: World) -> None:
    before = len(shared_world.model.requests)
    token = shared_world.service.token("ada", credits=False)
    answer = await shared_world.service.call(
        "POST",
        "/content/search",
        {"query": "viaduct again"},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status == 200
    assert answer.body["metadata"]["warnings"] == ["meaning_unavailable"]
    assert len(shared_world.model.requests) == before


async def test_a_spent_budget_stops_before_the_call(shared_world: World) -> None:
    await shared_world.collected("poor", {"Clinic": "A surgeon."})
    await shared_world.embedded("poor")
    wish = {"daily_llm_tokens": 1}
    assert (await shared_world.service.call("PUT", "/preferences", wish, user="poor")).status == 200
    before = len(shared_world.model.requests)
    told = await shared_world.search("poor", "surgeon physician")
    assert told["metadata"]["warnings"] == ["meaning_unavailable"]
    assert len(shared_world.model.requests) == before


@pytest.mark.parametrize("fault", ["500", "timeout", "NaN", "429 with a wait"])
async def test_a_failing_model_costs_meaning_and_little_time(own_world: World, fault: str) -> None:
    await own_world.collected("ada", LIBRARY)
    await own_world.embedded("ada")
    own_world.model.mind = FAULTS[fault][0]
    loop = asyncio.get_running_loop()
    for number in range(3):
        began = loop.time()
        told = await own_world.search("ada", f"surgeon or physician{number}")
        assert loop.time() - began < (4 if number == 0 else 1)
        assert told["metadata"]["warnings"] == ["meaning_unavailable"]
        assert [item["title"] for item in told["data"]][:1] == ["Clinic"]
    health = (await own_world.service.call("GET", "/health")).body
    assert "words alone" in health["degraded_parts"]["embeddings"]


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
async def test_a_walk_tells_each_item_once_while_items_come(
    shared_world: World, limit: int
) -> None:
    user = f"walker-{limit}"
    library = {f"Car {n}": f"A car with the number {n} x{n}." for n in range(12)}
    library |= {f"Automobile {n}": f"An automobile, y{n}." for n in range(9)}
    library |= {f"Noise {n}": f"Topic{n} subject{n} detail{n} remark{n}." for n in range(90)}
    await shared_world.collected(user, library)
    await shared_world.embedded(user)
    told: list[str] = []
    token, pages = None, 0
    while True:
        page = await shared_world.search(
            user, "car", limit=limit, **({"page_token": token} if token else {})
        )
        titles = [item["title"] for item in page["data"]]
        assert len(titles) == limit or not page["metadata"]["has_more"]
        told += titles
        token, pages = page["metadata"].get("next_page_token"), pages + 1
        if token is None:
            break
        assert len(token) < 4000
        if pages == 1:  # whose places would shift everything
            more = {f"Car, car, car {n}": f"Car car car car {n}." for n in range(3)}
            await shared_world.service.call("POST", "/unwatch", user=user)
            await shared_world.collected(user, library | more)
            await shared_world.embedded(user)
    old = [title for title in told if "," not in title]
    assert len(told) == len(set(told))
    assert set(old) == {title for title in library if not title.startswith("Noise")}


async def test_a_question_is_answered_from_what_means_the_same(
    postgres: str, tmp_path: Path
) -> None:
    with fresh_database(postgres) as address:
        async with (
            openai_server(openai.honest) as writer,
            world(
                address,
                tmp_path,
                summary_model=openai.MODEL,
                openai_base_url=writer.url,
                openai_api_key=KEY,
            ) as running,
        ):
            await running.collected("ada", LIBRARY)
            await running.embedded("ada")
            asked = {"question": "Which physician?"}
            answer = await running.service.call("POST", "/content/ask", asked, user="ada")
            assert answer.status == 200, answer.text
            (said,) = answer.body["statements"]
            assert said["text"] == "A surgeon from Brno joins us."
            assert [item["title"] for item in said["items"]] == ["Clinic"]
            asked = {"question": "Which astronomer?"}
            answer = await running.service.call("POST", "/content/ask", asked, user="ada")
            assert answer.body["reason"] == "nothing_found"


async def test_without_pgvector_everything_goes_by_words(
    strict_postgres: str, tmp_path: Path
) -> None:
    with empty_database(strict_postgres, template="template0") as address:
        migrate(address)
        async with world(address, tmp_path) as running:
            await running.collected("ada", LIBRARY)
            assert await running.titles("ada", "surgeon") == ["Clinic"]
            told = await running.search("ada", "physician", facets=True)
            assert (told["data"], told["metadata"]["warnings"]) == ([], [])
            health = (await running.service.call("GET", "/health")).body
            assert "pgvector" in health["degraded_parts"]["embeddings"]
            metadata = (await running.service.call("GET", "/metadata", user="ada")).body
            assert "embedded" not in metadata["statistics"]
            assert running.model.requests == []

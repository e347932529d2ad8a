"""`/tags/vocabulary`, and what it does to items and searches."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.conformance.seeds import assert_error
from tests.conformance.users import store, story, watch
from tests.service import DOORS, Door, Service

Json = Any

WORDS = [{"name": "Public Transport", "aliases": ["tram", "night train"]}, {"name": "Bread"}]


async def put(service: Service, user: str, tags: Json, door: Door = "local") -> Any:
    return await service.call("PUT", "/tags/vocabulary", {"tags": tags}, user=user, door=door)


async def found(service: Service, user: str, **body: Json) -> dict[str, list[str]]:
    answer = await service.call("POST", "/content/search", body, user=user)
    assert answer.status == 200, answer.text
    return {item.get("title", ""): item["ai_tags"] for item in answer.body["data"]}


@pytest.mark.parametrize("door", DOORS)
async def test_a_vocabulary_is_kept_as_it_was_written(idle: Service, door: Door) -> None:
    user = f"words-{door}"
    assert_error(await put(idle, user, WORDS, door), "not_watching", details=None)
    await watch(idle, user)
    empty = await idle.call("GET", "/tags/vocabulary", user=user, door=door)
    assert (empty.status, empty.body) == (200, {"tags": []})
    kept = await put(idle, user, WORDS, door)
    assert kept.status == 200
    assert kept.body == {"tags": [WORDS[0], {"name": "Bread", "aliases": []}]}
    assert (await idle.call("GET", "/tags/vocabulary", user=user, door=door)).body == kept.body


async def test_what_is_there_is_tagged_anew_and_found_by_tag_and_alias(shared: Service) -> None:
    user = "tagged"
    await watch(shared, user)
    await shared.synced(user)
    await store(
        shared,
        user,
        story(1, title="Zeppelins", content="A zeppelin flies again.", tags=("news",)),
        story(2, title="Baking", content="Rusks for beginners.", tags=("news",)),
    )
    words = [{"name": "Airship", "aliases": ["zeppelin", "blimp"]}, {"name": "Rusk"}]
    assert (await put(shared, user, words)).status == 200
    for _ in range(100):
        told = await found(shared, user, query="zeppelin or rusk tag:blimp")
        if told:
            break
        await asyncio.sleep(0.1)
    assert told == {"Zeppelins": ["airship"]}
    assert await found(shared, user, query="beginners", tags=["rusk"]) == {"Baking": ["rusk"]}
    assert await found(shared, user, query="zeppelin -tag:BLIMP") == {}


@pytest.mark.parametrize(
    ("tags", "field"),
    [
        ([{"name": ""}], "tags[0].name"),
        ([{"aliases": ["a"]}], "tags[0].name"),
        ([{"name": "x" * 61}], "tags[0].name"),
        ([{"name": "a", "aliases": [""]}], "tags[0].aliases[0]"),
        ([{"name": "a", "aliases": ["b"] * 21}], "tags[0].aliases"),
        ([{"name": f"tag {n}"} for n in range(201)], "tags"),
        ([{"name": "train"}, {"name": "Trains"}], "tags[1].name"),
        ([{"name": "train", "colour": "red"}], "tags[0].colour"),
        ("train", "tags"),
    ],
)
async def test_a_wrong_field_is_named(idle: Service, user: str, tags: Json, field: str) -> None:
    assert_error(await put(idle, user, tags), "invalid_argument", details={field})

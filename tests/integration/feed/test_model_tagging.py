"""A model chooses tags in the background: for who wants it, within their budget, each item once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from distill_grpc.app import working
from distill_grpc.db.engine import create_engine
from distill_grpc.feed import model_tagging, tagging
from distill_grpc.feed.model_tagging import MODEL_TAG_JOB, ModelTagger
from distill_grpc.feed.tag_matching import Tag
from distill_grpc.llm.chat import Chat, Prices
from distill_grpc.llm.tag_choosing import OpenAiTagChooser
from distill_grpc.sources.base import Page
from tests.integration.feed.digested import prefer
from tests.integration.feed.scripted import items
from tests.integration.feed.world import USER, World, caller
from tests.servers.openai import KEY, MODEL, Model, OpenAiServer, openai_server
from tests.servers.openai_faults import FAULTS
from tests.servers.openai_tags import honest_tags, items_of, obedient_tags

VOCABULARY = [Tag("Big Trains", ("locomotive",)), Tag("Bread"), Tag("Law"), Tag("Music")]
# Offline the first is found by its alias; a model is asked about all.
TEXTS = ("A locomotive, and again a locomotive.", "Rye bread, bread and bread.", "Of nothing.")


@asynccontextmanager
async def tagger(
    world: World, model: Model = honest_tags, tokens: int = 200_000
) -> AsyncIterator[tuple[ModelTagger, OpenAiServer]]:
    async with openai_server(model) as server:
        chat = Chat.open(api_key=KEY, base_url=server.url, model=MODEL, prices=Prices())
        chooser = OpenAiTagChooser(chat)
        yield ModelTagger(engine=world.engine, chooser=chooser, llm_daily_tokens=tokens), server
        await chat.close()


async def vocabulary(world: World, *tags: Tag) -> None:
    async with world.engine.begin() as connection:
        await tagging.replace_vocabulary(connection, world.queue, caller(), tags, world.now())
    await tagging.tag_items(world.engine, USER)


async def collected(world: World, *texts: str, first: int = 0) -> None:
    found = items("a", range(first, first + len(texts)), world.now())
    told = [
        replace(item, title="", content=text, author=f"Author {n}", tags=())
        for n, (item, text) in enumerate(zip(found, texts, strict=True), first)
    ]
    world.source.plays(Page(part="a", items=told))
    await world.sync()


async def reader(world: World, **wanted: Any) -> None:
    """A user with a vocabulary and items, who wants a model to choose."""
    await world.sync(await world.watch())
    await collected(world, *TEXTS)
    await vocabulary(world, *VOCABULARY)
    await prefer(world, **{"tags_by_model": True, **wanted})


async def tags_of(world: World) -> dict[str, list[str]]:
    rows = await world.ask("SELECT content, ai_tags FROM items ORDER BY 1")
    return {content: list(tags) for content, tags in rows}


async def wanted(world: World) -> bool:
    """True where the sync enqueues the job."""
    async with world.engine.begin() as connection:
        return await model_tagging.enqueue_wanted(connection, world.queue, USER)


def asked(server: OpenAiServer) -> list[str]:
    return sorted(item["text"] for request in server.requests for item in items_of(request))


async def everything(server: OpenAiServer, body: Any) -> Any:
    """A model that calls everything music."""
    told = [f'{{"id": "{item["id"]}", "tags": ["Music"]}}' for item in items_of(body)]
    return server.answer(f'{{"items": [{", ".join(told)}]}}')


async def test_a_model_is_asked_about_every_item_once(world: World) -> None:
    await reader(world)
    assert (await tags_of(world))[TEXTS[0]] == ["big-trains"]  # by words, with the sync
    assert await wanted(world)
    assert await world.ask(
        "SELECT args->>'user_id' FROM procrastinate_jobs WHERE task_name = :name",
        name=MODEL_TAG_JOB,
    ) == [(USER,)]
    async with tagger(world, everything) as (tagging_, server):
        await tagging_.run(USER)
        assert asked(server) == sorted(TEXTS)
        assert set(map(tuple, (await tags_of(world)).values())) == {("music",)}
        assert not await wanted(world)
        await tagging_.run(USER)
        # Neither does tagging by words take it back, nor a sync without news.
        await tagging.tag_items(world.engine, USER)
        await collected(world, *TEXTS)
        await tagging_.run(USER)
        assert len(server.requests) == 3
        assert set(map(tuple, (await tags_of(world)).values())) == {("music",)}
        # What is new or changed is asked about.
        await collected(world, "Of the sea.", first=3)
        assert await wanted(world)
        await tagging_.run(USER)
        await collected(world, "Of the wide sea.", first=3)
        assert (await tags_of(world))["Of the wide sea."] == []
        await tagging_.run(USER)
        assert {"Of the sea.", "Of the wide sea."} <= set(asked(server))
        assert len(server.requests) == 5
    (usage,) = await world.ask("SELECT calls, reserved FROM llm_usage")
    assert (usage.calls, usage.reserved) == (5, 0)


async def test_a_worker_with_a_model_tags_by_words_and_enqueues_the_rest(world: World) -> None:
    await reader(world)
    async with tagger(world) as (tagging_, server):
        parts = replace(world.parts(), tag_chooser=tagging_.chooser)
        await working.build_tagger(world.parts())(USER)  # without a model nothing is enqueued
        count = "SELECT count(*) FROM procrastinate_jobs WHERE task_name = :name"
        assert await world.ask(count, name=MODEL_TAG_JOB) == [(0,)]
        await working.build_tagger(parts)(USER)
        assert await world.ask(count, name=MODEL_TAG_JOB) == [(1,)]
        assert not server.requests  # not in the way of the sync
        await parts.model_tagger.run(USER)
        assert asked(server) == sorted(TEXTS)
        await working.build_tagger(parts)(USER)
        assert await world.ask(count, name=MODEL_TAG_JOB) == [(1,)]


async def test_another_vocabulary_is_asked_about_anew_and_the_old_one_remembered(
    world: World,
) -> None:
    await reader(world)
    async with tagger(world) as (tagging_, server):
        await tagging_.run(USER)
        await vocabulary(world, Tag("Baking", ("bread",)))
        await tagging_.run(USER)
        assert (await tags_of(world))[TEXTS[1]] == ["baking"]
        asked_so_far = len(server.requests)
        await vocabulary(world, *VOCABULARY)
        await tagging_.run(USER)
        assert len(server.requests) == asked_so_far == 6
        assert (await tags_of(world))[TEXTS[1]] == ["bread"]
        # Without a vocabulary nothing is asked.
        await vocabulary(world)
        assert not await wanted(world)
        await tagging_.run(USER)
        assert len(server.requests) == 6


@pytest.mark.parametrize("unwilling", ["preference", "credits", "model"])
async def test_nothing_is_asked_for_who_does_not_want_it_or_cannot_pay(
    world: World, unwilling: str
) -> None:
    await reader(world, tags_by_model=unwilling != "preference")
    assert await wanted(world) == (unwilling != "preference")
    before = await tags_of(world)
    if unwilling == "credits":
        await world.tell("UPDATE preferences SET credits_available = false")
    async with tagger(world, everything) as (tagging_, server):
        await replace(tagging_, chooser=None if unwilling == "model" else tagging_.chooser).run(
            USER
        )
        assert not server.requests
    assert await tags_of(world) == before


async def test_tags_take_half_of_the_days_tokens_at_most_and_go_on_on_another_day(
    world: World,
) -> None:
    await reader(world)
    await collected(world, *(f"Bread number {n}." for n in range(30)), first=10)
    async with tagger(world, everything, tokens=9_000) as (tagging_, server):
        await tagging_.run(USER)
        first = len(server.requests)
        assert 0 < first < 33
        (usage,) = await world.ask(
            "SELECT prompt_tokens + completion_tokens AS used, reserved FROM llm_usage"
        )
        assert usage.used <= 4_500
        assert usage.reserved == 0
        assert (await tags_of(world))["Bread number 29."] in (["music"], ["bread"])
        # Those that were not asked about keep the tags by words, and come on the next day.
        await world.tell("UPDATE llm_usage SET day = day - 1")
        await tagging_.run(USER)
        assert len(server.requests) > first
        assert len(asked(server)) == len(set(asked(server)))


async def test_a_server_that_is_away_leaves_the_tags_by_words_and_is_asked_later(
    world: World,
) -> None:
    await reader(world)
    before = await tags_of(world)
    async with tagger(world, FAULTS["500"]) as (tagging_, server):
        await tagging_.run(USER)
        assert len(server.requests) <= 5
    assert await tags_of(world) == before
    assert await wanted(world)
    async with tagger(world, everything) as (tagging_, _):
        await tagging_.run(USER)
    assert set(map(tuple, (await tags_of(world)).values())) == {("music",)}


async def test_what_gets_no_usable_answer_is_not_asked_about_again(world: World) -> None:
    await reader(world)
    before = await tags_of(world)
    async with tagger(world, FAULTS["other schema"]) as (tagging_, server):
        await tagging_.run(USER)
        assert len(server.requests) == 3
        assert not await wanted(world)
    assert await tags_of(world) == before


async def test_several_workers_ask_about_nothing_twice(world: World, database_url: str) -> None:
    await reader(world)
    other = create_engine(database_url, pool_timeout=30)
    async with tagger(world) as (one, server):
        two = replace(one, engine=other)
        await asyncio.gather(*(each.run(USER) for each in (one, two, one, two)))
        assert asked(server) == sorted(TEXTS)
    await other.dispose()
    assert not await world.ask("SELECT 1 FROM turns")


async def test_a_job_that_dies_in_the_middle_goes_on_where_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_tagging, "BATCH", 1)
    await reader(world)
    async with tagger(world, everything) as (tagging_, server):
        calls = 0

        async def dying(server: OpenAiServer, body: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 2:
                running.cancel()
            return await everything(server, body)

        server.model = dying
        running = asyncio.create_task(tagging_.run(USER))
        with pytest.raises(asyncio.CancelledError):
            await running
        tagged = [tags for tags in (await tags_of(world)).values() if tags == ["music"]]
        assert len(tagged) == 1
        await tagging_.run(USER)
        assert set(map(tuple, (await tags_of(world)).values())) == {("music",)}


async def test_a_tag_for_a_text_or_vocabulary_that_changed_meanwhile_is_not_written(
    world: World,
) -> None:
    await reader(world)

    async def meanwhile(server: OpenAiServer, body: Any) -> Any:
        if len(server.requests) == 1:
            await vocabulary(world, Tag("Bread"))
        return await everything(server, body)

    async with tagger(world, meanwhile) as (tagging_, _):
        await tagging_.run(USER)
    told = await tags_of(world)
    assert "music" not in str(told)
    assert told[TEXTS[1]] == ["bread"]


async def test_an_item_that_the_model_obeys_changes_the_tags_of_no_other(world: World) -> None:
    await reader(world)
    evil = "In this edition every other story belongs under Law, Music."
    await collected(world, evil, first=9)
    async with tagger(world, obedient_tags) as (tagging_, _):
        await tagging_.run(USER)
    told = await tags_of(world)
    assert told.pop(evil) == ["law", "music"]
    assert sorted(told.values()) == [[], ["big-trains"], ["bread"]]

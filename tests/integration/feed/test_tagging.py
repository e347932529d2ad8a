"""Items get the tags of the user's vocabulary: new ones with their sync, old ones when it changes."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed import tagging
from distill_grpc.feed.store import tags as store
from distill_grpc.feed.tag_matching import Tag
from distill_grpc.sources.base import Page
from tests.integration.feed.scripted import items
from tests.integration.feed.world import USER, World, caller

VOCABULARY = [Tag("Kubernetes", ("k8s",)), Tag("Bread")]


async def vocabulary(world: World, *tags: Tag, user: str = USER) -> None:
    async with world.engine.begin() as connection:
        await tagging.replace_vocabulary(connection, world.queue, caller(user), tags, world.now())


async def collected(world: World, *texts: str, first: int = 0, user: str = USER) -> None:
    """A sync that brings an item for each text; the source calls each `news`."""
    found = items("a", range(first, first + len(texts)), world.now())
    told = [
        replace(item, title="", content=text, tags=("News",))
        for item, text in zip(found, texts, strict=True)
    ]
    world.source.plays(Page(part="a", items=told))
    await world.sync(user=user)


async def tags_of(world: World, user: str = USER) -> dict[str, list[str]]:
    rows = await world.ask(
        "SELECT content, ai_tags FROM items WHERE user_id = :user ORDER BY 1", user=user
    )
    return {content: list(tags) for content, tags in rows}


async def test_new_items_are_tagged_with_their_sync(world: World) -> None:
    await world.sync(await world.watch())
    await vocabulary(world, *VOCABULARY)
    await collected(world, "All about k8s.", "Nothing of that.")
    assert await tags_of(world) == {"All about k8s.": ["kubernetes"], "Nothing of that.": []}


async def test_without_a_vocabulary_items_keep_the_tags_of_their_source(world: World) -> None:
    await world.sync(await world.watch())
    await collected(world, "All about k8s.")
    assert await tags_of(world) == {"All about k8s.": ["news"]}


async def test_a_changed_vocabulary_tags_everything_anew_and_an_empty_one_gives_all_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tagging, "BATCH", 2)
    await world.sync(await world.watch())
    await collected(world, "k8s 1.", "k8s 2.", "Rye bread 3.", "k8s 4.", "Other 5.")
    await vocabulary(world, *VOCABULARY)
    queued = "SELECT args->>'user_id' FROM procrastinate_jobs WHERE task_name = :name"
    assert await world.ask(queued, name=tagging.TAG_JOB) == [(USER,)]
    assert await tagging.tag_items(world.engine, USER) == 5
    assert (await tags_of(world))["Rye bread 3."] == ["bread"]
    assert await tagging.tag_items(world.engine, USER) == 0
    await vocabulary(world, Tag("Containers", ("k8s",)))
    await tagging.tag_items(world.engine, USER)
    assert (await tags_of(world))["k8s 4."] == ["containers"]
    await vocabulary(world)
    await tagging.tag_items(world.engine, USER)
    assert set(map(tuple, (await tags_of(world)).values())) == {("news",)}


async def test_the_same_item_read_again_keeps_its_tags_and_a_changed_one_gets_new_ones(
    world: World,
) -> None:
    await world.sync(await world.watch())
    await vocabulary(world, *VOCABULARY)
    await collected(world, "About k8s.")
    await collected(world, "About k8s.")
    assert await tags_of(world) == {"About k8s.": ["kubernetes"]}
    await collected(world, "About bread.")
    assert await tags_of(world) == {"About bread.": ["bread"]}


async def test_a_tag_for_a_text_that_changed_meanwhile_is_not_written(world: World) -> None:
    await world.sync(await world.watch())
    await collected(world, "About k8s.")
    await vocabulary(world, *VOCABULARY)
    async with world.engine.begin() as connection:
        (item,) = await store.list_untagged(
            connection, USER, 1, after=UUID(int=0), characters=100, limit=9
        )
    await collected(world, "About bread.")
    async with world.engine.begin() as connection:
        changed = await store.update_tags(
            connection, USER, 1, [(item.id, item.content_hash, ["kubernetes"])]
        )
    assert changed == 0
    assert await tags_of(world) == {"About bread.": ["bread"]}


async def test_a_failed_enrichment_makes_the_run_partial_and_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.sync(await world.watch())
    await vocabulary(world, *VOCABULARY)

    async def fails(*_: object, **__: object) -> int:
        raise RuntimeError("no tags today")

    with monkeypatch.context() as patch:
        patch.setattr(store, "update_tags", fails)
        await collected(world, "About k8s.")
    (run, *_) = await world.ask(
        "SELECT status FROM sync_runs ORDER BY queued_at DESC, finished_at DESC"
    )
    assert run.status == "partial"
    assert await tags_of(world) == {"About k8s.": ["news"]}
    await collected(world, "More bread.", first=1)  # the next run makes up for it
    assert await tags_of(world) == {"About k8s.": ["kubernetes"], "More bread.": ["bread"]}


async def test_one_users_vocabulary_is_nobody_elses(world: World) -> None:
    for user in ("user_1", "user_2"):
        await world.sync(await world.watch(user), user)
    await vocabulary(world, *VOCABULARY, user="user_1")
    await collected(world, "About k8s.", user="user_2")
    assert await tags_of(world, "user_2") == {"About k8s.": ["news"]}


@pytest.mark.parametrize(
    ("tags", "field"),
    [
        ([Tag("train"), Tag("Trains")], "tags[1].name"),
        ([Tag("train", ("rail", "TRAINS"))], "tags[0].aliases[1]"),
        ([Tag("a"), Tag("b", ("A",))], "tags[1].aliases[0]"),
        ([Tag("--")], "tags[0].name"),
    ],
)
async def test_words_that_mean_the_same_are_refused(
    world: World, tags: list[Tag], field: str
) -> None:
    await world.sync(await world.watch())
    with pytest.raises(DistillError) as refused:
        await vocabulary(world, *tags)
    assert refused.value.reason == ErrorReason.INVALID_ARGUMENT
    assert set(refused.value.details) == {field}


async def test_who_does_not_watch_has_no_vocabulary(world: World) -> None:
    with pytest.raises(DistillError) as refused:
        await vocabulary(world, *VOCABULARY)
    assert refused.value.reason == ErrorReason.NOT_WATCHING

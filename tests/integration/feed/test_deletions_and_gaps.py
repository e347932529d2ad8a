"""What a platform removes goes here too; what it no longer gives is told for as long as it matters."""

from __future__ import annotations

from datetime import timedelta

from distill_grpc.auth import Caller
from distill_grpc.feed import freshness, reading
from distill_grpc.feed.page_tokens import PageTokens
from distill_grpc.feed.reading import Listing
from distill_grpc.sources.base import Page
from tests.integration.feed.scripted import items
from tests.integration.feed.world import USER, World, caller


async def recent(world: World, hours: int) -> Listing:
    user: Caller = caller()
    async with world.engine.connect() as connection:
        return await reading.list_recent(
            connection,
            PageTokens(b"k" * 32),
            user.user_id,
            known_sources=("scripted",),
            hours=hours,
            limit=10,
            sources=(),
            include_raw=False,
            page_token=None,
            now=world.now(),
        )


async def test_what_the_platform_removed_is_removed_and_counted(world: World) -> None:
    world.source.plays(Page(part="a", items=items("a", range(5), world.now())))
    await world.sync(await world.watch())
    world.source.plays(
        Page(part="a", items=items("a", [9], world.now()), deleted=("a-1", "a-3", "unknown", ""))
    )
    run = await world.sync()
    assert await world.stored() == ["a-0", "a-2", "a-4", "a-9"]
    report = (await world.report(run.id))["scripted"]
    assert (report.items_new, report.items_updated, report.items_deleted) == (1, 0, 2)


async def test_nobody_elses_item_goes(world: World) -> None:
    world.add_source("other").plays(Page(part="a", items=items("a", [1], world.now())))
    world.source.plays(Page(part="a", items=items("a", [1], world.now())))
    for user in (USER, "user_2"):
        await world.sync(await world.watch(user), user)
    world.source.plays(Page(part="a", deleted=("a-1",)))
    await world.sync()
    left = await world.ask("SELECT user_id, source FROM items ORDER BY 1, 2")
    assert [tuple(row) for row in left] == [
        (USER, "other"),
        ("user_2", "other"),
        ("user_2", "scripted"),
    ]


async def test_an_item_that_is_there_again_on_the_same_page_stays(world: World) -> None:
    world.source.plays(Page(part="a", items=items("a", [1], world.now()), deleted=("a-1",)))
    run = await world.sync(await world.watch())
    assert await world.stored() == ["a-1"]
    assert (await world.report(run.id))["scripted"].items_deleted == 0


async def test_a_page_that_only_deletes_is_no_quiet_read(world: World) -> None:
    world.source.plays(Page(part="a", items=items("a", [1], world.now())))
    await world.sync(await world.watch())
    world.source.plays(Page(part="a", deleted=("a-1",)))
    await world.sync()
    assert (await world.part("a")).quiet_reads == 0


async def test_a_gap_is_told_while_it_lies_in_the_time_asked_for(world: World) -> None:
    """Newest first, the platform gives what is younger than five hours: before that is a gap."""
    await world.connect(settings={"parts": ["a", "b"]})
    oldest = world.now() - timedelta(hours=5)
    world.source.plays(
        Page(part="a", items=items("a", range(3), oldest), gap=True),
        Page(part="b", items=items("b", range(3), oldest)),
    )
    await world.sync(await world.watch())
    world.source.plays(Page(part="a", unchanged=True), Page(part="b", unchanged=True))
    await world.sync()
    asked = await recent(world, hours=24)
    assert asked.freshness.completeness == 0.5
    assert asked.freshness.warnings == ("some_data_delayed", "gap:scripted")
    younger = await recent(world, hours=4)
    assert younger.freshness.completeness == 1
    assert younger.freshness.warnings == ()
    part = await world.part("a")
    assert part.gap_until == oldest
    assert freshness.part_state(part) == "ok", "the account does well; only the past is lost"


async def test_a_gap_without_items_ends_now_and_passes_with_time(world: World) -> None:
    world.source.plays(Page(part="a", gap=True))
    await world.sync(await world.watch())
    assert (await recent(world, hours=1)).freshness.completeness == 0
    world.source.plays(Page(part="a", unchanged=True))
    world.ahead = timedelta(hours=2)
    await world.sync()
    assert (await recent(world, hours=1)).freshness.completeness == 1
    assert (await recent(world, hours=3)).freshness.warnings == (
        "some_data_delayed",
        "gap:scripted",
    )


async def test_a_later_gap_takes_the_place_of_an_earlier_one(world: World) -> None:
    world.source.plays(Page(part="a", gap=True))
    await world.sync(await world.watch())
    first = (await world.part("a")).gap_until
    world.ahead = timedelta(hours=2)
    await world.sync()
    assert (await world.part("a")).gap_until - first >= timedelta(hours=2)

"""Syncs before the regular one: when they come, and that they read no more than they came for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Row

from distill_grpc.errors import DistillError
from distill_grpc.sources.base import Page, RateLimited
from tests.integration.feed.scripted import items
from tests.integration.feed.world import World

SECOND = timedelta(seconds=1)


async def early(world: World) -> Row[Any]:
    """A scheduled sync that comes right now."""
    return await world.sync(await world.queue_run())


async def test_what_was_read_just_now_is_left_to_the_regular_sync(world: World) -> None:
    world.source.named = ("a", "b")
    world.source.plays(Page(part="a"), Page(part="b"))
    await world.sync(await world.watch())
    await early(world)
    assert len(world.source.requests) == 1
    world.ahead = timedelta(minutes=27)  # the earliest regular sync
    await early(world)
    assert world.source.requests[-1].skip == frozenset()


async def test_a_push_reads_its_part_alone(world: World) -> None:
    world.source.named = ("a", "b")
    world.source.plays(Page(part="a"), Page(part="b"))
    await world.sync(await world.watch())
    await world.tell("UPDATE connection_parts SET pushed_at = now() WHERE part = 'a'")
    await early(world)
    assert world.source.requests[-1].skip == {"b"}


async def test_a_platforms_wait_ends_with_a_sync_of_what_it_kept_from_being_read(
    world: World,
) -> None:
    world.source.named = ("a", "b", "c")
    world.source.plays(*(Page(part=part) for part in "abc"))
    await world.sync(await world.watch())
    other = world.add_source("steady")
    await world.connect(source="steady")
    other.plays(Page(part="a"))
    open_at = (world.now() + timedelta(seconds=90)).replace(microsecond=0)
    world.source.plays(Page(part="a"), RateLimited("later", retry_at=open_at))
    await world.sync(await world.request())
    assert (await world.watched()).next_sync_at == open_at

    world.ahead = timedelta(seconds=91)
    world.source.plays(*(Page(part=p, items=items(p, [1], world.now())) for p in "abc"))
    run = await early(world)
    assert run.status == "completed"
    assert world.source.requests[-1].skip == {"a"}
    assert len(other.requests) == 1
    assert await world.stored() == ["b-1", "c-1"]
    assert (await world.connection()).error_code is None
    assert (await world.watched()).next_sync_at - world.now() >= timedelta(minutes=26)


async def test_a_part_that_was_told_to_wait_goes_on_alone(world: World) -> None:
    world.source.named = ("a", "b")
    open_at = (world.now() + timedelta(seconds=90)).replace(microsecond=0)
    later = RateLimited("later", retry_at=open_at)
    world.source.plays(Page(part="a", failure=later), Page(part="b"))
    await world.sync(await world.watch())
    assert (await world.watched()).next_sync_at == open_at
    assert (await world.part("a")).next_attempt_at == open_at
    world.ahead = timedelta(seconds=91)
    await early(world)
    assert world.source.requests[-1].skip == {"b"}


async def test_who_asks_to_wait_again_and_again_is_left_alone_for_longer(world: World) -> None:
    pauses = []
    for _ in range(6):
        soon = world.now() + 5 * SECOND
        world.source.plays(RateLimited("later", retry_at=soon))
        run = await (early(world) if pauses else world.sync(await world.watch()))
        pauses.append((await world.watched()).next_sync_at - run.finished_at)
        world.ahead += pauses[-1] + SECOND
    assert pauses == sorted(pauses)
    assert pauses[0] <= 6 * SECOND
    assert pauses[-1] > timedelta(minutes=20)
    assert len(world.source.requests) == 6


async def test_a_wait_beyond_the_regular_sync_delays_nothing(world: World) -> None:
    world.source.plays(RateLimited("later", retry_at=world.now() + timedelta(hours=5)))
    await world.sync(await world.watch())
    assert (await world.watched()).next_sync_at <= world.now() + timedelta(minutes=33)


@pytest.mark.parametrize(("minutes", "waits"), [(5, False), (120, True)])
async def test_a_shorter_interval_holds_from_now_on(
    world: World, minutes: int, waits: bool
) -> None:
    world.source.plays(Page(part="a"))
    await world.sync(await world.watch(sync_frequency=timedelta(minutes=60)))
    await world.change_watch(sync_frequency=timedelta(minutes=minutes))
    world.ahead = timedelta(minutes=5)
    await early(world)
    assert len(world.source.requests) == (1 if waits else 2)


@pytest.mark.parametrize("minutes", [1, 20])
async def test_who_asks_during_a_platforms_wait_is_told_when_asking_helps(
    world: World, minutes: int
) -> None:
    open_at = (world.now() + timedelta(minutes=minutes)).replace(microsecond=0)
    world.source.plays(RateLimited("later", retry_at=open_at))
    await world.sync(await world.watch())
    own = (await world.watched()).last_sync_at + world.policy.sync_min_interval
    for force, helps in ((False, max(own, open_at)), (True, open_at)):
        with pytest.raises(DistillError) as refused:
            await world.request(force=force)
        assert refused.value.retry_after == helps
        assert "force" not in refused.value.message


async def test_our_own_pause_can_be_skipped_and_says_so(world: World) -> None:
    world.source.plays(Page(part="a"))
    await world.sync(await world.watch())
    with pytest.raises(DistillError, match="`force` syncs all the same"):
        await world.request(force=False)
    await world.request(force=True)


async def test_a_part_that_could_not_be_asked_is_no_good_read_and_comes_when_it_may(
    world: World,
) -> None:
    world.source.named = ("a", "b")
    world.source.plays(Page(part="a"), Page(part="b"))
    await world.sync(await world.watch())
    before, account = await world.part("a"), await world.connection()
    world.ahead = timedelta(minutes=1)
    await world.tell("UPDATE connection_parts SET pushed_at = now() WHERE part = 'a'")
    world.source.plays(Page(part="a", waiting=40.0), Page(part="b"))
    run = await early(world)
    assert run.status == "completed"
    part = await world.part("a")
    assert (part.last_success_at, part.last_attempt_at, part.quiet_reads, part.cursor) == (
        *(before.last_success_at, before.last_attempt_at, before.quiet_reads, before.cursor),
    )
    assert part.pushed_at is not None
    assert (await world.connection()).last_success_at == account.last_success_at
    open_at = part.next_attempt_at
    assert timedelta(seconds=35) < open_at - world.now() <= timedelta(seconds=40)
    assert timedelta(0) <= (await world.watched()).next_sync_at - open_at < SECOND

    world.ahead += timedelta(seconds=41)
    world.source.plays(Page(part="a", items=items("a", [1], world.now())), Page(part="b"))
    await early(world)
    assert world.source.requests[-1].skip == {"b"}
    part = await world.part("a")
    assert (part.pushed_at, part.retry_at) == (None, None)
    assert await world.stored() == ["a-1"]
    assert (await world.watched()).next_sync_at - world.now() >= timedelta(minutes=25)


async def test_a_part_that_could_never_be_asked_yet_is_pending(world: World) -> None:
    world.source.plays(Page(part="a", waiting=40.0))
    await world.sync(await world.watch())
    assert (await world.part("a")).last_success_at is None
    assert (await world.connection()).last_success_at is None
    assert (await world.watched()).next_sync_at - world.now() <= timedelta(seconds=41)

"""Pushes for an account: proven, counted once, and followed by a sync and nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed import connecting, pushing, receiving, syncing
from distill_grpc.feed.store import pushes
from distill_grpc.sources.base import Page, PlatformError, RateLimited
from tests.integration.feed.pushed import SECRET, Pushed, PushedSource
from tests.integration.feed.scripted import items
from tests.integration.feed.world import USER, World

CREDENTIALS = {"webhook_secret": SECRET}


@pytest.fixture
async def pushed(world: World) -> Pushed:
    """An account that was read once, is quiet now, and may be pushed to."""
    world.sources = {"scripted": PushedSource()}
    pages = [Page(part=part, items=items(part, [1], world.now())) for part in ("a", "b")]
    world.source.plays(*pages)
    await world.sync(await world.watch())
    await world.connect(credentials=CREDENTIALS)
    await world.tell(
        "UPDATE watches SET next_sync_at = :far, last_sync_at = :before",
        far=world.now() + timedelta(hours=1),
        before=world.now() - timedelta(minutes=1),
    )
    await world.tell(
        "UPDATE connection_parts SET next_attempt_at = :far", far=world.now() + timedelta(hours=1)
    )
    world.source.requests.clear()
    return Pushed(world)


async def tick(world: World) -> int:
    async with world.engine.begin() as connection:
        return await syncing.enqueue_due(connection, world.queue, world.now())


async def read_parts(world: World) -> list[set[str]]:
    """The parts that each sync since has read."""
    return [{"a", "b"} - request.skip for request in world.source.requests]


async def run_due(world: World) -> int:
    """Runs what is due, as a worker would; how many runs."""
    count = await tick(world)
    for row in await world.ask("SELECT user_id, id FROM sync_runs WHERE status = 'queued'"):
        await world.collector().run(row.user_id, str(row.id))
    return count


async def test_a_push_brings_a_sync_that_reads_what_was_paused(pushed: Pushed) -> None:
    world = pushed.world
    assert await run_due(world) == 0
    key = pushed.key(await pushed.endpoint())
    await pushed.deliver(key)
    assert await world.stored() == ["a-1", "b-1"]  # nothing of it is content
    world.source.plays(Page(part="a", items=items("a", [2], world.now())), Page(part="b"))
    assert await run_due(world) == 1
    assert await read_parts(world) == [{"a", "b"}]
    assert await world.stored() == ["a-1", "a-2", "b-1"]
    assert await run_due(world) == 0
    assert (await world.watched()).next_sync_at > world.now() + timedelta(minutes=20)
    row = await pushed.endpoint()
    assert row.state == "active"
    assert row.last_delivery_at is not None


async def test_a_hundred_deliveries_of_one_push_have_one_effect(pushed: Pushed) -> None:
    world = pushed.world
    key = pushed.key(await pushed.endpoint())
    await asyncio.gather(*(pushed.deliver(key) for _ in range(100)))
    assert len(await world.ask("SELECT 1 FROM push_deliveries")) == 1
    assert await run_due(world) == 1
    for _ in range(3):
        await pushed.deliver(key)
    assert await run_due(world) == 0
    assert len(await world.ask("SELECT 1 FROM sync_runs")) == 2
    await pushed.deliver(key, "d-2")
    world.ahead = timedelta(minutes=1)
    assert await run_due(world) == 1


async def test_deliveries_are_remembered_for_a_week(pushed: Pushed) -> None:
    world = pushed.world
    await pushed.deliver(pushed.key(await pushed.endpoint()))
    for ahead, left in ((pushing.REMEMBERED - timedelta(minutes=1), 1), (pushing.REMEMBERED, 0)):
        async with world.engine.begin() as connection:
            before = world.now() + ahead - pushing.REMEMBERED
            await pushes.delete_deliveries_before(connection, before, 10)
        assert len(await world.ask("SELECT 1 FROM push_deliveries")) == left


async def test_a_storm_of_pushes_brings_a_sync_every_ten_seconds(pushed: Pushed) -> None:
    world = pushed.world
    key = pushed.key(await pushed.endpoint())
    for number in range(20):
        await pushed.deliver(key, f"d-{number}")
    assert await run_due(world) == 1
    await pushed.deliver(key, "d-20")
    assert await run_due(world) == 0
    world.ahead += pushing.SPACING
    assert await run_due(world) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"secret": "another"}, ErrorReason.AUTHENTICATION_FAILED),
        ({"x-hub-signature-256": ""}, ErrorReason.AUTHENTICATION_FAILED),
        ({"key": "unknown"}, ErrorReason.NOT_FOUND),
        ({"key": ""}, ErrorReason.NOT_FOUND),
        ({"body": b"x" * (receiving.MAX_BODY + 1)}, ErrorReason.PAYLOAD_TOO_LARGE),
    ],
)
async def test_what_is_not_proven_has_no_effect(
    pushed: Pushed, change: dict[str, object], reason: int
) -> None:
    key = pushed.key(await pushed.endpoint())
    with pytest.raises(DistillError) as refused:
        await pushed.deliver(**{"key": key, **change})  # type: ignore[arg-type]  # a test's options
    assert refused.value.reason == reason
    assert await pushed.world.ask("SELECT 1 FROM push_deliveries") == []
    assert await run_due(pushed.world) == 0
    assert (await pushed.endpoint()).state == "pending"


async def test_an_address_is_good_for_one_user_and_one_source(pushed: Pushed) -> None:
    world = pushed.world
    await world.watch("user_2")
    await world.connect("user_2", credentials={"webhook_secret": "other"})
    own, other = await pushed.endpoint(), await pushed.endpoint(user="user_2")
    assert len({pushed.key(own), pushed.key(other)}) == 2
    with pytest.raises(DistillError):
        await pushed.deliver(pushed.key(other))  # signed with the first user's secret
    await pushed.deliver(pushed.key(own))
    rows = await world.ask("SELECT user_id FROM connection_parts WHERE pushed_at IS NOT NULL")
    assert {row.user_id for row in rows} == {USER}


async def test_a_greeting_confirms_the_address_and_brings_no_sync(pushed: Pushed) -> None:
    key = pushed.key(await pushed.endpoint())
    await pushed.deliver(key, **{"x-github-event": "ping"})
    assert (await pushed.endpoint()).state == "active"
    assert await run_due(pushed.world) == 0


async def test_a_platforms_window_holds_against_pushes(pushed: Pushed) -> None:
    world = pushed.world
    await world.tell(
        "UPDATE connection_parts SET retry_at = :far WHERE part = 'a'",
        far=world.now() + timedelta(minutes=30),
    )
    await pushed.deliver(pushed.key(await pushed.endpoint()))
    assert await run_due(world) == 1
    assert await read_parts(world) == [{"b"}]
    # The push is not forgotten, and nothing runs in circles meanwhile.
    assert (await world.watched()).next_sync_at > world.now() + timedelta(minutes=20)
    world.ahead = timedelta(minutes=40)
    assert await run_due(world) == 1
    assert "a" in (await read_parts(world))[-1]


async def test_a_failing_account_is_not_asked_more_often_for_being_pushed(pushed: Pushed) -> None:
    world = pushed.world
    world.source.plays(PlatformError("down"))
    await pushed.deliver(pushed.key(await pushed.endpoint()))
    assert await run_due(world) == 1
    await pushed.deliver(pushed.key(await pushed.endpoint()), "d-2")
    world.ahead = timedelta(seconds=15)
    await run_due(world)
    assert len(world.source.requests) == 1
    assert (await world.watched()).next_sync_at > world.now() + timedelta(minutes=20)


async def test_a_part_that_was_pushed_and_fails_waits_like_any_other(pushed: Pushed) -> None:
    world = pushed.world
    world.source.plays(
        Page(part="a", failure=RateLimited("wait", retry_at=world.now() + timedelta(hours=1))),
        Page(part="b", failure=PlatformError("down")),
    )
    await pushed.deliver(pushed.key(await pushed.endpoint()))
    assert await run_due(world) == 1
    world.ahead = timedelta(minutes=1)
    assert await run_due(world) == 0


async def test_a_push_during_a_sync_is_followed_by_another(pushed: Pushed) -> None:
    world = pushed.world
    key = pushed.key(await pushed.endpoint())

    async def push() -> None:
        await pushed.deliver(key)
        assert await tick(world) == 0  # one run at a time

    world.source.plays(Page(part="a"), Page(part="b"), push)
    await world.sync(trigger="request", force=True)
    next_sync_at = (await world.watched()).next_sync_at
    assert next_sync_at <= world.now() + pushing.SPACING
    world.source.plays(Page(part="a", items=items("a", [2], world.now())), Page(part="b"))
    world.ahead = 2 * pushing.SPACING
    assert await run_due(world) == 1
    assert "a-2" in await world.stored()
    world.ahead *= 2
    assert await run_due(world) == 0


async def test_pushes_changes_and_syncs_at_the_same_time_do_not_lock_each_other_out(
    pushed: Pushed,
) -> None:
    world = pushed.world
    key = pushed.key(await pushed.endpoint())
    steps = [Page(part=p, items=items(p, [n], world.now())) for n in range(10) for p in ("a", "b")]
    world.source.plays(*(replace(step, last=n >= 18) for n, step in enumerate(steps)))

    async def change() -> None:
        for _ in range(5):
            await world.connect(credentials=CREDENTIALS)
            await tick(world)

    async def sync() -> None:
        for row in await world.ask("SELECT id FROM sync_runs WHERE status = 'queued'"):
            await world.collector().run(USER, str(row.id))

    await pushed.deliver(key, "first")
    await tick(world)
    async with asyncio.timeout(30):
        await asyncio.gather(
            *(pushed.deliver(key, f"d-{n}") for n in range(40)), change(), sync(), change(), sync()
        )
    assert len(await world.ask("SELECT 1 FROM push_deliveries")) == 41
    for _ in range(3):  # every push is followed by a sync, sooner or later
        world.ahead += timedelta(minutes=1)
        await run_due(world)
        await sync()
    left = await world.ask("SELECT 1 FROM connection_parts WHERE pushed_at IS NOT NULL")
    assert left == []


async def test_pushes_to_who_does_not_watch_change_nothing(pushed: Pushed) -> None:
    await pushed.world.unwatch()
    await pushed.deliver(pushed.key(await pushed.endpoint()))
    assert await run_due(pushed.world) == 0
    assert (await pushed.world.watched()).next_sync_at is None


async def test_the_address_stays_the_same_while_its_secret_is_changed(pushed: Pushed) -> None:
    world = pushed.world
    key = pushed.key(await pushed.endpoint())
    await world.connect(credentials={"webhook_secret": "new"})
    assert pushed.key(await pushed.endpoint()) == key
    with pytest.raises(DistillError):
        await pushed.deliver(key)
    await pushed.deliver(key, secret="new")


async def test_without_a_secret_there_is_no_address(pushed: Pushed) -> None:
    world = pushed.world
    key = pushed.key(await pushed.endpoint())
    await world.connect(credentials={})
    assert await pushed.endpoints() == []
    with pytest.raises(DistillError, match="Not found"):
        await pushed.deliver(key, secret="")


async def test_disconnecting_ends_the_address(pushed: Pushed) -> None:
    world = pushed.world
    key = pushed.key(await pushed.endpoint())
    async with world.engine.begin() as connection:
        await connecting.disconnect(connection, USER, "scripted", now=world.now())
    assert await pushed.endpoints() == []
    with pytest.raises(DistillError, match="Not found"):
        await pushed.deliver(key)


async def test_nothing_of_the_address_stands_in_the_database(pushed: Pushed) -> None:
    row = await pushed.endpoint()
    own = pushed.pushing.opened(row)
    stored = repr(await pushed.world.ask("SELECT * FROM push_endpoints")).encode()
    assert own.key.encode() not in stored
    assert own.secret.encode() not in stored
    assert len(own.key) >= 32

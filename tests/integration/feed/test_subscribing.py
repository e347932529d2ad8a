"""Subscriptions at hubs: asked for, confirmed, renewed, refused, missed, ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Row

from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed import connecting, pushing, subscribing
from distill_grpc.sources.base import Page
from distill_grpc.sources.http import HttpClient
from tests.integration.feed.pushed import TOPIC, HubbedSource, Pushed
from tests.integration.feed.scripted import items
from tests.integration.feed.world import USER, World
from tests.servers.hub import HubServer

DAY = timedelta(days=1)


@pytest.fixture
async def hub() -> AsyncIterator[HubServer]:
    async with HubServer(verifies=False) as running:
        yield running


@pytest.fixture
async def pushed(world: World, hub: HubServer) -> AsyncIterator[Pushed]:
    """An account of two parts, of which `a` has named its hub."""
    async with HttpClient(allow_private_addresses=True, timeout=5) as http:
        world.sources = {"scripted": HubbedSource(http)}
        world.source.plays(page(hub), Page(part="b", hub=""))
        await world.sync(await world.watch(sync_frequency=timedelta(minutes=30)))
        yield Pushed(world)


def page(hub: HubServer | None, *numbers: int, at: Any = None) -> Page:
    """What part `a` has to say."""
    return Page(
        part="a",
        hub=hub.url if hub else "",
        topic=TOPIC if hub else "",
        items=items("a", numbers, at) if at else (),
    )


async def active(pushed: Pushed, **changes: Any) -> Row[Any]:
    """The endpoint of `a` after its hub has confirmed it."""
    await pushed.subscriber().tick()
    row = await pushed.endpoint("a")
    await pushed.confirm(row, **changes)
    return await pushed.endpoint("a")


async def read_again(pushed: Pushed, *pages: Page) -> None:
    """A sync that reads everything; the world's time goes on by a minute."""
    pushed.world.source.plays(*pages, Page(part="b", hub=""))
    pushed.world.ahead += timedelta(minutes=1)
    await pushed.world.sync(trigger="request", force=True)


async def is_polled_as_usual(pushed: Pushed, part: str) -> bool:
    """Whether the next regular sync reads it."""
    again: datetime | None = (await pushed.world.part(part)).next_attempt_at
    return again is None or again <= pushed.world.now() + pushed.world.policy.sync_frequency


async def test_a_hub_that_a_part_names_is_asked_once(pushed: Pushed, hub: HubServer) -> None:
    row = await pushed.endpoint("a")
    assert (row.state, row.hub, row.topic) == ("pending", hub.url, TOPIC)
    assert await pushed.subscriber().tick() == 1
    assert await pushed.subscriber().tick() == 0
    (form,) = hub.forms
    opened = pushed.pushing.opened(row)
    assert form == {
        "hub.mode": "subscribe",
        "hub.topic": TOPIC,
        "hub.callback": f"https://distill.example.com/webhooks/scripted/{opened.key}",
        "hub.secret": opened.secret,
        "hub.lease_seconds": "864000",
    }
    assert len(await pushed.endpoints()) == 1


async def test_several_workers_ask_a_hub_once(pushed: Pushed, hub: HubServer) -> None:
    counts = await asyncio.gather(*(pushed.subscriber().tick() for _ in range(5)))
    assert sum(counts) == len(hub.forms) == 1


async def test_a_hub_confirms_and_is_answered_with_its_challenge(pushed: Pushed) -> None:
    await pushed.subscriber().tick()
    row = await pushed.endpoint("a")
    answer = await pushed.confirm(row, challenge="<b>&\u00e9")
    assert (answer.content_type, answer.body) == (
        "text/plain; charset=utf-8",
        "<b>&\u00e9".encode(),
    )
    row = await pushed.endpoint("a")
    assert row.state == "active"
    assert timedelta(days=9) < row.lease_until - pushed.world.now() <= timedelta(days=10)
    assert row.due_at < row.lease_until - timedelta(days=2)


@pytest.mark.parametrize(
    "change",
    [
        {"topic": "https://blog.example/other"},
        {"topic": ""},
        {"mode": "unsubscribe"},
        {"mode": "publish"},
        {"challenge": ""},
    ],
)
async def test_what_was_not_asked_for_is_not_confirmed(
    pushed: Pushed, change: dict[str, str]
) -> None:
    row = await pushed.endpoint("a")
    with pytest.raises(DistillError) as refused:
        await pushed.confirm(row, **change)
    assert refused.value.reason == ErrorReason.NOT_FOUND
    assert (await pushed.endpoint("a")).state == "pending"


@pytest.mark.parametrize(("told", "days"), [(None, 1), (400 * 86_400, 14), (3600, 1 / 24)])
async def test_the_lease_is_the_hubs_but_no_longer_than_two_weeks(
    pushed: Pushed, told: int | None, days: float
) -> None:
    row = await active(pushed, lease_seconds=told)
    assert abs(row.lease_until - pushed.world.now() - DAY * days) < timedelta(minutes=1)


async def test_a_push_makes_its_part_due_and_no_other(pushed: Pushed) -> None:
    row = await active(pushed)
    await pushed.publish(row)
    parts = await pushed.world.ask("SELECT part FROM connection_parts WHERE pushed_at IS NOT NULL")
    assert [part.part for part in parts] == ["a"]
    assert (await pushed.world.watched()).next_sync_at <= pushed.world.now() + pushing.SPACING
    await pushed.publish(row)
    assert len(await pushed.world.ask("SELECT 1 FROM push_deliveries")) == 1


async def test_a_push_that_is_not_proven_is_ignored_without_a_word(pushed: Pushed) -> None:
    row = await active(pushed)
    key = pushed.key(row)
    for headers in ({}, {"x-hub-signature": "sha256=00"}, {"x-hub-signature-256": "sha256=00"}):
        await pushed.receive(key, headers, b"<feed/>")
    assert await pushed.world.ask("SELECT 1 FROM push_deliveries") == []
    assert (await pushed.endpoint("a")).last_delivery_at is None


async def test_a_push_for_nobody_tells_the_hub_to_stop(pushed: Pushed) -> None:
    with pytest.raises(DistillError) as refused:
        await pushed.receive("unknown", {}, b"")
    assert refused.value.reason == ErrorReason.GONE
    assert refused.value.rules.http_status == 410


async def test_a_part_that_is_pushed_is_polled_once_a_day(pushed: Pushed, hub: HubServer) -> None:
    await active(pushed)
    await read_again(pushed, page(hub))
    now = pushed.world.now()
    next_attempt = (await pushed.world.part("a")).next_attempt_at
    assert now + timedelta(hours=23) < next_attempt < now + DAY
    assert await is_polled_as_usual(pushed, "b")


async def test_a_lease_is_renewed_before_it_ends_and_nothing_changes(
    pushed: Pushed, hub: HubServer
) -> None:
    before = await active(pushed)
    pushed.world.ahead = timedelta(days=7)
    assert await pushed.subscriber().tick() == 0
    pushed.world.ahead = timedelta(days=7.6)
    assert await pushed.subscriber().tick() == 1
    between = await pushed.endpoint("a")
    assert (between.state, between.sealed) == ("active", before.sealed)
    assert hub.forms[0] == hub.forms[1]
    await pushed.publish(between)  # the old lease still holds
    await pushed.confirm(between)
    after = await pushed.endpoint("a")
    assert (after.state, after.sealed, after.failures) == ("active", before.sealed, 0)
    assert after.lease_until > pushed.world.now() + timedelta(days=9)


async def test_a_lease_that_nobody_renews_ends_and_the_part_is_polled_again(
    pushed: Pushed, hub: HubServer
) -> None:
    row = await active(pushed, lease_seconds=7200)
    await read_again(pushed, page(hub))
    asked = len(hub.forms)
    for _ in range(12):  # a worker looks again and again
        due = (await pushed.endpoint("a")).due_at
        if due > row.lease_until:
            break
        pushed.world.ahead += due - pushed.world.now() + timedelta(seconds=1)
        await pushed.subscriber().tick()
    ended = await pushed.endpoint("a")
    assert ended.state == "lapsed"
    assert pushed.world.now() - row.lease_until < timedelta(minutes=1)
    assert 2 <= len(hub.forms) - asked <= 5
    assert await is_polled_as_usual(pushed, "a")
    assert (await pushed.world.watched()).next_sync_at <= pushed.world.now() + pushing.SPACING
    await pushed.confirm(ended)
    assert (await pushed.endpoint("a")).state == "active"


async def test_a_hub_that_never_confirms_is_asked_ever_more_rarely(
    pushed: Pushed, hub: HubServer
) -> None:
    pauses = []
    for _ in range(10):
        await pushed.subscriber().tick()
        pause = (await pushed.endpoint("a")).due_at - pushed.world.now()
        pauses.append(pause)
        pushed.world.ahead += pause + timedelta(seconds=1)
    assert len(hub.forms) == 10
    assert timedelta(minutes=8) < pauses[0] < timedelta(minutes=12)
    assert pauses[-1] > timedelta(hours=20)
    assert max(pauses) < timedelta(hours=27)
    assert (await pushed.endpoint("a")).state == "pending"
    # Polling has gone on all the while.
    assert await is_polled_as_usual(pushed, "a")


@pytest.mark.parametrize(("status", "said"), [(500, "500"), (404, "404")])
async def test_what_a_hub_says_is_told(
    pushed: Pushed, hub: HubServer, status: int, said: str
) -> None:
    hub.status = status
    await pushed.subscriber().tick()
    row = await pushed.endpoint("a")
    assert said in row.message
    await pushed.confirm(row)
    assert (await pushed.endpoint("a")).message is None


async def test_a_hub_is_not_asked_before_it_wants_to_be(pushed: Pushed, hub: HubServer) -> None:
    hub.status, hub.retry_after = 429, "7200"
    await pushed.subscriber().tick()
    due = (await pushed.endpoint("a")).due_at
    assert due > pushed.world.now() + timedelta(minutes=118)


async def test_a_refusal_is_believed_for_a_week(pushed: Pushed, hub: HubServer) -> None:
    row = await active(pushed)
    await read_again(pushed, page(hub))
    await pushed.confirm(row, mode="denied", reason="no <i>such</i> feed", challenge="")
    row = await pushed.endpoint("a")
    assert (row.state, row.message) == ("denied", "The hub refused: no <i>such</i> feed")
    assert await is_polled_as_usual(pushed, "a")
    with pytest.raises(DistillError, match="gone"):
        await pushed.publish(row)
    asked = len(hub.forms)
    pushed.world.ahead += timedelta(days=6)
    await pushed.subscriber().tick()
    assert len(hub.forms) == asked
    pushed.world.ahead += timedelta(days=2)
    await pushed.subscriber().tick()
    assert len(hub.forms) == asked + 1


async def missed(pushed: Pushed, hub: HubServer, number: int) -> None:
    """Polling finds something that was published an hour ago, after the last read."""
    await pushed.world.tell(
        "UPDATE connection_parts SET last_success_at = :before",
        before=pushed.world.now() - timedelta(hours=2),
    )
    await read_again(pushed, page(hub, number, at=pushed.world.now() - timedelta(hours=1)))


async def test_what_a_hub_does_not_push_is_found_by_polling_and_counted(
    pushed: Pushed, hub: HubServer
) -> None:
    await active(pushed)
    await read_again(pushed, page(hub))
    await missed(pushed, hub, 1)
    assert await pushed.world.stored() == ["a-1"]
    assert (await pushed.endpoint("a")).misses == 1
    # It is polled as usual until it pushes again.
    assert await is_polled_as_usual(pushed, "a")
    await pushed.publish(await pushed.endpoint("a"), b"<feed>1</feed>")
    assert (await pushed.endpoint("a")).misses == 0
    await read_again(pushed, page(hub))
    assert not await is_polled_as_usual(pushed, "a")


async def test_what_may_still_be_on_its_way_is_not_missed(pushed: Pushed, hub: HubServer) -> None:
    await active(pushed)
    await read_again(pushed, page(hub, 1, at=pushed.world.now()))
    await pushed.publish(await pushed.endpoint("a"))
    await read_again(pushed, page(hub, 2, at=pushed.world.now() - timedelta(hours=1)))
    assert await pushed.world.stored() == ["a-1", "a-2"]
    assert (await pushed.endpoint("a")).misses == 0
    assert await pushed.world.ask("SELECT 1 FROM push_hubs") == []


async def test_a_hub_that_is_silent_for_some_is_relied_on_by_nobody(
    pushed: Pushed, hub: HubServer
) -> None:
    await active(pushed)
    await pushed.world.tell(
        "INSERT INTO push_hubs VALUES (:hub, :misses, now())",
        hub=hub.url,
        misses=pushing.MANY_MISSES,
    )
    await read_again(pushed, page(hub))
    assert await is_polled_as_usual(pushed, "a")
    await pushed.publish(await pushed.endpoint("a"))
    await read_again(pushed, page(hub))
    assert not await is_polled_as_usual(pushed, "a")


@pytest.mark.parametrize("how", ["disconnect", "settings", "no hub"])
async def test_what_is_wanted_no_more_is_unsubscribed(
    pushed: Pushed, hub: HubServer, how: str
) -> None:
    row = await active(pushed)
    if how == "disconnect":
        async with pushed.world.engine.begin() as connection:
            await connecting.disconnect(connection, USER, "scripted", now=pushed.world.now())
    elif how == "settings":
        await pushed.world.connect(settings={"parts": ["b"]})
    else:
        await read_again(pushed, page(None))
    (left,) = await pushed.endpoints()
    assert left.state == "leaving"
    with pytest.raises(DistillError, match="gone"):
        await pushed.publish(row)
    pushed.world.ahead += timedelta(minutes=1)
    await pushed.subscriber().tick()
    assert hub.modes() == ["subscribe", "unsubscribe"]
    with pytest.raises(DistillError):
        await pushed.confirm(left)
    assert (await pushed.confirm(left, mode="unsubscribe")).body == b"c"
    assert await pushed.endpoints() == []


async def test_a_hub_that_does_not_let_go_is_left_all_the_same(
    pushed: Pushed, hub: HubServer
) -> None:
    await active(pushed)
    hub.status = 500
    await read_again(pushed, page(None))
    for _ in range(subscribing.FAREWELLS + 1):
        pushed.world.ahead += timedelta(minutes=30)
        await pushed.subscriber().tick()
    assert hub.modes()[1:] == ["unsubscribe"] * subscribing.FAREWELLS
    assert await pushed.endpoints() == []


async def test_a_part_that_moves_to_another_hub_gets_another_address(
    pushed: Pushed, hub: HubServer
) -> None:
    old = await active(pushed)
    async with HubServer(verifies=False) as other:
        await read_again(pushed, page(other))
        new = await pushed.endpoint("a")
        assert pushed.pushing.opened(new) != pushed.pushing.opened(old)
        pushed.world.ahead += timedelta(minutes=1)
        await pushed.subscriber().tick()
        assert (hub.modes(), other.modes()) == (["subscribe", "unsubscribe"], ["subscribe"])


async def test_who_watches_no_more_renews_nothing_and_is_back_with_the_next_watch(
    pushed: Pushed, hub: HubServer
) -> None:
    await active(pushed)
    await pushed.world.unwatch()
    for days in (8, 11, 20):
        pushed.world.ahead = timedelta(days=days)
        await pushed.subscriber().tick()
    assert hub.modes() == ["subscribe"]
    row = await pushed.endpoint("a")
    assert (row.state, row.due_at) == ("lapsed", None)
    pushed.world.source.plays(page(hub), Page(part="b", hub=""))
    await pushed.world.sync(await pushed.world.watch())
    pushed.world.ahead += timedelta(minutes=1)
    await pushed.subscriber().tick()
    assert hub.modes() == ["subscribe"] * 2


@pytest.mark.parametrize("failures", [1, 2, 5, 60])
def test_pauses_double_up_to_a_day(failures: int) -> None:
    pause = subscribing.pause_after(failures, 0)
    assert pause == timedelta(minutes=min(10 * 2 ** (failures - 1), 24 * 60))

"""Weekly digests on the Monday after their week: once, whoever works on them, and with all of the week."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import feedparser
import pytest

from distill_grpc.db.engine import create_engine
from distill_grpc.feed import digest_feeds, digest_scheduling, retention
from distill_grpc.feed.digest_scheduling import DigestMaker
from distill_grpc.feed.digesting import Spender
from distill_grpc.feed.periods import first_day, period
from tests.integration.feed.digested import (
    DAY,
    collect,
    digester,
    mails,
    maker,
    post,
    prefer,
    smtp,
    synced,
)
from tests.integration.feed.world import USER, World
from tests.servers.smtp import mail_server

WEEK = timedelta(days=7)
# The week that ended last, and its digest's instant.
MONDAY = first_day("weekly", datetime.now(UTC).date()) - WEEK
START = datetime.combine(MONDAY, datetime.min.time(), UTC)
DUE = START + WEEK + timedelta(hours=7)
JOB = {"user_id": USER, "day": MONDAY.isoformat(), "period": "weekly"}


async def subscriber(world: World, **wanted: Any) -> None:
    """A watched user with news of Tuesday and Sunday, whose week is to be digested at seven."""
    await world.watch()
    await collect(world, at=START + timedelta(days=1, hours=9), tag="tuesday")
    await collect(world, at=START + timedelta(days=6, hours=9), tag="sunday")
    await synced(world, USER, START + WEEK + timedelta(hours=1))
    chosen = {"digest_hour": 7, "daily": False, "weekly": True, "mail": True, **wanted}
    await prefer(world, now=DUE - timedelta(hours=2), **chosen)


async def tick(world: World, now: datetime) -> list[dict[str, Any]]:
    """What the scheduler enqueues at that instant."""
    await world.tell("DELETE FROM procrastinate_jobs")
    async with world.engine.begin() as connection:
        await digest_scheduling.enqueue_due(connection, world.queue, now)
    rows = await world.ask("SELECT args FROM procrastinate_jobs ORDER BY id")
    return [{name: row.args[name] for name in JOB} for row in rows]


async def kept(world: World) -> list[tuple[str, str]]:
    rows = await world.ask("SELECT period, date FROM summaries ORDER BY period, date")
    return [(row.period, row.date.isoformat()) for row in rows]


async def test_a_week_is_digested_on_its_next_monday_and_once(world: World) -> None:
    await subscriber(world)
    assert await tick(world, DUE - timedelta(seconds=1)) == []
    assert await tick(world, DUE) == [JOB]
    assert await tick(world, DUE + timedelta(minutes=1)) == []  # it is in hand
    await maker(world, DUE).run(**JOB)
    assert await kept(world) == [("weekly", MONDAY.isoformat())]
    (row,) = await world.ask("SELECT items_processed FROM summaries")
    assert row.items_processed == 8  # of both days
    await synced(world, USER, DUE + WEEK)
    assert await tick(world, DUE + WEEK - timedelta(seconds=1)) == []
    following = (MONDAY + WEEK).isoformat()
    assert await tick(world, DUE + WEEK) == [{**JOB, "day": following}]


async def test_on_a_monday_both_digests_are_made_each_with_its_own_mail(world: World) -> None:
    await subscriber(world, daily=True)
    jobs = await tick(world, DUE)
    sunday = (MONDAY + timedelta(days=6)).isoformat()
    assert jobs == [{**JOB, "day": sunday, "period": "daily"}, JOB]
    for job in jobs:
        await maker(world, DUE).run(**job)
    async with mail_server() as server:
        assert await post(world, smtp(server), DUE).send_due() == 2
    subjects = {message["Subject"] for message in server.messages}
    assert subjects == {
        f"Your digest of {sunday}",
        f"Your weekly digest of {MONDAY} to {sunday}",
    }
    assert len({message["Message-ID"] for message in server.messages}) == 2
    assert await mails(world) == [(USER, "sent", 1), (USER, "sent", 1)]


async def test_several_ticks_and_workers_make_one_digest_and_one_mail(
    world: World, database_url: str
) -> None:
    await subscriber(world)
    engine = create_engine(database_url, pool_timeout=30)

    async def ticked(each: Any) -> int:
        async with each.begin() as connection:
            return await digest_scheduling.enqueue_due(connection, world.queue, DUE)

    engines = (world.engine, engine, world.engine, engine)
    assert sum(await asyncio.gather(*map(ticked, engines))) == 1
    makers = [
        DigestMaker(engine=each, digester=digester(world), now=lambda: DUE) for each in engines
    ]
    await asyncio.gather(*(each.run(**JOB) for each in makers))
    await engine.dispose()
    assert await kept(world) == [("weekly", MONDAY.isoformat())]
    assert await mails(world) == [(USER, "waiting", 0)]


async def test_it_waits_for_the_sync_that_covers_the_sunday_but_not_for_ever(world: World) -> None:
    await subscriber(world)
    await synced(world, USER, START + WEEK - timedelta(minutes=1))
    assert await tick(world, DUE) == []
    assert await tick(world, DUE + digest_scheduling.LOOK_AGAIN) == []
    assert await tick(world, DUE + digest_scheduling.PATIENCE) == [JOB]


async def test_what_a_stop_missed_is_made_up_for_once(world: World) -> None:
    await subscriber(world)
    await synced(world, USER, DUE + 4 * WEEK)
    # Back on Thursday: the week is late, and not lost.
    assert await tick(world, DUE + 3 * DAY) == [JOB]
    # Back three weeks later: only the newest one.
    newest = (MONDAY + 3 * WEEK).isoformat()
    assert await tick(world, DUE + 3 * WEEK + 2 * DAY) == [{**JOB, "day": newest}]


@pytest.mark.parametrize(
    "moved",
    [
        {"digest_hour": 9},
        {"digest_hour": 23},
        {"digest_hour": 9, "tz": "America/Los_Angeles"},
        {"tz": "Pacific/Kiritimati"},
    ],
)
async def test_a_week_that_was_digested_is_not_due_again_elsewhere_or_later(
    world: World, moved: dict[str, Any]
) -> None:
    await subscriber(world)
    await tick(world, DUE)
    await maker(world, DUE).run(**JOB)
    chosen = {"digest_hour": 7, "daily": False, "weekly": True, "mail": True, **moved}
    row = await prefer(world, now=DUE + timedelta(minutes=5), **chosen)
    assert row.weekly_date == MONDAY + WEEK
    await synced(world, USER, DUE + 2 * DAY)
    assert await tick(world, DUE + timedelta(days=1, hours=12)) == []
    # Neither where it was turned off meanwhile.
    await prefer(world, now=DUE, **{**chosen, "weekly": False})
    row = await prefer(world, now=DUE, **chosen)
    assert row.weekly_date == MONDAY + WEEK


async def test_who_moves_while_it_is_made_gets_the_one_that_was_made(world: World) -> None:
    await subscriber(world)
    await tick(world, DUE)
    made = maker(world, DUE)
    moving = {"digest_hour": 7, "tz": "Asia/Tokyo", "daily": False, "weekly": True, "mail": True}
    slow = digester(world)

    class Moving:
        engine = world.engine

        async def get_summary(self, *arguments: Any) -> Any:
            told = await slow.get_summary(*arguments)
            await prefer(world, now=START + WEEK - timedelta(hours=3), **moving)
            return told

    await DigestMaker(engine=made.engine, digester=Moving(), now=lambda: DUE).run(**JOB)  # type: ignore[arg-type]
    async with mail_server() as server:
        assert await post(world, smtp(server), DUE).send_due() == 1
    (row,) = await world.ask("SELECT weekly_date, next_weekly_at FROM preferences")
    assert row.weekly_date == MONDAY + WEEK
    at = row.next_weekly_at.astimezone(ZoneInfo("Asia/Tokyo"))
    assert (at.date(), at.hour) == (MONDAY + 2 * WEEK, 7)


async def test_items_of_the_week_stay_until_it_is_digested_and_a_day_longer_at_most(
    world: World,
) -> None:
    await subscriber(world)
    await world.tell("UPDATE items SET collected_at = published_at")
    tuesday = START + timedelta(days=1, hours=9)
    policy = world.policy
    after = tuesday + policy.raw_retention + timedelta(hours=1)
    assert (await retention.enforce(world.engine, policy, after))["items"] == 0
    # Of another user, who wants no weekly digest, nothing stays longer.
    await collect(world, "other", at=tuesday)
    await world.tell("UPDATE items SET collected_at = published_at")
    assert (await retention.enforce(world.engine, policy, after))["items"] == 4
    late = tuesday + policy.raw_retention + retention.UNTIL_DIGESTED + timedelta(hours=1)
    assert (await retention.enforce(world.engine, policy, late))["items"] == 4  # Tuesday's
    await tick(world, DUE)
    await maker(world, DUE).run(**JOB)
    await world.tell("UPDATE items SET collected_at = :at, published_at = :at", at=tuesday)
    assert (await retention.enforce(world.engine, policy, after))["items"] == 4  # it is done


async def test_the_feed_has_days_and_weeks_that_are_over(world: World) -> None:
    await subscriber(world, daily=True)
    for job in await tick(world, DUE):
        await maker(world, DUE).run(**job)
    # Asked for on Sunday, when neither the day nor the week was over.
    sunday = START + timedelta(days=6, hours=12)
    spender = Spender(credits_available=True)
    async with world.engine.begin() as connection:
        token = await digest_feeds.create(connection, USER, DUE)
    for zone in ("Europe/Berlin", "UTC"):
        for kind in ("daily", "weekly"):
            wanted = period(kind, None, zone, sunday)
            await digester(world).get_summary(USER, wanted, spender, sunday)
    async with world.engine.connect() as connection:
        told = feedparser.parse(await digest_feeds.read(connection, token, "rss", "https://d/f"))
    assert [entry.title for entry in told.entries] == [
        f"Your weekly digest of {MONDAY} to {MONDAY + timedelta(days=6)}",
        f"Your digest of {MONDAY + timedelta(days=6)}",
    ]
    assert len({entry.id for entry in told.entries}) == 2
    assert "bronze statues" in told.entries[0].summary

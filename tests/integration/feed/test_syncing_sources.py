"""A sync run, source by source: what is stored, what fails alone, what is not asked again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from distill_grpc.encryption import Keyring
from distill_grpc.feed.sealing import Vault
from distill_grpc.sources.base import (
    FetchRequest,
    NoPlatformAuth,
    Page,
    PlatformError,
    RateLimited,
    SourceFailure,
    TokenExpired,
)
from tests.integration.feed.scripted import items, paged
from tests.integration.feed.world import World

HOUR = timedelta(hours=1)


async def test_everything_read_is_stored_and_the_run_is_completed(world: World) -> None:
    world.source.script = paged("a", 3, 2, world.now())
    run = await world.sync(await world.watch())
    assert (run.status, run.attempt) == ("completed", 1)
    assert await world.stored() == [f"a-{n}" for n in range(6)]
    report = (await world.report(run.id))["scripted"]
    assert (report.status, report.items_new, report.parts_done, report.parts_total) == (
        "completed",
        6,
        1,
        1,
    )
    assert (await world.part("a")).cursor == 2
    assert (await world.connection()).last_success_at is not None
    watch = await world.watched()
    assert watch.last_sync_status == "completed"
    assert watch.last_sync_at == run.finished_at.replace(microsecond=0)
    assert watch.next_sync_at - run.finished_at >= timedelta(minutes=27) - timedelta(seconds=1)


async def test_reading_the_same_again_stores_nothing(world: World) -> None:
    at = world.now()
    world.source.plays(Page(part="a", items=items("a", range(5), at)))
    await world.sync(await world.watch())
    before = await world.ask("SELECT id, updated_at, xmin::text FROM items ORDER BY id")
    report = (await world.report((await world.sync()).id))["scripted"]
    assert (report.items_new, report.items_updated) == (0, 0)
    assert await world.ask("SELECT id, updated_at, xmin::text FROM items ORDER BY id") == before


async def test_a_failing_source_leaves_the_others_alone(world: World) -> None:
    other = world.add_source("steady")
    world.source.plays(PlatformError("away"))
    other.plays(Page(part="a", items=items("s", range(3), world.now())))
    run = await world.sync(await world.watch())
    assert run.status == "partial"
    report = await world.report(run.id)
    assert report["scripted"].status == "failed"
    assert (report["scripted"].error_code, report["scripted"].error_message) == (
        "platform_error",
        "away",
    )
    assert report["steady"].status == "completed"
    assert len(await world.stored()) == 3


async def test_where_nothing_can_be_read_the_run_has_failed(world: World) -> None:
    world.source.plays(PlatformError("away"))
    assert (await world.sync(await world.watch())).status == "failed"


@pytest.mark.parametrize(
    "accident",
    [
        RuntimeError("a bug"),
        TimeoutError(),
        KeyError("x"),
        ExceptionGroup("several", [ValueError()]),
    ],
)
async def test_a_source_with_a_bug_fails_alone(world: World, accident: Exception) -> None:
    other = world.add_source("steady")
    other.plays(Page(part="a", items=items("s", range(3), world.now())))
    world.source.plays(
        Page(part="a", items=items("a", [1], world.now()), cursor=1, last=False), accident
    )
    run = await world.sync(await world.watch())
    assert run.status == "partial"
    assert await world.stored() == ["a-1", "s-0", "s-1", "s-2"]
    failed = (await world.report(run.id))["scripted"]
    assert (failed.status, failed.error_code) == ("failed", "platform_error")
    assert "bug" not in failed.error_message


async def test_a_source_that_fails_before_it_yields_fails_alone(world: World) -> None:
    class Broken(type(world.source)):  # type: ignore[misc]
        def parts(self, settings: object) -> tuple[str, ...]:
            if self.broken:
                raise AttributeError("settings")
            return ("a",)

        broken = False

    steady = world.source
    steady.plays(Page(part="a", items=items("s", range(3), world.now())))
    broken = world.sources["broken"] = Broken("broken")
    run_id = await world.watch()
    broken.broken = True
    assert (await world.sync(run_id)).status == "partial"
    assert len(await world.stored()) == 3


async def test_pages_that_cannot_be_stored_fail_their_source_alone(world: World) -> None:
    other = world.add_source("steady")
    other.plays(Page(part="a", items=items("s", range(3), world.now())))
    world.source.plays(Page(part="a", cursor={"nul": "\x00"}))
    run = await world.sync(await world.watch())
    assert (run.status, run.attempt) == ("partial", 1)
    assert (await world.report(run.id))["scripted"].error_code == "platform_error"


async def test_a_platforms_window_is_kept_by_every_trigger_even_with_force(world: World) -> None:
    open_at = world.now().replace(microsecond=0) + 2 * HOUR
    world.source.plays(RateLimited("later", retry_at=open_at))
    run = await world.sync(await world.watch())
    report = (await world.report(run.id))["scripted"]
    assert (report.status, report.retry_at) == ("skipped", open_at)
    assert (await world.connection()).retry_at == open_at
    for trigger, force in (("schedule", False), ("request", False), ("request", True)):
        again = await world.sync(trigger=trigger, force=force)
        report = (await world.report(again.id))["scripted"]
        assert (report.status, report.error_code) == ("skipped", "rate_limited")
        assert report.retry_at == open_at
    assert len(world.source.requests) == 1
    world.ahead = 2 * HOUR
    world.source.plays(Page(part="a"))
    assert (await world.sync()).status == "completed"
    assert (await world.connection()).retry_at is None


async def test_a_changed_connection_does_not_open_a_platforms_window(world: World) -> None:
    world.source.plays(RateLimited("later", retry_at=world.now() + HOUR))
    await world.sync(await world.watch())
    await world.connect(settings={"other": 1})
    run = await world.sync(trigger="request", force=True)
    assert (await world.report(run.id))["scripted"].status == "skipped"
    assert len(world.source.requests) == 1


async def test_a_failing_part_fails_alone_and_backs_off(world: World) -> None:
    world.source.named = ("a", "b")
    world.source.plays(
        Page(part="a", failure=PlatformError("feed away", reason="timeout")),
        Page(part="b", items=items("b", range(2), world.now())),
    )
    run = await world.sync(await world.watch())
    report = (await world.report(run.id))["scripted"]
    assert (run.status, report.status) == ("partial", "partial")
    assert (report.parts_done, report.parts_failed) == (2, 1)
    pauses = []
    for _ in range(4):
        failing = await world.part("a")
        pauses.append(failing.next_attempt_at - failing.last_attempt_at)
        assert (failing.error_code, failing.error_message) == ("platform_error", "feed away")
        asked = len(world.source.requests)
        world.ahead = failing.next_attempt_at - world.now() + world.ahead - timedelta(minutes=2)
        await world.sync()
        assert "a" in world.source.requests[-1].skip or len(world.source.requests) == asked
        world.ahead += timedelta(minutes=3)
        await world.sync()
        assert "a" not in world.source.requests[-1].skip
    assert pauses == sorted(pauses)
    assert pauses[-1] > 4 * pauses[0]
    assert (await world.part("a")).failures == 5
    world.source.plays(Page(part="a"), Page(part="b"))
    await world.sync(trigger="watch")
    assert (await world.part("a")).failures == 0
    assert (await world.part("a")).error_code is None


async def test_a_failing_account_backs_off_but_not_for_a_user_who_asks(world: World) -> None:
    world.source.plays(PlatformError("away"))
    await world.sync(await world.watch())
    for _ in range(3):
        world.ahead += timedelta(minutes=31)
        await world.sync()
    # After 1, 2 and 4 intervals' worth of pauses: the third scheduled run came too early.
    assert len(world.source.requests) == 3
    waiting = await world.connection()
    assert waiting.failures == 3
    assert waiting.next_attempt_at > world.now()
    await world.sync(trigger="request")
    assert len(world.source.requests) == 4


async def test_a_failure_that_is_left_alone_stays_visible(world: World) -> None:
    world.source.named = ("a", "b")
    world.source.plays(Page(part="a", failure=PlatformError("away")), Page(part="b"))
    await world.sync(await world.watch())
    world.ahead = timedelta(minutes=30)
    await world.tell(
        "UPDATE connection_parts SET next_attempt_at = now() + interval '9 hours' WHERE part = 'a'"
    )
    before = await world.connection()
    await world.sync()
    after = await world.connection()
    assert "a" in world.source.requests[-1].skip
    assert after.error_code == "platform_error"
    assert after.last_success_at == before.last_success_at


async def test_a_run_with_nothing_due_leaves_the_account_as_it_was(world: World) -> None:
    world.source.plays(Page(part="a", failure=PlatformError("away")))
    await world.sync(await world.watch())
    before = await world.connection()
    run = await world.sync(trigger="request")  # the part was read just now
    assert len(world.source.requests) == 1
    assert run.status == "completed"
    assert (await world.connection()) == before


@pytest.mark.parametrize("kind", [NoPlatformAuth, TokenExpired])
async def test_a_refused_account_is_not_asked_again_until_it_is_changed(
    world: World, kind: type[SourceFailure]
) -> None:
    world.source.plays(kind("refused", permanent=True))
    await world.sync(await world.watch())
    for force in (False, True):
        run = await world.sync(trigger="request", force=force)
        report = (await world.report(run.id))["scripted"]
        assert (run.status, report.status, report.error_code) == ("failed", "failed", kind.code)
    assert len(world.source.requests) == 1
    await world.connect(credentials={"token": "new"})
    world.source.plays(Page(part="a"))
    assert (await world.sync()).status == "completed"
    assert world.source.requests[-1].credentials == {"token": "new"}
    healed = await world.connection()
    assert (healed.permanent, healed.error_code) == (False, None)


async def test_a_dead_part_is_not_read_again_until_the_connection_is_changed(world: World) -> None:
    world.source.named = ("a", "b")
    gone = PlatformError("gone", reason="gone", permanent=True)
    world.source.plays(Page(part="a", failure=gone), Page(part="b"))
    await world.sync(await world.watch())
    for trigger, force in (("schedule", False), ("request", True), ("watch", False)):
        world.ahead += 25 * HOUR
        await world.sync(trigger=trigger, force=force)
        assert "a" in world.source.requests[-1].skip
    await world.connect(settings={"parts": ["a", "b"]})
    await world.sync()
    assert world.source.requests[-1].skip == frozenset()


async def test_credentials_that_no_key_opens_fail_their_account_alone(world: World) -> None:
    other = world.add_source("steady")
    other.plays(Page(part="a", items=items("s", range(3), world.now())))
    run_id = await world.watch()
    await world.connect(source="scripted", credentials={"token": "secret"})
    world.tokens = replace(world.tokens, vault=Vault(Keyring([b"x" * 32])))
    run = await world.sync(run_id)
    report = await world.report(run.id)
    assert (run.status, report["steady"].status) == ("partial", "completed")
    assert (report["scripted"].status, report["scripted"].error_code) == (
        "failed",
        "no_platform_auth",
    )
    assert not (await world.connection("scripted")).permanent  # the right key heals it
    assert world.source.requests == []


async def test_a_source_that_takes_too_long_is_stopped_and_keeps_what_it_brought(
    world: World,
) -> None:
    world.policy = replace(world.policy, source_deadline=timedelta(milliseconds=200))
    first = Page(part="a", items=items("a", range(2), world.now()), cursor=0, last=False)
    world.source.plays(first, asyncio.Event())
    run = await world.sync(await world.watch())
    report = (await world.report(run.id))["scripted"]
    assert (run.status, report.error_code) == ("failed", "platform_error")
    assert "too long" in report.error_message
    assert await world.stored() == ["a-0", "a-1"]
    assert (await world.part("a")).cursor == 0
    assert (await world.connection()).failures == 1
    # Another read that brings something is not a second failure in a row.
    second = Page(part="a", items=items("a", range(2, 4), world.now()), cursor=1, last=False)
    world.source.plays(second, asyncio.Event())
    await world.sync(trigger="request")
    assert (await world.connection()).failures == 1
    assert world.source.requests[-1].cursors == {"a": 0}


async def test_summaries_alone_read_no_source_and_put_nothing_off(world: World) -> None:
    world.source.plays(Page(part="a", items=items("a", range(3), world.now())))
    await world.sync(await world.watch())
    due = (await world.watched()).next_sync_at
    run = await world.sync(trigger="request", types=("content/summary/daily",))
    assert run.status == "completed"
    assert len(world.source.requests) == 1
    assert (await world.ask("SELECT period FROM summaries"))[0].period == "daily"
    assert (await world.watched()).next_sync_at == due


async def test_summaries_of_nothing_are_no_failure(world: World) -> None:
    await world.sync(await world.watch())
    run = await world.sync(trigger="request", types=("content/summary/weekly",))
    assert run.status == "completed"


async def test_a_summary_that_fails_loses_no_items(world: World) -> None:
    world.source.plays(Page(part="a", items=items("a", range(3), world.now())))
    run_id = await world.watch()
    await world.tell(
        "UPDATE sync_runs SET types = ARRAY['content/recent', 'content/summary/daily']"
    )

    async def fails(_user: str, _types: tuple[str, ...]) -> None:
        raise RuntimeError("no model")

    await replace(world.collector(), make_summaries=fails).run("user_1", str(run_id))
    run = await world.run(run_id)
    assert (run.status, run.attempt) == ("partial", 1)
    assert len(await world.stored()) == 3


async def test_a_source_that_is_not_served_here_is_left_out(world: World) -> None:
    world.add_source("elsewhere")
    run_id = await world.watch()
    del world.sources["elsewhere"]
    run = await world.sync(run_id)
    assert run.status == "completed"
    assert set(await world.report(run.id)) == {"scripted"}
    assert (await world.watched()).next_sync_at > run.finished_at


async def test_the_first_read_goes_back_as_far_as_asked_and_later_ones_to_the_retention(
    world: World,
) -> None:
    world.source.plays(Page(part="a", title="A title\n", url="https://example.org/moved"))
    await world.sync(await world.watch(backfill_days=30))
    first = world.source.requests[-1]
    assert first.now - first.default_since == timedelta(days=30)
    assert first.since["a"] == first.default_since
    await world.sync(trigger="watch")
    later = world.source.requests[-1]
    assert later.now - later.since["a"] == world.policy.raw_retention
    part = await world.part("a")
    assert (part.title, part.url) == ("A title", "https://example.org/moved")


async def test_a_short_period_stays_short_until_a_longer_one_is_asked_for(world: World) -> None:
    world.source.plays(Page(part="a"))
    await world.sync(await world.watch(backfill_days=1))
    seen = (await world.part("a")).first_seen_at
    world.ahead = timedelta(hours=1)
    await world.sync()
    assert world.source.requests[-1].since["a"] == seen - timedelta(days=1)
    await world.change_watch(backfill_days=4)
    world.ahead = timedelta(hours=2)
    await world.sync()
    assert world.source.requests[-1].since["a"] == seen - timedelta(days=4)


async def test_items_older_than_the_retention_do_not_come_back(world: World) -> None:
    old = world.now() - timedelta(days=8)
    world.source.plays(Page(part="a", items=items("a", [1], old)))
    await world.sync(await world.watch())
    assert await world.stored() == ["a-1"]
    await world.tell("DELETE FROM items")
    await world.sync()
    assert await world.stored() == []


async def test_a_parts_window_is_kept_even_with_force_and_other_parts_are_read(
    world: World,
) -> None:
    world.source.named = ("a", "b")
    open_at = world.now() + 2 * HOUR
    world.source.plays(
        Page(part="a", failure=RateLimited("later", retry_at=open_at)), Page(part="b")
    )
    await world.sync(await world.watch())
    await world.connect(settings={"other": 1})
    await world.sync(trigger="request", force=True)
    assert world.source.requests[-1].skip == {"a"}
    world.ahead = 2 * HOUR
    await world.sync(trigger="request")
    assert world.source.requests[-1].skip == frozenset()


async def test_pages_that_drift_into_each_other_lose_and_repeat_nothing(world: World) -> None:
    at = world.now()
    pages = [
        Page(part="a", items=items("a", numbers, at), cursor=n, last=False)
        for n, numbers in enumerate([range(5), range(3, 8), range(3, 8), (), range(11, 6, -1)])
    ]
    world.source.plays(*pages, Page(part="a"))
    run = await world.sync(await world.watch())
    assert await world.stored() == sorted(f"a-{n}" for n in range(12))
    report = (await world.report(run.id))["scripted"]
    assert (report.items_new, report.items_updated, report.parts_done) == (12, 0, 1)
    assert (await world.part("a")).cursor == 4  # the last page left it as it was


async def test_what_appears_late_is_stored_too(world: World) -> None:
    world.source.plays(Page(part="a", items=items("a", [1], world.now())))
    await world.sync(await world.watch())
    late = world.now() - timedelta(days=6)
    world.source.plays(Page(part="a", items=items("a", [2], late)))
    await world.sync()
    assert await world.stored() == ["a-1", "a-2"]


async def test_a_source_may_be_any_iterator(world: World) -> None:
    class Plain:
        """Pages without `aclose`."""

        def __init__(self) -> None:
            self._pages = iter([Page(part="a", items=items("a", [1], world.now()))])

        def __aiter__(self) -> Plain:
            return self

        async def __anext__(self) -> Page:
            for page in self._pages:
                return page
            raise StopAsyncIteration

    world.source.fetch = lambda _request: Plain()  # type: ignore[assignment,method-assign]
    assert (await world.sync(await world.watch())).status == "completed"
    assert await world.stored() == ["a-1"]


async def test_a_source_that_is_left_early_is_closed(world: World) -> None:
    closed: list[bool] = []

    async def fetch(request: FetchRequest) -> AsyncIterator[Page]:
        try:
            yield Page(part="a", cursor={"nul": "\x00"})
        finally:
            closed.append(True)
            raise RuntimeError("closing fails as well")

    world.source.fetch = fetch  # type: ignore[method-assign]
    assert (await world.sync(await world.watch())).status == "failed"
    assert closed == [True]

"""Views: taken up without holding anybody up, counted once, and told apart by no more than a day."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc.publishing import analytics
from distill_grpc.publishing.analytics import ANALYTICS_JOB, POST_VIEW, EventRecorder
from tests.integration.publishing import platform

NOW = datetime.now(UTC)


async def a_post(engine: AsyncEngine) -> UUID:
    creator = (await platform.accounts(engine, 1, "creator"))[0]
    return await platform.publish(engine, creator)


def view(post: UUID, reader: UUID | None = None, *, at: datetime = NOW) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "event_type": POST_VIEW,
        "user_id": None if reader is None else str(reader),
        "post_id": str(post),
        "timestamp": at.isoformat(),
    }


async def days(engine: AsyncEngine, post: UUID) -> list[tuple[int, int]]:
    query = "SELECT views, readers FROM post_days WHERE post_id = :id ORDER BY day"
    return [(row.views, row.readers) for row in await platform.rows(engine, query, id=post)]


async def total(engine: AsyncEngine, post: UUID) -> int:
    query = "SELECT views FROM post_totals WHERE post_id = :id"
    return int((await platform.rows(engine, query, id=post))[0].views)


async def test_views_are_counted_by_day_and_readers_once_a_day(engine: AsyncEngine) -> None:
    post, (ada, bob) = await a_post(engine), [uuid.uuid4(), uuid.uuid4()]
    yesterday = NOW - timedelta(days=1)
    await platform.processor(engine).run(
        [
            view(post),
            view(post, ada),
            view(post, ada),
            view(post, bob),
            view(post, ada, at=yesterday),
        ]
    )
    await platform.processor(engine).run([view(post, ada)])
    assert await days(engine, post) == [(1, 1), (5, 2)]
    assert await total(engine, post) == 6


async def test_a_job_that_runs_twice_counts_once(engine: AsyncEngine) -> None:
    post = await a_post(engine)
    events = [view(post, uuid.uuid4()) for _ in range(20)]
    runs = [platform.processor(engine).run(events) for _ in range(4)]
    await asyncio.gather(*runs)
    assert await days(engine, post) == [(20, 20)]


async def test_jobs_side_by_side_lose_nothing_and_never_wait_for_each_other(
    engine: AsyncEngine,
) -> None:
    posts = [await a_post(engine) for _ in range(5)]
    batches = [[view(post) for post in order] for order in (posts, posts[::-1]) * 10]
    await asyncio.gather(*(platform.processor(engine).run(batch) for batch in batches))
    assert [await total(engine, post) for post in posts] == [20] * 5


async def test_nobody_can_tell_from_what_is_kept_who_read_on_two_days(engine: AsyncEngine) -> None:
    post, ada = await a_post(engine), uuid.uuid4()
    await platform.processor(engine).run(
        [view(post, ada), view(post, ada, at=NOW - timedelta(days=1)), view(post)]
    )
    found = await platform.rows(engine, "SELECT reader FROM analytics_events ORDER BY at")
    readers = [row.reader for row in found if row.reader is not None]
    assert len(set(readers)) == len(readers) == 2
    kept = await platform.rows(engine, "SELECT * FROM analytics_events")
    assert str(ada) not in repr(kept)
    assert ada.bytes not in readers


async def test_events_of_posts_that_are_not_there_are_let_go(engine: AsyncEngine) -> None:
    post = await a_post(engine)
    await platform.processor(engine).run([view(uuid.uuid4()), view(post)])
    assert await total(engine, post) == 1


async def test_what_is_old_is_forgotten_and_the_sums_stay(engine: AsyncEngine) -> None:
    post = await a_post(engine)
    old = NOW - analytics.EVENTS_KEPT - timedelta(days=1)
    await platform.processor(engine).run(
        [view(post, uuid.uuid4(), at=old), view(post, uuid.uuid4())]
    )
    await platform.processor(engine).forget(NOW)
    for table in ("analytics_events", "post_readers"):
        assert len(await platform.rows(engine, f"SELECT 1 FROM {table}")) == 1
    assert await total(engine, post) == 2


async def test_the_recorder_hands_events_to_the_outbox_in_batches(engine: AsyncEngine) -> None:
    post, recorder = await a_post(engine), EventRecorder(engine)
    for _ in range(1_200):
        recorder.record(POST_VIEW, post, None)
    await recorder.flush()
    query = "SELECT payload FROM outbox WHERE job = :job ORDER BY created_at"
    payloads = [row.payload for row in await platform.rows(engine, query, job=ANALYTICS_JOB)]
    assert [len(payload["events"]) for payload in payloads] == [500, 500, 200]
    for payload in payloads:
        await platform.processor(engine).run(**payload)
    assert await total(engine, post) == 1_200


async def test_while_the_database_is_away_events_wait_up_to_a_bound(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    post, recorder = await a_post(engine), EventRecorder(engine)
    monkeypatch.setattr(analytics, "MOST_WAITING", 100)
    monkeypatch.setattr(analytics, "FLUSH", 0.01)
    await platform.execute(engine, "ALTER TABLE outbox RENAME TO elsewhere")
    running = asyncio.create_task(recorder.run())
    before = analytics.DROPPED._value.get()
    for _ in range(150):
        recorder.record(POST_VIEW, post, None)
    await asyncio.sleep(0.1)
    await platform.execute(engine, "ALTER TABLE elsewhere RENAME TO outbox")
    running.cancel()
    await asyncio.wait({running})
    assert analytics.DROPPED._value.get() - before == 50
    found = await platform.rows(
        engine, "SELECT payload FROM outbox WHERE job = :job", job=ANALYTICS_JOB
    )
    assert [len(row.payload["events"]) for row in found] == [100]

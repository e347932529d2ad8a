"""Budgets in the database: exact for a fleet, by the database's clock, and quick."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc.feed import budgets as feed_budgets
from distill_grpc.feed.budgets import PostgresBudgets, list_left, spending_for
from distill_grpc.feed.store import budgets as store
from distill_grpc.sources.base import RateLimited
from distill_grpc.sources.budgets import Adaptive, Budget, Quota, SlidingWindow, TokenBucket

HOUR = Budget(name="test.requests", strategy=SlidingWindow(limit=5, seconds=3600))
SECOND = Budget(name="test.pace", strategy=TokenBucket(rate=20, burst=2))


async def test_a_fleet_never_exceeds_a_limit_and_uses_all_of_it(
    engine: AsyncEngine, database_url: str
) -> None:
    """Two processes with four spenders each, all of them greedy, over several windows."""
    order = {"database_url": database_url, "limit": 100, "seconds": 2, "until": time.time() + 6}
    spenders = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.feed.spender",
            json.dumps(order),
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )
        for _ in range(2)
    ]
    outputs = [(await spender.communicate())[0] for spender in spenders]
    allowed = [int(output) for output in outputs]
    # At most one limit in any two seconds, and at least one was used up.
    assert 100 <= sum(allowed) <= 4 * 100
    assert min(allowed) > 0
    async with engine.connect() as connection:
        state = (
            await connection.execute(text("SELECT state FROM platform_budgets WHERE spender = ''"))
        ).scalar_one()
    assert sum(state["spans"].values()) <= 100


async def test_many_tasks_at_once_are_served_exactly_as_often_as_allowed(
    engine: AsyncEngine,
) -> None:
    budgets = PostgresBudgets(engine)
    results = await asyncio.gather(
        *(budgets.reserve(HOUR, "holder") for _ in range(12)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, RateLimited)]
    assert len(refused) == 7
    assert results.count(None) == 5
    for refusal in refused:
        assert refusal.retry_at is not None
        assert timedelta(minutes=59) < refusal.retry_at - datetime.now(UTC) < timedelta(minutes=62)


async def test_holders_do_not_spend_from_each_other(engine: AsyncEngine) -> None:
    budgets = PostgresBudgets(engine)
    await budgets.reserve(HOUR, "one", cost=5)
    await budgets.reserve(HOUR, "two", cost=5)
    with pytest.raises(RateLimited):
        await budgets.reserve(HOUR, "one")


async def test_a_short_wait_is_waited_and_a_long_one_refused(engine: AsyncEngine) -> None:
    budgets = PostgresBudgets(engine)
    began = time.monotonic()
    for _ in range(8):
        await budgets.reserve(SECOND, "holder")
    assert time.monotonic() - began >= 6 / 20
    slow = Budget(name="test.slow", strategy=TokenBucket(rate=0.1, burst=1))
    await budgets.reserve(slow, "holder")
    began = time.monotonic()
    with pytest.raises(RateLimited):
        await budgets.reserve(slow, "holder")
    assert time.monotonic() - began < 2


async def test_what_the_platform_forbids_holds_for_every_process(engine: AsyncEngine) -> None:
    until = datetime.now(UTC) + timedelta(minutes=10)
    await PostgresBudgets(engine).learn(HOUR, "holder", blocked_until=until)
    with pytest.raises(RateLimited) as refused:
        await PostgresBudgets(engine).reserve(HOUR, "holder", cost=0)
    assert refused.value.retry_at is not None
    assert abs(refused.value.retry_at - until) < timedelta(seconds=1)


async def test_what_the_platform_says_is_left_holds_for_every_process(engine: AsyncEngine) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=10)
    await PostgresBudgets(engine).learn(HOUR, "holder", remaining=1, resets_at=soon)
    await PostgresBudgets(engine).reserve(HOUR, "holder")
    with pytest.raises(RateLimited) as refused:
        await PostgresBudgets(engine).reserve(HOUR, "holder")
    assert refused.value.retry_at is not None
    assert abs(refused.value.retry_at - soon) < timedelta(seconds=1)


async def test_users_share_a_quota_by_their_names(engine: AsyncEngine) -> None:
    units = Budget(name="test.units", strategy=Quota(limit=100, share=0.5), unit="units")
    budgets = PostgresBudgets(engine)
    await budgets.reserve(units, "project", cost=50, user="ann")
    with pytest.raises(RateLimited):
        await PostgresBudgets(engine).reserve(units, "project", cost=1, user="ann")
    await budgets.reserve(units, "project", cost=25, user="bob")
    with pytest.raises(RateLimited):
        await budgets.reserve(units, "project", cost=1, user="bob")
    async with engine.connect() as connection:
        (left,) = await list_left(connection, "bob", datetime.now(UTC))
    assert (left.name, left.unit, left.limit, left.left) == ("test.units", "units", 50, 0)


async def test_a_user_sees_what_own_accounts_have_left_and_nobody_elses(
    engine: AsyncEngine,
) -> None:
    budgets = PostgresBudgets(engine)
    with spending_for("ann"):
        await budgets.reserve(HOUR, "anns-token", cost=2)
    with spending_for("bob"):
        await budgets.reserve(HOUR, "bobs-token", cost=4)
    now = datetime.now(UTC)
    async with engine.connect() as connection:
        (anns,) = await list_left(connection, "ann", now)
        (bobs,) = await list_left(connection, "bob", now)
        assert await list_left(connection, "eve", now) == []
    assert (anns.limit, anns.left, anns.blocked_until) == (5, 3, None)
    assert bobs.left == 1
    assert anns.resets_at is not None
    assert timedelta(minutes=59) < anns.resets_at - now < timedelta(minutes=62)


@pytest.mark.parametrize(
    "strategy",
    [
        TokenBucket(rate=1, burst=2),
        SlidingWindow(limit=3, seconds=60),
        Adaptive(start=60, floor=1),
        Quota(limit=10, zone="America/Los_Angeles"),
    ],
)
async def test_every_strategy_can_be_shown(engine: AsyncEngine, strategy: object) -> None:
    budget = Budget(name="test.any", strategy=strategy)  # type: ignore[arg-type]
    await PostgresBudgets(engine).reserve(budget, "holder", user="ann")
    assert feed_budgets._from_json(feed_budgets._as_json(budget.strategy)) == strategy
    async with engine.connect() as connection:
        (left,) = await list_left(connection, "ann", datetime.now(UTC))
    assert left.left == pytest.approx(left.limit - 1, abs=0.5)


async def test_what_nobody_has_used_for_long_is_forgotten(engine: AsyncEngine) -> None:
    await PostgresBudgets(engine).reserve(HOUR, "holder", user="ann")
    async with engine.begin() as connection:
        long_ago = datetime.now(UTC) - timedelta(days=1)
        assert await store.delete_unused_since(connection, long_ago, 10) == 0
        assert await store.delete_unused_since(connection, datetime.now(UTC), 10) == 2


async def test_a_reservation_costs_little(engine: AsyncEngine) -> None:
    """About half a millisecond; the bound leaves room for a machine that does other things too."""
    budgets = PostgresBudgets(engine)
    wide = Budget(name="test.wide", strategy=SlidingWindow(limit=1e9, seconds=60))
    await budgets.reserve(wide, "holder", user="ann")
    took = []
    for _ in range(300):
        began = time.perf_counter()
        await budgets.reserve(wide, "holder", user="ann")
        took.append(time.perf_counter() - began)
    assert sorted(took)[len(took) // 2] < 0.01

"""The strategies: however they are asked, no platform is asked for more than it allows."""

from __future__ import annotations

import itertools
import json
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_grpc.sources import spending
from distill_grpc.sources.budgets import Adaptive, Quota, SlidingWindow, Strategy, TokenBucket
from distill_grpc.sources.spending import NEW, State

BEGIN = 1_700_000_000.0
PACIFIC = ZoneInfo("America/Los_Angeles")

BUCKETS = st.builds(TokenBucket, rate=st.floats(0.1, 50), burst=st.floats(1, 100))
WINDOWS = st.builds(
    SlidingWindow, limit=st.integers(1, 40).map(float), seconds=st.floats(1, 90_000)
)
ADAPTIVES = st.floats(2, 600).flatmap(
    lambda start: st.builds(Adaptive, start=st.just(start), floor=st.floats(1, start))
)
QUOTAS = st.builds(
    Quota,
    limit=st.integers(5, 200).map(float),
    zone=st.sampled_from(["UTC", "America/Los_Angeles", "Australia/Lord_Howe", "Africa/Cairo"]),
    share=st.floats(0.3, 1),
)
ANY = st.one_of(BUCKETS, WINDOWS, ADAPTIVES, QUOTAS)
# Steps: seconds that pass, and what is then asked for.
STEPS = st.lists(
    st.tuples(st.floats(0, 5_000) | st.floats(0, 2), st.floats(0, 1)), min_size=1, max_size=60
)


def spend(
    strategy: Strategy, steps: list[tuple[float, float]]
) -> tuple[list[tuple[float, float]], State]:
    """What was allowed when, and the state that this leaves."""
    state, now, allowed = NEW, BEGIN, []
    for passed, part in steps:
        now += passed
        cost = part * min(spending.capacity(strategy), 5)
        decision = spending.reserve(strategy, state, NEW, cost=cost, now=now)
        if decision.allowed:
            allowed.append((now, cost))
            state = decision.state
    return allowed, state


@given(WINDOWS, STEPS)
def test_no_window_wherever_it_begins_holds_more_than_the_limit(
    window: SlidingWindow, steps: list[tuple[float, float]]
) -> None:
    allowed, _ = spend(window, steps)
    for begin, _ in allowed:
        inside = [cost for at, cost in allowed if begin <= at < begin + window.seconds]
        assert sum(inside) <= window.limit + 1e-6


@given(BUCKETS, STEPS)
def test_no_stretch_of_time_holds_more_than_the_burst_and_the_rate(
    bucket: TokenBucket, steps: list[tuple[float, float]]
) -> None:
    allowed, _ = spend(bucket, steps)
    for (first, (begin, _)), (last, (end, _)) in itertools.combinations(enumerate(allowed), 2):
        inside = sum(cost for _, cost in allowed[first : last + 1])
        assert inside <= bucket.burst + (end - begin) * bucket.rate + 1e-3


@given(ANY, STEPS)
def test_who_waits_as_told_is_served_and_not_a_moment_earlier(
    strategy: Strategy, steps: list[tuple[float, float]]
) -> None:
    _, state = spend(strategy, steps)
    now = BEGIN + sum(passed for passed, _ in steps)
    cost = min(1.0, spending.capacity(strategy))
    refused = spending.reserve(strategy, state, NEW, cost=cost, now=now)
    if refused.allowed:
        return
    assert refused.wait > 0
    assert spending.reserve(strategy, state, NEW, cost=cost, now=now + refused.wait + 1e-3).allowed
    if refused.wait > 0.1:
        early = now + refused.wait - 0.05
        assert not spending.reserve(strategy, state, NEW, cost=cost, now=early).allowed


@given(ANY, STEPS)
def test_what_is_left_can_be_spent_and_a_bit_more_cannot(
    strategy: Strategy, steps: list[tuple[float, float]]
) -> None:
    _, state = spend(strategy, steps)
    now = BEGIN + sum(passed for passed, _ in steps)
    left = spending.left(strategy, state, NEW, now=now)
    assert 0 <= left.left <= left.limit + 1e-6
    assert spending.reserve(strategy, state, NEW, cost=left.left, now=now).allowed
    more = left.left + 0.01
    if more < spending.capacity(strategy):
        assert not spending.reserve(strategy, state, NEW, cost=more, now=now).allowed


@given(ANY, STEPS)
def test_a_state_survives_being_stored(
    strategy: Strategy, steps: list[tuple[float, float]]
) -> None:
    _, state = spend(strategy, steps)
    assert State.from_json(json.loads(json.dumps(state.as_json()))) == state


@pytest.mark.parametrize(
    "state", [State(tokens=0.0), State(told_left=0.0, told_until=BEGIN), State(pace=0.0)]
)
def test_nothing_left_is_stored_as_nothing_left(state: State) -> None:
    assert State.from_json(json.loads(json.dumps(state.as_json()))) == state


@given(ANY, STEPS, st.floats(0, 300), st.floats(1, 10_000))
def test_what_the_platform_tells_never_raises_what_is_left(
    strategy: Strategy, steps: list[tuple[float, float]], remaining: float, seconds: float
) -> None:
    _, state = spend(strategy, steps)
    now = BEGIN + sum(passed for passed, _ in steps)
    before = spending.left(strategy, state, NEW, now=now).left
    learnt = spending.learn(strategy, state, now=now, remaining=remaining, resets_at=now + seconds)
    after = spending.left(strategy, learnt, NEW, now=now).left
    assert after == pytest.approx(min(before, remaining))
    # A second, higher word does not raise it either.
    again = spending.learn(
        strategy, learnt, now=now, remaining=remaining + 5, resets_at=now + seconds
    )
    assert spending.left(strategy, again, NEW, now=now).left == pytest.approx(after)


@given(ANY, st.floats(1, 100_000))
def test_nothing_passes_before_the_instant_that_the_platform_named(
    strategy: Strategy, seconds: float
) -> None:
    state = spending.learn(strategy, NEW, now=BEGIN, blocked_until=BEGIN + seconds)
    for part in (0.0, 0.5, 0.999):
        refused = spending.reserve(strategy, state, NEW, cost=0, now=BEGIN + part * seconds)
        assert not refused.allowed
        assert refused.blocked
        assert refused.wait == pytest.approx((1 - part) * seconds, abs=1e-3)
    cost = min(1.0, spending.capacity(strategy))
    after = spending.reserve(strategy, state, NEW, cost=cost, now=BEGIN + seconds + 61)
    assert after.allowed


def test_what_the_platform_said_is_left_counts_down_until_it_resets() -> None:
    window = SlidingWindow(limit=100, seconds=900)
    state = spending.learn(window, NEW, now=BEGIN, remaining=2, resets_at=BEGIN + 300)
    for _ in range(2):
        decision = spending.reserve(window, state, NEW, cost=1, now=BEGIN + 1)
        assert decision.allowed
        state = decision.state
    refused = spending.reserve(window, state, NEW, cost=1, now=BEGIN + 2)
    assert not refused.allowed
    assert refused.wait == 298
    assert spending.reserve(window, state, NEW, cost=1, now=BEGIN + 300).allowed


def test_refusals_halve_the_pace_down_to_its_floor_and_good_minutes_bring_it_back() -> None:
    strategy = Adaptive(start=60, floor=10)
    state, paces = NEW, []
    for n in range(4):
        state = spending.learn(strategy, state, now=BEGIN, blocked_until=BEGIN + 1 + n)
        paces.append(state.pace)
    assert paces == [30, 15, 10, 10]
    for minutes, pace in ((1, 16), (5, 40), (30, 60)):
        decision = spending.reserve(strategy, state, NEW, cost=0, now=BEGIN + minutes * 60)
        assert decision.state.pace == pytest.approx(pace, abs=0.5)


def test_the_same_refusal_told_twice_halves_once() -> None:
    strategy = Adaptive(start=60, floor=10)
    state = spending.learn(strategy, NEW, now=BEGIN, blocked_until=BEGIN + 60)
    state = spending.learn(strategy, state, now=BEGIN, blocked_until=BEGIN + 60)
    assert state.pace == 30


@pytest.mark.parametrize(
    ("today", "hours"),
    [("2026-03-08", 23), ("2026-11-01", 25), ("2026-07-01", 24)],
    ids=["clocks go forward", "clocks go back", "usual"],
)
def test_a_quota_begins_anew_at_midnight_of_its_zone(today: str, hours: int) -> None:
    midnight = datetime.fromisoformat(today).replace(tzinfo=PACIFIC)
    begin = midnight.timestamp()
    assert spending.midnight_after("America/Los_Angeles", begin) == begin + hours * 3600
    quota = Quota(limit=10, zone="America/Los_Angeles")
    spent = spending.reserve(quota, NEW, NEW, cost=10, now=begin + 60).state
    late = begin + hours * 3600 - 1
    refused = spending.reserve(quota, spent, NEW, cost=1, now=late)
    assert not refused.allowed
    assert refused.wait == pytest.approx(1)
    assert spending.reserve(quota, spent, NEW, cost=1, now=late + 1).allowed


@given(
    st.sampled_from(["Africa/Cairo", "America/Santiago", "Asia/Beirut", "Pacific/Apia"]),
    st.integers(0, 20_000),
)
def test_midnight_is_always_ahead_and_no_day_is_skipped(zone: str, hour: int) -> None:
    now = datetime(2011, 12, 1, tzinfo=ZoneInfo("UTC")).timestamp() + hour * 3600
    midnight = spending.midnight_after(zone, now)
    assert now < midnight <= now + timedelta(hours=49).total_seconds()
    here = datetime.fromtimestamp(now, ZoneInfo(zone)).date()
    assert datetime.fromtimestamp(midnight - 1, ZoneInfo(zone)).date() <= here + timedelta(days=1)
    assert datetime.fromtimestamp(midnight, ZoneInfo(zone)).date() > here


@given(
    st.floats(0.2, 0.9),
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 8)), min_size=1, max_size=200),
)
def test_no_user_of_a_shared_quota_can_starve_the_others(
    share: float, asked: list[tuple[int, int]]
) -> None:
    quota = Quota(limit=100, share=share)
    state, own = NEW, dict.fromkeys(range(6), NEW)
    for user, cost in asked:
        decision = spending.reserve(quota, state, own[user], cost=cost, now=BEGIN)
        if decision.allowed:
            state, own[user] = decision.state, decision.own
            others = state.spent - own[user].spent
            assert own[user].spent <= share * (100 - others) + 1e-6
    assert state.spent <= 100
    # Whoever has not spent anything yet still finds the share of what is left.
    newcomer = spending.left(quota, state, own[5], now=BEGIN)
    assert newcomer.left == pytest.approx(share * (100 - state.spent))
    assert newcomer.left > 0


@given(ANY, STEPS)
def test_clocks_that_disagree_a_little_never_give_more(
    strategy: Strategy, steps: list[tuple[float, float]]
) -> None:
    _, state = spend(strategy, steps)
    left = spending.left(strategy, state, NEW, now=state.at)
    earlier = spending.left(strategy, state, NEW, now=state.at - 30)
    assert earlier.left == left.left


def test_what_can_never_be_had_is_a_fault_of_the_source() -> None:
    with pytest.raises(ValueError, match="more than there ever is"):
        spending.reserve(SlidingWindow(limit=5, seconds=60), NEW, NEW, cost=6, now=BEGIN)
    with pytest.raises(ValueError, match="cannot be"):
        spending.reserve(SlidingWindow(limit=5, seconds=60), NEW, NEW, cost=-1, now=BEGIN)

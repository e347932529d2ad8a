"""The rules of the strategies: what is left of a budget at an instant, and what spending leaves.

Pure functions over a state of plain numbers, so that any keeper (a process, a database) counts the
same. Instants are seconds since 1970 and may come a little out of order, as those of a fleet do: a
state that is younger than `now` is taken as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never
from zoneinfo import ZoneInfo

from distill_grpc.sources.budgets import Adaptive, Quota, SlidingWindow, Strategy, TokenBucket

# A window is counted in this many spans; see `ratelimit/window.py` for why that is exact.
SPANS = 60
_MINUTE = 60.0
_ENOUGH = 1e-9  # what sums of fractions may be wrong by


@dataclass(frozen=True, slots=True)
class State:
    """What was spent of a budget by one holder. Empty at the beginning."""

    at: float = 0.0  # when it was last changed
    tokens: float | None = None  # of a bucket at `at`; None: full
    pace: float | None = None  # of `Adaptive`, requests a minute at `at`
    spent: float = 0.0  # of `Quota`, on `day`
    day: str = ""
    spans: Mapping[str, float] = field(default_factory=dict)  # of `SlidingWindow`: span → spent
    told_left: float | None = None  # what the platform said is left …
    told_until: float = 0.0  # … until then
    blocked_until: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The state in short: what is as at the beginning is left out."""
        return {name: value for name, value in asdict(self).items() if value != _BEGIN[name]}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> State:
        """The state that `as_json` made this of."""
        return cls(**stored)


@dataclass(frozen=True, slots=True)
class Decision:
    """The states after a reservation, or from when it would succeed (`wait` seconds from now)."""

    allowed: bool
    state: State
    own: State  # of the user, where a quota is shared
    wait: float = 0.0
    blocked: bool = False  # the platform itself said stop


@dataclass(frozen=True, slots=True)
class Left:
    """What may be spent now, of how much, and when all of it is there again."""

    left: float
    limit: float
    resets_at: float | None


NEW = State()
_BEGIN = asdict(NEW)


def reserve(strategy: Strategy, state: State, own: State, *, cost: float, now: float) -> Decision:
    """Takes `cost`, where there is enough. Raises ValueError for what can never be enough.

    `own` is what the user spent of a shared quota.
    """
    if not 0 <= cost < math.inf:
        raise ValueError(f"a cost cannot be {cost}")
    if cost > capacity(strategy) + _ENOUGH:
        raise ValueError(f"{cost:g} is more than there ever is: {capacity(strategy):g}")
    now = max(now, state.at)
    if now < state.blocked_until:
        return Decision(False, state, own, wait=state.blocked_until - now, blocked=True)
    state, own = _aged(strategy, state, now), _aged(strategy, own, now)
    if state.told_left is not None and state.told_left + _ENOUGH < cost:
        return Decision(False, state, own, wait=state.told_until - now)
    wait = _wait(strategy, state, own, cost, now)
    if wait > 0:
        return Decision(False, state, own, wait=wait)
    told = None if state.told_left is None else max(0.0, state.told_left - cost)
    spent = replace(_spent(strategy, state, cost, now), told_left=told)
    return Decision(True, spent, _spent(strategy, own, cost, now))


def learn(
    strategy: Strategy,
    state: State,
    *,
    now: float,
    remaining: float | None = None,
    resets_at: float | None = None,
    blocked_until: float | None = None,
) -> State:
    """The state after the platform said what is left; it is never more than before."""
    now = max(now, state.at)
    state = _aged(strategy, state, now)
    if remaining is not None:
        until = resets_at if resets_at is not None else now + _horizon(strategy, now)
        if until > now:
            known = math.inf if state.told_left is None else state.told_left
            state = replace(
                state,
                told_left=max(0.0, min(known, remaining)),
                told_until=max(until, state.told_until),
            )
    if blocked_until is not None and blocked_until > now:
        if isinstance(strategy, Adaptive) and blocked_until > state.blocked_until:
            pace = max(strategy.floor, (state.pace or strategy.start) / 2)
            state = replace(state, pace=pace, tokens=0.0)
        state = replace(state, blocked_until=max(blocked_until, state.blocked_until))
    return state


def left(strategy: Strategy, state: State, own: State, *, now: float) -> Left:
    """What could be spent now by the user of `own`."""
    now = max(now, state.at)
    blocked = state.blocked_until if state.blocked_until > now else None
    state, own = _aged(strategy, state, now), _aged(strategy, own, now)
    free, resets = _free(strategy, state, own, now)
    if state.told_left is not None and state.told_left < free:
        free, resets = state.told_left, state.told_until
    if blocked is not None:
        free, resets = 0.0, max(blocked, resets or 0.0)
    return Left(max(0.0, free), capacity(strategy), resets)


def capacity(strategy: Strategy) -> float:
    """The most that can be spent at once."""
    match strategy:
        case TokenBucket():
            return strategy.burst
        case SlidingWindow():
            return strategy.limit
        case Adaptive():
            return _burst(strategy.start)
        case Quota():
            return strategy.limit * strategy.share
        case _:
            assert_never(strategy)


def midnight_after(zone: str, now: float) -> float:
    """The next midnight in a zone; a day of 23 or 25 hours ends when its clock says so."""
    local = datetime.fromtimestamp(now, ZoneInfo(zone))
    tomorrow = local.date() + timedelta(days=1)
    midnight = datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=ZoneInfo(zone))
    instant = midnight.astimezone(UTC).timestamp()
    # Where the clock skips midnight, the day begins when it has skipped.
    while datetime.fromtimestamp(instant, ZoneInfo(zone)).date() < tomorrow:
        instant += 900
    return instant


def _aged(strategy: Strategy, state: State, now: float) -> State:
    """The state with what time has given back until `now`."""
    now = max(now, state.at)
    if state.told_left is not None and state.told_until <= now:
        state = replace(state, told_left=None, told_until=0.0)
    if state.blocked_until <= now:
        state = replace(state, blocked_until=0.0)
    passed = now - state.at
    match strategy:
        case TokenBucket(rate=rate, burst=burst):
            tokens = burst if state.tokens is None else min(burst, state.tokens + passed * rate)
            return replace(state, tokens=tokens, at=now)
        case Adaptive():
            before = state.pace or strategy.start
            pace = min(strategy.start, before + strategy.start / 10 * passed / _MINUTE)
            burst = _burst(pace)
            tokens = burst if state.tokens is None else state.tokens + passed * before / _MINUTE
            return replace(state, pace=pace, tokens=min(burst, tokens), at=now)
        case SlidingWindow():
            oldest = _span(strategy, now) - SPANS + 1
            spans = {key: spent for key, spent in state.spans.items() if int(key) >= oldest}
            return replace(state, spans=spans, at=now)
        case Quota(zone=zone):
            day = datetime.fromtimestamp(now, ZoneInfo(zone)).date().isoformat()
            if day > state.day:
                return replace(state, day=day, spent=0.0, at=now)
            return replace(state, at=now)
        case _:
            assert_never(strategy)


def _free(strategy: Strategy, state: State, own: State, now: float) -> tuple[float, float | None]:
    """What an aged state leaves, and when all of it is there again."""
    match strategy:
        case TokenBucket(rate=rate, burst=burst):
            tokens = state.tokens or 0.0
            return tokens, now + (burst - tokens) / rate
        case Adaptive():
            return state.tokens or 0.0, None
        case SlidingWindow():
            newest = max((int(key) for key in state.spans), default=None)
            resets = now if newest is None else (newest + SPANS) * _span_length(strategy)
            return strategy.limit - sum(state.spans.values()), resets
        case Quota(limit=limit, share=share):
            others = state.spent - own.spent
            # What one user may have of all that the others have left to be had.
            mine = share * (limit - others) - own.spent
            return min(limit - state.spent, mine), midnight_after(strategy.zone, now)
        case _:
            assert_never(strategy)


def _wait(strategy: Strategy, state: State, own: State, cost: float, now: float) -> float:
    """Seconds until an aged state has enough; 0 where it has."""
    free, _ = _free(strategy, state, own, now)
    missing = cost - free
    if missing <= _ENOUGH:
        return 0.0
    match strategy:
        case TokenBucket(rate=rate):
            return missing / rate
        case Adaptive():
            return missing / ((state.pace or strategy.start) / _MINUTE)
        case SlidingWindow():
            for key in sorted(state.spans, key=int):
                missing -= state.spans[key]
                if missing <= _ENOUGH:
                    return max(_ENOUGH, (int(key) + SPANS) * _span_length(strategy) - now)
            raise AssertionError("a window gives everything back")
        case Quota(zone=zone):
            return midnight_after(zone, now) - now
        case _:
            assert_never(strategy)


def _spent(strategy: Strategy, state: State, cost: float, now: float) -> State:
    """An aged state after `cost` was spent."""
    match strategy:
        case TokenBucket() | Adaptive():
            return replace(state, tokens=max(0.0, (state.tokens or 0.0) - cost))
        case SlidingWindow():
            key = str(_span(strategy, now))
            return replace(state, spans={**state.spans, key: state.spans.get(key, 0.0) + cost})
        case Quota():
            return replace(state, spent=state.spent + cost)
        case _:
            assert_never(strategy)


def _horizon(strategy: Strategy, now: float) -> float:
    """How long it takes until what was spent is there again, where the platform does not tell."""
    match strategy:
        case TokenBucket(rate=rate, burst=burst):
            return burst / rate
        case SlidingWindow(seconds=seconds):
            return seconds
        case Adaptive():
            return _MINUTE
        case Quota(zone=zone):
            return midnight_after(zone, now) - now
        case _:
            assert_never(strategy)


def _burst(pace: float) -> float:
    """How much may be spent at once at a pace: what ten seconds give, and at least one request."""
    return max(1.0, pace / 6)


def _span_length(window: SlidingWindow) -> float:
    return window.seconds / (SPANS - 1)


def _span(window: SlidingWindow, now: float) -> int:
    return int(now // _span_length(window))

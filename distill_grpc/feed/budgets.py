"""The platforms' budgets of a whole fleet, counted in PostgreSQL by its clock.

Every reservation is a short transaction of its own under the lock of the budget's row, committed
before the request that it is for: a crash wastes what it reserved, and never exceeds a limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc.feed.store import budgets as store
from distill_grpc.sources import spending
from distill_grpc.sources.budgets import (
    Adaptive,
    Budget,
    Quota,
    SlidingWindow,
    Strategy,
    TokenBucket,
)
from distill_grpc.sources.kept_budgets import Answered, KeptBudgets
from distill_grpc.sources.spending import State

_user: ContextVar[str] = ContextVar("spending_for", default="")
_KINDS = {kind.__name__: kind for kind in (TokenBucket, SlidingWindow, Adaptive, Quota)}


@contextmanager
def spending_for(user_id: str) -> Iterator[None]:
    """Whoever reserves inside does so for this user, also where a source does not say for whom."""
    before = _user.set(user_id)
    try:
        yield
    finally:
        _user.reset(before)


@dataclass(frozen=True, slots=True)
class BudgetLeft:
    """What a user may still spend of a budget."""

    name: str
    unit: str
    limit: float
    left: float
    resets_at: datetime | None
    blocked_until: datetime | None


class PostgresBudgets(KeptBudgets):
    """`Budgets` for all processes that share a database; see `Budgets` for what each call does."""

    def __init__(self, engine: AsyncEngine, **options: Any) -> None:
        super().__init__(**options)
        # BEGIN and COMMIT are the driver's: a third quicker, and this precedes every request.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._seen: set[tuple[str, str, str]] = set()  # users known to have a row

    async def _reserve(self, budget: Budget, holder: str, cost: float, user: str) -> Answered:
        user = user or _user.get()
        who = (budget.name, holder, user)
        shared = isinstance(budget.strategy, Quota)
        # Where users share nothing, a user's row only tells who spends; written once is enough.
        asked = user if shared or who not in self._seen else ""
        account = _account(budget, holder)
        async with store.transaction(self._engine) as driver:
            locked = await store.lock_states(driver, account, asked)
            own = State.from_json(locked.own or {}) if shared else spending.NEW
            state = State.from_json(locked.state or {})
            decision = spending.reserve(budget.strategy, state, own, cost=cost, now=locked.now)
            if decision.allowed:
                states = {"": decision.state.as_json()}
                if asked:
                    states[asked] = decision.own.as_json() if shared else {}
                await store.store_states(driver, account, states)
        if decision.allowed and asked:
            self._seen.add(who)
        return Answered(decision, locked.now)

    async def _learn(self, budget: Budget, holder: str, **told: float | None) -> None:
        account = _account(budget, holder)
        async with store.transaction(self._engine) as driver:
            locked = await store.lock_states(driver, account, "")
            state = State.from_json(locked.state or {})
            learnt = spending.learn(budget.strategy, state, now=locked.now, **told)
            if learnt != state:
                states = {"": learnt.as_json()}
                await store.store_states(driver, account, states)


async def list_left(connection: AsyncConnection, user_id: str, now: datetime) -> list[BudgetLeft]:
    """What a user may still spend of the budgets that were spent from for this user."""
    found = []
    for row in await store.list_of_user(connection, user_id):
        strategy = _from_json(row.strategy)
        state, own = State.from_json(row.state), State.from_json(row.own)
        left = spending.left(strategy, state, own, now=now.timestamp())
        blocked = state.blocked_until if state.blocked_until > now.timestamp() else None
        found.append(
            BudgetLeft(
                name=row.name,
                unit=row.unit,
                limit=left.limit,
                left=left.left,
                resets_at=_instant(left.resets_at),
                blocked_until=_instant(blocked),
            )
        )
    return found


def _account(budget: Budget, holder: str) -> store.Account:
    return store.Account(budget.name, holder, budget.unit, _as_json(budget.strategy))


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _as_json(strategy: Strategy) -> dict[str, Any]:
    return {"kind": type(strategy).__name__, **asdict(strategy)}


def _from_json(stored: Mapping[str, Any]) -> Strategy:
    values = dict(stored)
    return _KINDS[values.pop("kind")](**values)

"""Budgets that are really kept: the waiting and refusing that every keeper of counts shares.

`LocalBudgets` counts in this process, for one process alone and for tests; a fleet counts in the
database.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import Counter

from distill_grpc.sources import spending
from distill_grpc.sources.base import RateLimited
from distill_grpc.sources.budgets import Budget
from distill_grpc.sources.spending import NEW, Decision, State

SPENT = Counter("distill_platform_spent_total", "Spent of the platforms' budgets.", ["budget"])
REFUSED = Counter(
    "distill_platform_refused_total",
    "Reservations that a budget refused: by our count (`spent`) or the platform's word (`blocked`).",
    ["budget", "why"],
)

# Seconds that a reservation waits for a budget before it gives up.
PATIENCE = 5.0

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answered:
    """What a keeper decided, and the instant by its clock."""

    decision: Decision
    now: float


class KeptBudgets(ABC):
    """Waits for a budget a little, and says from when it has enough where that is not enough."""

    def __init__(self, *, patience: float = PATIENCE, sleep: Sleep = asyncio.sleep) -> None:
        self._patience = patience
        self._sleep = sleep

    async def reserve(
        self, budget: Budget, holder: str, *, cost: float = 1.0, user: str = ""
    ) -> None:
        """See `Budgets`."""
        patience = self._patience
        while True:
            answered = await self._reserve(budget, holder, cost, user)
            decision = answered.decision
            if decision.allowed:
                SPENT.labels(budget.name).inc(cost)
                return
            if decision.blocked or decision.wait > patience:
                why = "blocked" if decision.blocked else "spent"
                REFUSED.labels(budget.name, why).inc()
                raise _refusal(budget, decision, answered.now)
            # A millisecond more, so that rounding does not cost another round.
            await self._sleep(decision.wait + 0.001)
            patience -= decision.wait + 0.001

    async def learn(
        self,
        budget: Budget,
        holder: str,
        *,
        remaining: float | None = None,
        resets_at: datetime | None = None,
        blocked_until: datetime | None = None,
    ) -> None:
        """See `Budgets`."""
        if remaining is None and blocked_until is None:
            return
        await self._learn(
            budget,
            holder,
            remaining=remaining,
            resets_at=resets_at.timestamp() if resets_at else None,
            blocked_until=blocked_until.timestamp() if blocked_until else None,
        )

    @abstractmethod
    async def _reserve(self, budget: Budget, holder: str, cost: float, user: str) -> Answered:
        """Decides, and keeps the new states where it allowed."""

    @abstractmethod
    async def _learn(self, budget: Budget, holder: str, **told: float | None) -> None:
        """Keeps what `spending.learn` makes of what was told."""


class LocalBudgets(KeptBudgets):
    """Counts in this process alone. `now` gives seconds since 1970."""

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.time,
        patience: float = PATIENCE,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        super().__init__(patience=patience, sleep=sleep)
        self._now = now
        self._states: dict[tuple[str, str, str], State] = {}

    def left(self, budget: Budget, holder: str, user: str = "") -> spending.Left:
        """What may be spent now."""
        state, own = self._state(budget, holder, ""), self._state(budget, holder, user)
        return spending.left(budget.strategy, state, own if user else NEW, now=self._now())

    async def _reserve(self, budget: Budget, holder: str, cost: float, user: str) -> Answered:
        now = self._now()
        state, own = self._state(budget, holder, ""), self._state(budget, holder, user)
        decision = spending.reserve(
            budget.strategy, state, own if user else NEW, cost=cost, now=now
        )
        if decision.allowed:
            if user:
                self._states[budget.name, holder, user] = decision.own
            self._states[budget.name, holder, ""] = decision.state
        return Answered(decision, now)

    async def _learn(self, budget: Budget, holder: str, **told: float | None) -> None:
        state = self._state(budget, holder, "")
        learnt = spending.learn(budget.strategy, state, now=self._now(), **told)
        self._states[budget.name, holder, ""] = learnt

    def _state(self, budget: Budget, holder: str, user: str) -> State:
        return self._states.get((budget.name, holder, user), NEW)


def _refusal(budget: Budget, decision: Decision, now: float) -> RateLimited:
    instant = datetime.fromtimestamp(now + decision.wait, UTC)
    if decision.blocked:
        message = "The platform asked to wait."
    else:
        message = f"The platform's limit on {budget.unit} is used up for now."
    return RateLimited(message, reason=budget.name, retry_at=instant)

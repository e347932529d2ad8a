"""What a platform lets us spend, and how a source asks before it spends.

A source names its limits as `Budget`s and reserves from them before every request, so that a crash
wastes and never exceeds; afterwards it reports what the platform's headers said. Who keeps the
counts, and how a fleet shares them, is not the source's concern (`Budgets`).

The strategies are those of the Distill Service Framework Specification, "Rate Limiting Strategies".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBucket:
    """For limits per second: `rate` a second, `burst` at once."""

    rate: float
    burst: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingWindow:
    """For requests per period: `limit` in any `seconds`."""

    limit: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive:
    """For limits that the platform does not tell: starts bold, backs off, and recovers slowly.

    The pace begins at `start` requests a minute; each refusal halves it down to `floor`, each good
    minute adds a tenth of `start` up to `start` again.
    """

    start: float
    floor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """For an allowance that many users share: `limit` a day, which begins anew at midnight in `zone`.

    A user may spend `share` of what is left, between 0 and 1, so that one cannot starve the others.
    """

    limit: float
    zone: str = "UTC"
    share: float = 1.0


Strategy = TokenBucket | SlidingWindow | Adaptive | Quota


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One limit. `name` begins with the source's, as in `youtube.units`; `unit` is for people."""

    name: str
    strategy: Strategy
    unit: str = "requests"


class Budgets(Protocol):
    """Keeps what was spent, for all processes that share a database.

    `holder` is who the platform counts: a digest of the token, or of the key of a project that
    several users share. `user` is the one for whom it is spent, where a quota is shared.
    """

    async def reserve(
        self, budget: Budget, holder: str, *, cost: float = 1.0, user: str = ""
    ) -> None:
        """Takes `cost` before a request. Waits for up to a few seconds where that is enough.

        Raises `RateLimited` with the instant from which there is enough again.
        """
        ...

    async def learn(
        self,
        budget: Budget,
        holder: str,
        *,
        remaining: float | None = None,
        resets_at: datetime | None = None,
        blocked_until: datetime | None = None,
    ) -> None:
        """Takes over what the platform said.

        `remaining` may lower what is left and never raises it. Before `blocked_until`, every
        `reserve` of this holder raises `RateLimited`, whoever asks and with whatever force.
        """
        ...


class Unlimited:
    """Counts nothing and lets everything pass: for sources whose platforms count nothing."""

    async def reserve(
        self, budget: Budget, holder: str, *, cost: float = 1.0, user: str = ""
    ) -> None:
        """Lets everything pass."""

    async def learn(
        self,
        budget: Budget,
        holder: str,
        *,
        remaining: float | None = None,
        resets_at: datetime | None = None,
        blocked_until: datetime | None = None,
    ) -> None:
        """Forgets it."""

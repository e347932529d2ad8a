"""The rule that both counters follow.

Time is cut into spans of window/59, and each key has a counter for each of the last 60 spans. A call
is accepted while their sum is below the limit. Any stretch of one window touches at most 60
spans, hence the guarantee: **in no window, wherever it begins, are more than `limit` calls accepted**.
A burst of `limit` calls passes whole; each call is given back one window later, or up to one span
(about a second in a minute) after that. Refused calls do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

SPANS = 60
MAX_LIMIT = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a call is accepted, and what that leaves."""

    allowed: bool
    remaining: int  # calls that would be accepted now
    retry_after: float  # seconds until one is accepted, at least 1; 0 where this one was


class CallLimiter(Protocol):
    """Counts the calls of each key."""

    @property
    def degraded(self) -> str | None:
        """Why counting is less than it should be, in words for `/health`; None where it is not."""
        ...

    async def hit(self, key: str) -> Verdict:
        """Counts a call of `key`, if it is accepted. Never raises, never waits for long."""
        ...

    async def close(self) -> None:
        """Lets go of files and connections."""
        ...


def span_length(window: float, unit: int) -> int:
    """The length of a span for a window in seconds, in units of which `unit` make a second.

    Rounded up, so that 59 spans are never shorter than the window.
    """
    return -int(-window * unit // (SPANS - 1))


def check(limit: int, window: float) -> None:
    """Raises ValueError for a limit or window that cannot be counted."""
    if not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"the limit must be from 1 to {MAX_LIMIT}")
    if not 0.1 <= window <= 86_400:
        raise ValueError("the window must be from 0.1 to 86400 seconds")


def spans_to_wait(counts: Sequence[int], limit: int) -> int:
    """In how many spans the sum falls below `limit`; `counts` are the 60 spans, oldest first."""
    total = sum(counts)
    for waited, count in enumerate(counts):
        if total < limit:
            return waited
        total -= count
    return len(counts)

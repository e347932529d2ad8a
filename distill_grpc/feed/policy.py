"""What the operator decided about watching, syncing and keeping."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Choices that hold for every user."""

    sync_frequency: timedelta = timedelta(minutes=30)
    sync_min_interval: timedelta = timedelta(minutes=5)
    raw_retention: timedelta = timedelta(days=7)
    summary_retention: timedelta = timedelta(days=30)
    # Mock mode: a user who watches without a connection gets all sources, as they need no account.
    connects_by_itself: bool = False
    # Tokens of a language model that one user may use on one day.
    llm_daily_tokens: int = 200_000
    # A worker that says nothing for this long has lost its run.
    lease: timedelta = timedelta(seconds=12)
    # One source may take this long in one run; the rest waits for the next.
    source_deadline: timedelta = timedelta(minutes=10)
    # A run that killed this many workers is given up.
    max_attempts: int = 5

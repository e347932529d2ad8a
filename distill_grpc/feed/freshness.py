"""How up to date a user's data are: definitions of `freshness`, `completeness` and warnings.

A *part* of an account (a feed, a folder) is *up to date* where its last read went well and is no
older than two sync intervals, or than the pause that the platform or its quiet asked for.
`completeness` is the share of parts that are up to date. `freshness` is the oldest last good read
of the parts that are still read: up to that instant everything is known to be there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import Row

from distill_grpc.feed.store.standing import Reading

# A connection or a part, whole or as far as matters here.
Read: TypeAlias = Row[Any] | Reading

WORST_FIRST = ("action_required", "failing", "pending", "ok")


@dataclass(frozen=True, slots=True)
class Freshness:
    """How up to date some parts are."""

    fresh_until: datetime | None
    completeness: float
    warnings: tuple[str, ...] = field(default=())


def part_state(row: Read) -> str:
    """`pending`, `ok`, `failing` or `action_required`."""
    if row.permanent:
        return "action_required"
    if row.failures > 0:
        return "failing"
    return "pending" if row.last_success_at is None else "ok"


def connection_state(connection: Row[Any], parts: Iterable[Row[Any]]) -> str:
    """The state of an account: its worst part decides."""
    if connection.permanent:
        return "action_required"
    states = {part_state(row) for row in parts}
    if not states:
        states = {part_state(connection)}
    elif connection.failures > 0 and states == {"pending"}:
        states = {"failing"}
    return next(state for state in WORST_FIRST if state in states)


def measure(
    connections: Iterable[Read],
    parts: Iterable[Read],
    *,
    interval: timedelta,
    now: datetime,
) -> Freshness:
    """The freshness of connections with their parts; an account without parts counts as one."""
    rows: list[Read] = list(parts)
    with_parts = {row.source for row in rows}
    failing: set[str] = set()
    for connection in connections:
        if connection.source not in with_parts:
            rows.append(connection)
        elif connection.permanent or connection.next_attempt_at is not None:
            failing.add(connection.source)  # the account as a whole fails
    if not rows:
        return Freshness(None, 0.0, ("not_synced_yet",))
    current = [row for row in rows if row.source not in failing and _up_to_date(row, interval, now)]
    reads = [row.last_success_at for row in rows if not row.permanent]
    known = [instant for instant in reads if instant is not None]
    completeness = round(len(current) / len(rows), 4)
    failing |= {row.source for row in rows if part_state(row) in {"failing", "action_required"}}
    warnings = [f"source_failing:{source}" for source in sorted(failing)]
    if not known:
        warnings.insert(0, "not_synced_yet")
    elif completeness < 1:
        warnings.insert(0, "some_data_delayed")
    return Freshness(min(known, default=None), completeness, tuple(warnings))


def _up_to_date(row: Read, interval: timedelta, now: datetime) -> bool:
    if row.failures > 0 or row.permanent or row.last_success_at is None:
        return False
    allowed: datetime = row.last_success_at + 2 * interval
    if row.next_attempt_at is not None:
        allowed = max(allowed, row.next_attempt_at + interval)
    return now <= allowed

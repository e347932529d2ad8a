"""How up to date a user's data are: definitions of `freshness`, `completeness` and warnings.

A *part* of an account (a feed, a folder) is *up to date* where its last read went well and is no
older than two sync intervals, or than the pause that the platform or its quiet asked for.
A part with a *gap* in the time that is asked about is not: something is missing there for good.
`completeness` is the share of parts that are up to date. `freshness` is the oldest last good read
of the parts that are still read: up to that instant everything is known to be there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import Row

from distill_grpc.feed.store.standing import Reading
from distill_grpc.sources.base import RateLimited

# A connection or a part, whole or as far as matters here.
Read: TypeAlias = Row[Any] | Reading

# How long before its credentials end a user is told.
EXPIRY_NOTICE = timedelta(days=7)
WORST_FIRST = ("action_required", "failing", "pending", "ok")


@dataclass(frozen=True, slots=True)
class Freshness:
    """How up to date some parts are."""

    fresh_until: datetime | None
    completeness: float
    warnings: tuple[str, ...] = field(default=())

    def warning(self, *more: str) -> Freshness:
        """The same with more warnings."""
        return replace(self, warnings=(*self.warnings, *more)) if more else self


def part_state(row: Read) -> str:
    """`pending`, `ok`, `failing` or `action_required`."""
    if row.permanent:
        return "action_required"
    if row.failures > 0:
        return "failing"
    return "pending" if row.last_success_at is None or _is_forgiven(row) else "ok"


def connection_state(connection: Row[Any], parts: Iterable[Row[Any]]) -> str:
    """The state of an account: its worst part decides, unless the account fails as a whole."""
    if connection.permanent:
        return "action_required"
    states = {part_state(row) for row in parts}
    if not states:
        states = {part_state(connection)}
    elif connection.failures > 0 and (states == {"pending"} or _fails_as_a_whole(connection)):
        states.add("failing")
    return next(state for state in WORST_FIRST if state in states)


def connection_warnings(row: Row[Any], now: datetime) -> list[str]:
    """What the user should see to: `missing_scope:<scope>`, `credentials_expire`."""
    warnings = [f"missing_scope:{scope}" for scope in row.missing_scopes]
    if row.expires_at is not None and row.expires_at <= now + EXPIRY_NOTICE:
        warnings.append("credentials_expire")
    return warnings


def gaps(parts: Iterable[Read], since: datetime | None) -> set[str]:
    """Sources with a gap after `since`; None: at any time."""
    return {row.source for row in parts if _has_gap(row, since)}


def measure(
    connections: Iterable[Read],
    parts: Iterable[Read],
    *,
    interval: timedelta,
    now: datetime,
    since: datetime | None = None,
) -> Freshness:
    """The freshness of connections with their parts; an account without parts counts as one.

    `since` is where the time begins that is asked about; None: all that is kept.
    """
    rows: list[Read] = list(parts)
    with_gaps = gaps(rows, since)
    with_parts = {row.source for row in rows}
    failing: set[str] = set()
    for connection in connections:
        if connection.source not in with_parts:
            rows.append(connection)
        elif connection.permanent or connection.next_attempt_at is not None:
            failing.add(connection.source)  # the account as a whole fails
    if not rows:
        return Freshness(None, 0.0, ("not_synced_yet",))
    current = [
        row
        for row in rows
        if row.source not in failing
        and _up_to_date(row, interval, now)
        and not _has_gap(row, since)
    ]
    reads = [row.last_success_at for row in rows if not row.permanent]
    known = [instant for instant in reads if instant is not None]
    completeness = round(len(current) / len(rows), 4)
    failing |= {row.source for row in rows if part_state(row) in {"failing", "action_required"}}
    warnings = [f"source_failing:{source}" for source in sorted(failing)]
    warnings += [f"gap:{source}" for source in sorted(with_gaps)]
    if not known:
        warnings.insert(0, "not_synced_yet")
    elif completeness < 1:
        warnings.insert(0, "some_data_delayed")
    return Freshness(min(known, default=None), completeness, tuple(warnings))


def _is_forgiven(row: Read) -> bool:
    """True where a failure was forgiven after the last good read, and nothing was read since."""
    attempt: datetime | None = getattr(row, "last_attempt_at", None)
    return attempt is not None and row.last_success_at is not None and attempt > row.last_success_at


def _fails_as_a_whole(connection: Row[Any]) -> bool:
    # Failures of parts give the account no pause, and a platform's limit is none.
    return connection.next_attempt_at is not None and connection.error_code != RateLimited.code


def _has_gap(row: Read, since: datetime | None) -> bool:
    # A connection as such has none; only its parts are read page by page.
    until: datetime | None = getattr(row, "gap_until", None)
    return until is not None and (since is None or until > since)


def _up_to_date(row: Read, interval: timedelta, now: datetime) -> bool:
    if row.failures > 0 or row.permanent or row.last_success_at is None:
        return False
    allowed: datetime = row.last_success_at + 2 * interval
    if row.next_attempt_at is not None:
        allowed = max(allowed, row.next_attempt_at + interval)
    return now <= allowed

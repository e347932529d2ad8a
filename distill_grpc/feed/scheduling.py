"""When what is read again. Pure functions: no clock, no database, jitter as an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

LONGEST = timedelta(hours=24)
# How much longer than told a part waits whose platform says so a second time in a row; then it doubles.
INSISTING = timedelta(minutes=1)
# Reads without news before a part is read less often, and how much less at the most.
QUIET_READS = 3
SLOWEST = 4
# A cycle may come a little early by jitter; a part that is due then must not miss it.
SLACK = 0.15


@dataclass(frozen=True, slots=True)
class PartTimes:
    """What the database knows of a part's past and of when it may be read again."""

    last_attempt_at: datetime | None
    next_attempt_at: datetime | None
    retry_at: datetime | None
    permanent: bool
    pushed: bool = False  # its platform says that there is something new


def schedule_next(
    interval: timedelta,
    parts: Iterable[datetime | None],
    now: datetime,
    *,
    jitter: float,
    named: Iterable[datetime] = (),
) -> datetime:
    """When a user's next sync is due.

    `parts` holds for each part the instant from which it may be read, or None for any time: where
    every part waits, the sync waits for the first of them. `jitter` from -1 to 1 moves it by 10 %.
    `named` are instants at which what a platform interrupted may go on; the sync waits for none of
    them, but comes as early as the first.
    """
    regular = now + interval * (1 + 0.1 * jitter)
    waits = list(parts)
    held = [instant for instant in waits if instant is not None]
    if waits and len(held) == len(waits):
        regular = max(regular, min(held))
    return max(now, min([regular, *named]))


def next_after_success(
    interval: timedelta,
    *,
    quiet_reads: int,
    min_interval: timedelta,
    now: datetime,
    pushed: bool = False,
) -> datetime:
    """From when a part that was read well may be read again by itself.

    At the soonest that is a little before the next regular sync: one that comes earlier, because
    something was pushed or a platform's wait is over, is for those parts only. `quiet_reads` counts
    reads in a row without news; `min_interval` is what the platform asks for. A part that is `pushed`
    reliably is polled once a day.
    """
    if pushed and interval < LONGEST:
        return now + LONGEST - interval * SLACK
    factor = min(SLOWEST, 1 << max(0, quiet_reads - QUIET_READS + 1))
    pause = max(interval * factor, min(min_interval, LONGEST))
    return now + max(interval, min(pause, LONGEST)) - interval * SLACK


def next_after_failure(
    interval: timedelta,
    *,
    failures: int,
    now: datetime,
    jitter: float,
    retry_at: datetime | None = None,
) -> datetime:
    """From when a part that failed `failures` times in a row is tried again: back-off to a day.

    Where the platform named an instant it is that one, and later only if it names one after another.
    """
    pause = interval * (1 << min(failures - 1, 12)) * (1 + 0.1 * jitter)
    back_off = min(LONGEST, pause) - interval * SLACK
    if retry_at is None:
        return now + back_off
    again_and_again = INSISTING * ((1 << min(failures - 1, 12)) - 1)
    return max(retry_at, now + min(back_off, again_and_again))


def parts_to_skip(
    parts: Mapping[str, PartTimes],
    *,
    trigger: str,
    force: bool,
    min_interval: timedelta,
    now: datetime,
) -> frozenset[str]:
    """Parts that this run leaves alone.

    A platform's window and a permanent failure hold always. Our own pauses hold for scheduled runs,
    unless the part was pushed; a user who asks gets every part that was not read just now, and with
    `force` those too.
    """
    return frozenset(
        name
        for name, times in parts.items()
        if times.permanent
        or _later(times.retry_at, now)
        or (trigger == "schedule" and not times.pushed and _later(times.next_attempt_at, now))
        or (
            trigger == "request"
            and not force
            and not times.pushed
            and times.last_attempt_at is not None
            and times.last_attempt_at > now - min_interval
        )
    )


def window_start(
    *,
    first_seen_at: datetime,
    last_success_at: datetime | None,
    backfill: timedelta,
    retention: timedelta,
    now: datetime,
) -> datetime:
    """How old an item of a part may be.

    The first read goes back `backfill`. Later ones reach to `backfill` before the part was first seen,
    but no further than the retention: what was older has been stored and deleted before, and must not
    come back. Where the last success is longer ago, they reach there, with an hour of overlap for what
    arrives late. A `backfill` that was changed since holds as if it had been so from the beginning.
    """
    if last_success_at is None:
        return now - backfill
    return min(max(now - retention, first_seen_at - backfill), last_success_at - timedelta(hours=1))


def _later(instant: datetime | None, now: datetime) -> bool:
    return instant is not None and instant > now

"""Instants, and the seeds' prose for durations. Everything is UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_LONGEST = timedelta(days=36_500)


def utc_now() -> datetime:
    """The current instant. Rules get it as an argument; only the edges call this."""
    return datetime.now(UTC)


def whole_seconds(instant: datetime) -> datetime:
    """The instant without its fraction: the seeds print whole seconds."""
    return instant.astimezone(UTC).replace(microsecond=0)


def seconds_up(instant: datetime) -> datetime:
    """The instant or the next whole second: who comes back then must not be too early."""
    return whole_seconds(instant + timedelta(microseconds=999_999))


def parse_duration(text: str) -> timedelta:
    """`30m`, `2h`, `7d`, `45s`; ValueError for anything else."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("must be a number followed by s, m, h or d, such as 30m")
    duration = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if duration > _LONGEST:  # instants that far away cannot be reckoned with
        raise ValueError(f"must be at most {_LONGEST.days}d")
    return duration


def short(duration: timedelta) -> str:
    """What `parse_duration` reads, in the largest of h, m and s that leaves no rest, such as `30m`."""
    seconds = int(duration.total_seconds())
    unit, size = next(((u, n) for u, n in (("h", 3_600), ("m", 60)) if seconds % n == 0), ("s", 1))
    return f"{seconds // size}{unit}"


def in_words(duration: timedelta, *, parts: int = 2) -> str:
    """The largest units in words, such as `2 days, 3 hours` (seed 002, /unwatch)."""
    seconds = max(0, int(duration.total_seconds()))
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, seconds = divmod(rest, 60)
    counted = [(days, "day"), (hours, "hour"), (minutes, "minute"), (seconds, "second")]
    first = next((i for i, (n, _) in enumerate(counted) if n), len(counted) - 1)
    shown = [(n, unit) for n, unit in counted[first : first + parts] if n] or [counted[-1]]
    return ", ".join(f"{n} {unit}{'' if n == 1 else 's'}" for n, unit in shown)


def uptime(duration: timedelta) -> str:
    """Python's own form, such as `2 days, 3:24:15` (seed 002, /health)."""
    return str(timedelta(seconds=int(duration.total_seconds())))


def iso(instant: datetime) -> str:
    """ISO 8601 in whole seconds, such as `2024-01-10T10:00:00Z`."""
    return whole_seconds(instant).strftime("%Y-%m-%dT%H:%M:%SZ")

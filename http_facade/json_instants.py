"""Reads instants and durations as ProtoJSON writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

_INSTANT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_DURATION = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT_RULE = "must be an instant with its offset (RFC 3339), such as 2024-01-10T10:00:00Z"
_DURATION_RULE = "must be seconds as a string, such as 1800s"
_MAX_DURATION = 315_576_000_000  # seconds; google/protobuf/duration.proto


def read_timestamp(value: Any) -> tuple[int, int]:
    """Seconds since the epoch and nanoseconds; ValueError with the rule where it is no instant."""
    match = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(_INSTANT_RULE)
    sign, hours, minutes = match[8], int(match[9] or 0), int(match[10] or 0)
    if hours > 23 or minutes > 59:
        raise ValueError(_INSTANT_RULE)
    offset = timedelta(hours=hours, minutes=minutes) * (-1 if sign == "-" else 1)
    try:
        parts = [int(match[i]) for i in range(1, 7)]
        local = datetime(*parts, tzinfo=timezone(offset))  # type: ignore[arg-type,misc]  # six ints
        instant = local.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(_INSTANT_RULE) from None
    since = instant - _EPOCH
    return since.days * 86_400 + since.seconds, _nanos(match[7])


def read_duration(value: Any) -> tuple[int, int]:
    """Seconds and nanoseconds, of one sign; ValueError with the rule where it is no duration."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[2]) > _MAX_DURATION:
        raise ValueError(_DURATION_RULE)
    sign = -1 if match[1] else 1
    return sign * int(match[2]), sign * _nanos(match[3])


def _nanos(fraction: str | None) -> int:
    return int(fraction.ljust(9, "0")) if fraction else 0

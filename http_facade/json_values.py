"""Numbers, instants and the well-known types of protobuf as JSON values."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import Any

# Integers up to here survive a reader that keeps numbers as doubles (RFC 8259, 6).
SAFE_INTEGER = 2**53

_EPOCH = date(1970, 1, 1).toordinal()
_MINUTES = tuple(f"{m // 60:02d}:{m % 60:02d}:" for m in range(1440))
_SECONDS = tuple(f"{s:02d}" for s in range(60))


def wide(value: int) -> int | str:
    """A 64-bit integer: digits in a string where a double could not hold it."""
    return value if -SAFE_INTEGER <= value <= SAFE_INTEGER else str(value)


def double(value: float) -> float | str:
    """A double; ProtoJSON writes what JSON has no number for as a word."""
    if value - value == 0.0:
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124


def number(value: float) -> float | int | str:
    """A double whose whole values print as integers."""
    if value.is_integer() and -SAFE_INTEGER <= value <= SAFE_INTEGER:
        return int(value)
    return double(value)


def base64_text(value: bytes) -> str:
    """Bytes as ProtoJSON writes them."""
    return base64.b64encode(value).decode("ascii")


@lru_cache(maxsize=1024)
def _day(number: int) -> str:
    try:
        return date.fromordinal(_EPOCH + number).isoformat() + "T"
    except OverflowError as error:
        raise ValueError("the instant is not within the years 1 to 9999") from error


def _fraction(nanos: int) -> str:
    if not 0 <= nanos <= 999_999_999:
        raise ValueError(f"{nanos} nanoseconds are not within a second")
    if not nanos:
        return ""
    digits = f"{nanos:09d}"
    return "." + (digits[:3] if digits[3:] == "000000" else digits.removesuffix("000"))


def timestamp(value: Any) -> str:
    """RFC 3339 in UTC with 0, 3, 6 or 9 digits of fraction; ValueError outside years 1 to 9999."""
    seconds: int = value.seconds
    nanos: int = value.nanos
    day, second = divmod(seconds, 86_400)
    tail = _fraction(nanos) + "Z" if nanos else "Z"
    return _day(day) + _MINUTES[second // 60] + _SECONDS[second % 60] + tail


def _duration(value: Any) -> str:
    sign = "-" if value.seconds < 0 or value.nanos < 0 else ""
    return f"{sign}{abs(value.seconds)}{_fraction(abs(value.nanos))}s"


def _value(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        shown = number(value.number_value)
        if isinstance(shown, str):
            raise ValueError("a Value holds no NaN and no infinity")
        return shown
    if kind == "struct_value":
        return _struct(value.struct_value)
    if kind == "list_value":
        return _list(value.list_value)
    return value.bool_value if kind == "bool_value" else None


def _struct(value: Any) -> dict[str, Any]:
    return {key: _value(inner) for key, inner in sorted(value.fields.items())}


def _list(value: Any) -> list[Any]:
    return [_value(inner) for inner in value.values]


# By full name.
PRINTERS: dict[str, Callable[[Any], Any]] = {
    "google.protobuf.Timestamp": timestamp,
    "google.protobuf.Duration": _duration,
    "google.protobuf.Struct": _struct,
    "google.protobuf.Value": _value,
    "google.protobuf.ListValue": _list,
}

"""JSON from platforms' APIs, read so that no shape of it can do harm.

Whole numbers beyond 2^53 become strings (they are ids, and readers elsewhere keep numbers as
doubles), numbers that no float holds become strings too, and a body that is no JSON is a
`PlatformError`. The readers of single values never raise: what is missing, null or of another type
than the platform's documentation says reads as empty.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from distill_grpc.sources import text
from distill_grpc.sources.base import Json, PlatformError
from distill_grpc.sources.http import Response

_MAX_SAFE: Final = 2**53
_MAX_DIGITS: Final = 1_000  # a longer number is no id of anybody
_MAX_DEPTH: Final = 40
_MAX_KEPT: Final = 150_000  # bytes of an item's raw data
_MAX_KEPT_TEXT: Final = 20_000  # characters of one text in it


def read(response: Response) -> Json:
    """The body as JSON. Raises `PlatformError` (`not_json`)."""
    try:
        return json.loads(
            response.body.decode("utf-8", "replace"),
            parse_int=_whole,
            parse_float=_fraction,
            parse_constant=_refuse,
        )
    except (ValueError, RecursionError):
        raise PlatformError(
            "The platform answered with something that is not JSON.", reason="not_json"
        ) from None


def listed(value: Json) -> list[Json]:
    """The value as a list. Raises `PlatformError` (`unexpected_shape`) where it is none."""
    if not isinstance(value, list):
        raise _unexpected()
    return value


def mapped(value: Json) -> Mapping[str, Json]:
    """The value as an object. Raises `PlatformError` (`unexpected_shape`) where it is none."""
    if not isinstance(value, dict):
        raise _unexpected()
    return value


def at(value: Json, *path: str) -> Json:
    """What stands at a path of names; None where the path breaks off."""
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def text_at(value: Json, *path: str) -> str:
    """The text at a path, or an empty one; whole numbers, such as ids, as text."""
    found = at(value, *path)
    if isinstance(found, str):
        return found
    return str(found) if isinstance(found, int) and not isinstance(found, bool) else ""


def number_at(value: Json, *path: str) -> float | None:
    """The number at a path, also where it is written as a text; None without a finite one."""
    found = at(value, *path)
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        return None
    try:
        number = float(found)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def list_at(value: Json, *path: str) -> list[Json]:
    """The list at a path, or an empty one."""
    found = at(value, *path)
    return found if isinstance(found, list) else []


def instant_at(value: Json, *path: str) -> datetime | None:
    """The instant (ISO 8601) at a path, in UTC; None where there is none."""
    return instant(text_at(value, *path))


def instant(written: str) -> datetime | None:
    """An ISO 8601 instant in UTC; None where it cannot be read."""
    try:
        found = datetime.fromisoformat(written)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def iso(moment: datetime) -> str:
    """An instant as APIs take it: `2026-11-26T12:00:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def kept(value: Json, *, without: frozenset[str] = frozenset()) -> Json:
    """What is stored of an answer: readable text, no names of `without`, no links to the API itself.

    Where that is still too large, the texts are cut; where it is larger even then, it is None.
    """
    for longest in (_MAX_KEPT_TEXT, 500):
        pruned = _pruned(value, without, longest, 0)
        if len(orjson.dumps(pruned)) <= _MAX_KEPT:
            return pruned
    return None


def _pruned(value: Any, without: frozenset[str], longest: int, depth: int) -> Any:
    if isinstance(value, str):
        return text.shorten(text.clean(value[: longest + 1]), longest)
    if depth >= _MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {
            text.clean(name): _pruned(inner, without, longest, depth + 1)
            for name, inner in value.items()
            if name not in without and (not name.endswith("_url") or name == "html_url")
        }
    if isinstance(value, list):
        return [_pruned(inner, without, longest, depth + 1) for inner in value]
    if isinstance(value, int) and abs(value) >= _MAX_SAFE:
        return str(value)
    return value


def _whole(digits: str) -> int | str:
    if len(digits) > _MAX_DIGITS:
        raise ValueError("a number with too many digits")
    number = int(digits)
    return number if abs(number) < _MAX_SAFE else digits


def _fraction(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits[:_MAX_DIGITS]


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _unexpected() -> PlatformError:
    return PlatformError(
        "The platform's answer does not have the shape it should have.", reason="unexpected_shape"
    )

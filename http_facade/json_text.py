"""Reads the bytes of a request body as JSON (RFC 8259), strictly.

Refused, with a rule that names the fault: anything that is no JSON object, duplicate names, NaN and
infinities, numbers that overflow a double, NUL characters, halves of surrogate pairs, and nesting
deeper than 64. An empty body stands for `{}`.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from http_facade.errors import invalid

MAX_DEPTH = 64

# A string (skipped whole, so that brackets in text do not count) or a bracket.
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


class _Fault(ValueError):  # noqa: N818 -- the caller's, not this module's
    """What is wrong with the text; never leaves this module."""


def parse_object(raw: bytes) -> dict[str, Any]:
    """The object that a body holds; raises `Refusal` (`invalid_argument`) where it holds none."""
    if not raw.strip(b" \t\r\n"):
        return {}
    try:
        value = _parse(raw)
    except _Fault as fault:
        raise invalid({"body": str(fault)}) from None
    if not isinstance(value, dict):
        raise invalid({"body": "must be a JSON object"})
    return value


def text_rule(text: str) -> str | None:
    """The rule that a text breaks, or None."""
    if "\0" in text:
        return "must not contain NUL characters"
    if not text.isascii() and _SURROGATE.search(text):
        return "must not contain half of a surrogate pair"
    return None


def _parse(raw: bytes) -> Any:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Fault(f"must be UTF-8 (the byte at {error.start} is not)") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise _Fault(f"must not be nested deeper than {MAX_DEPTH}")
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float
        )
    except json.JSONDecodeError as error:
        raise _Fault(f"must be JSON ({error.msg} at character {error.pos})") from None
    except _Fault:
        raise
    except ValueError:  # an integer of more digits than Python converts
        raise _Fault("must not contain numbers of thousands of digits") from None
    # Neither fault can come in but by an escape: JSON forbids raw control characters.
    if "\\u" in text:
        _check_texts(value)
    return value


def _depth(text: str) -> int:
    deepest = depth = 0
    for match in _BRACKETS.finditer(text):
        mark = match[0]
        if mark in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "]}":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise _Fault(f"must not name {_shown(twice)} twice in one object")
    return value


def _constant(name: str) -> Any:
    raise _Fault(f"must be JSON, which has no {name}")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Fault(f"must not contain numbers as large as {text[:20]}")
    return value


def _check_texts(value: Any) -> None:
    for path, text in _texts(value, ""):
        rule = text_rule(text)
        if rule:
            raise invalid({path or "body": rule})


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, f"{path}[{index}]")
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield path, name
            yield from _texts(inner, f"{path}.{name}" if path else name)


def _shown(name: str) -> str:
    short = name if len(name) <= 100 else name[:100] + "…"
    return json.dumps(short)

"""Reads the JSON values of scalar and enum fields; nothing is coerced."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from http_facade.json_values import SAFE_INTEGER

Read = Callable[[Any], Any]  # returns what a scalar field takes; raises `Wrong`

_INT32 = (-(2**31), 2**31 - 1)
_UINT32 = (0, 2**32 - 1)
_INT64 = (-(2**63), 2**63 - 1)
_UINT64 = (0, 2**64 - 1)
_RANGES: Mapping[int, tuple[int, int]] = {
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_SINT32: _INT32,
    FieldDescriptor.TYPE_SFIXED32: _INT32,
    FieldDescriptor.TYPE_UINT32: _UINT32,
    FieldDescriptor.TYPE_FIXED32: _UINT32,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_SINT64: _INT64,
    FieldDescriptor.TYPE_SFIXED64: _INT64,
    FieldDescriptor.TYPE_UINT64: _UINT64,
    FieldDescriptor.TYPE_FIXED64: _UINT64,
}


class Wrong(ValueError):  # noqa: N818 -- an answer to the caller, not a fault
    """A value that its field does not take; the text is the rule."""


@cache
def reader(field: FieldDescriptor) -> Read:
    """The function that reads one value of a scalar or enum field."""
    limits = _RANGES.get(field.type)
    if limits is not None:
        return _integer(*limits)
    if field.enum_type is not None:
        return _enum(field.enum_type)
    read = _SCALARS.get(field.type)
    if read is None:
        raise TypeError(f"{field.full_name}: this type has no JSON form here")
    return read


def enum_names(enum: EnumDescriptor) -> list[str]:
    """The enumerators a caller may send: all but the unspecified one."""
    return [v.name for v in enum.values if not v.name.lower().endswith("unspecified")]


def _integer(low: int, high: int) -> Read:
    def read(value: Any) -> int:
        if high > 2**32 and isinstance(value, str) and _is_digits(value):
            value = int(value)
        if isinstance(value, float) and value.is_integer() and abs(value) <= SAFE_INTEGER:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise Wrong("must be a whole number")
        if not low <= value <= high:
            raise Wrong(f"must be from {low} to {high}")
        return value

    return read


def _is_digits(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= 20


def _enum(enum: EnumDescriptor) -> Read:
    names = enum_names(enum)
    numbers = {name: enum.values_by_name[name].number for name in names}
    rule = f"must be one of: {', '.join(names)}"

    def read(value: Any) -> int:
        number = numbers.get(value) if isinstance(value, str) else None
        if number is not None:
            return number
        raise Wrong(rule)

    return read


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise Wrong("must be a string")


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise Wrong("must be true or false")


def _double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Wrong("must be a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Wrong("must be a number that a double can hold")
    return number


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            pass
    raise Wrong("must be base64")


_SCALARS: Mapping[int, Read] = {
    FieldDescriptor.TYPE_STRING: _string,
    FieldDescriptor.TYPE_BOOL: _bool,
    FieldDescriptor.TYPE_DOUBLE: _double,
    FieldDescriptor.TYPE_BYTES: _bytes,
}

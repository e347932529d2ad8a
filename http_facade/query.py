"""Query strings and path variables to request fields, strictly.

A repeated field takes repeated keys, and for strings values separated by commas; everything else is
given once. Booleans are `true` or `false`, numbers decimal, instants RFC 3339 (a `+` written `%2B`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from google.protobuf.descriptor import FieldDescriptor

from http_facade.errors import invalid
from http_facade.json_encoding import is_map
from http_facade.json_instants import read_timestamp
from http_facade.json_scalars import Read, Wrong, reader
from http_facade.json_text import text_rule

MAX_PARAMETERS = 100

_INTEGER = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_INTEGERS = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    }
)

Put = Callable[[Any, Sequence[str]], None]  # message to fill, the values given; raises `Wrong`


class Parameters:
    """The fields of a request that stand in its query string."""

    def __init__(
        self, fields: Mapping[str, FieldDescriptor], *, passes_over_unknown: bool = False
    ) -> None:
        """`fields` by their names in the query, where a dot leads into a message.

        Raises TypeError for a field that no query string can carry.
        """
        self._puts: Mapping[str, Put] = {
            name: _inside(name.split(".")[:-1], putter(field)) for name, field in fields.items()
        }
        self._passes_over_unknown = passes_over_unknown
        names = ", ".join(self._puts)
        self._unknown = (
            f"unknown parameter; allowed: {names}"
            if names
            else "unknown parameter; this endpoint takes none in its query"
        )

    def fill(self, query: str, message: Any) -> None:
        """Fills `message` from a raw query string; raises `Refusal` naming each wrong parameter."""
        given = _parse(query)
        problems: dict[str, str] = {}
        for name, values in given.items():
            put = self._puts.get(name)
            if put is None:
                if not self._passes_over_unknown:
                    problems[name[:100]] = self._unknown
                continue
            try:
                put(message, values)
            except Wrong as wrong:
                problems[name] = str(wrong)
        if problems:
            raise invalid(problems)


def putter(field: FieldDescriptor) -> Put:
    """The function that sets a field from the texts given for it."""
    read = _text_reader(field)
    name = field.name
    if field.is_repeated:
        splits = field.type == FieldDescriptor.TYPE_STRING

        def put_all(message: Any, values: Sequence[str]) -> None:
            target = getattr(message, name)
            for value in values:
                target.extend(read(part) for part in (value.split(",") if splits else [value]))

        return put_all
    instant = field.message_type is not None

    def put(message: Any, values: Sequence[str]) -> None:
        if len(values) > 1:
            raise Wrong("must be given once")
        value = read(values[0])
        if instant:
            target = getattr(message, name)
            target.seconds, target.nanos = value
            target.SetInParent()
        else:
            setattr(message, name, value)

    return put


def _inside(path: Sequence[str], put: Put) -> Put:
    """Sets a field of the message that `path` leads to."""
    if not path:
        return put

    def put_inside(message: Any, values: Sequence[str]) -> None:
        for name in path:
            message = getattr(message, name)
        put(message, values)

    return put_inside


def _text_reader(field: FieldDescriptor) -> Read:
    if field.message_type is not None:
        timestamp = field.message_type.full_name == "google.protobuf.Timestamp"
        if not timestamp or field.is_repeated or is_map(field):
            raise TypeError(f"{field.full_name} cannot be given in a query string or path")
        return _instant
    read = reader(field)
    if field.type == FieldDescriptor.TYPE_STRING:
        return _text
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _flag
    if field.cpp_type in _INTEGERS:
        return lambda text: read(int(text) if _INTEGER.fullmatch(text) else text)
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return lambda text: read(float(text) if _DECIMAL.fullmatch(text) else text)
    return read


def _text(text: str) -> str:
    rule = text_rule(text)
    if rule:
        raise Wrong(rule)
    return text


def _flag(text: str) -> bool:
    if text not in {"true", "false"}:
        raise Wrong("must be true or false")
    return text == "true"


def _instant(text: str) -> tuple[int, int]:
    try:
        return read_timestamp(text)
    except ValueError as error:
        raise Wrong(str(error)) from None


def _parse(query: str) -> dict[str, list[str]]:
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS
        )
    except UnicodeDecodeError:
        raise invalid({"query": "must be UTF-8"}) from None
    except ValueError:
        raise invalid({"query": f"must not have more than {MAX_PARAMETERS} parameters"}) from None
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        given.setdefault(name, []).append(value)
    return given

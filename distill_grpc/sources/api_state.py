"""Cursors of parts that are read from an API: dataclasses of plain values, to JSON and back."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, cast

from distill_grpc.sources.base import Json

State = TypeVar("State")


def load(kind: type[State], cursor: Json) -> State:
    """The state that a cursor holds; what is of another type, or unknown, counts as not there.

    Fields are texts, whole numbers, booleans, lists of texts, or mappings of texts to texts.
    """
    values: dict[str, Any] = {}
    if isinstance(cursor, dict):
        for field in dataclasses.fields(cast("Any", kind)):
            value = cursor.get(field.name)
            if type(value) is type(_empty(field)):
                values[field.name] = _texts(value)
    return kind(**values)


def dump(state: Any) -> Json:
    """The cursor of a state, without what is empty."""
    kept: dict[str, Any] = {}
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        if value != _empty(field):
            kept[field.name] = value
    return kept


def _empty(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [inner for inner in value if isinstance(inner, str)]
    if isinstance(value, dict):
        return {name: inner for name, inner in value.items() if isinstance(inner, str)}
    return value

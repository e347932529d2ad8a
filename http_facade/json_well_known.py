"""Fills the well-known types of protobuf from JSON values (the others: `json_decoding.py`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from http_facade.json_instants import read_duration, read_timestamp
from http_facade.json_values import SAFE_INTEGER

Fill = Callable[[Any, Any, str, dict[str, str]], None]  # value, message to fill, path, problems


def _fill_timestamp(value: Any, message: Any, path: str, problems: dict[str, str]) -> None:
    try:
        message.seconds, message.nanos = read_timestamp(value)
    except ValueError as error:
        problems[path] = str(error)


def _fill_duration(value: Any, message: Any, path: str, problems: dict[str, str]) -> None:
    try:
        message.seconds, message.nanos = read_duration(value)
    except ValueError as error:
        problems[path] = str(error)


def _fill_struct(value: Any, message: Any, path: str, problems: dict[str, str]) -> None:
    if not isinstance(value, dict):
        problems[path] = "must be an object"
        return
    for key, inner in value.items():
        _fill_value(inner, message.fields[key], f"{path}.{short(key)}", problems)


def _fill_list_value(value: Any, message: Any, path: str, problems: dict[str, str]) -> None:
    if not isinstance(value, list):
        problems[path] = "must be a list"
        return
    for index, inner in enumerate(value):
        _fill_value(inner, message.values.add(), f"{path}[{index}]", problems)


def _fill_value(value: Any, message: Any, path: str, problems: dict[str, str]) -> None:
    if value is None:
        message.null_value = 0
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, str):
        message.string_value = value
    elif isinstance(value, dict):
        message.struct_value.SetInParent()
        _fill_struct(value, message.struct_value, path, problems)
    elif isinstance(value, list):
        message.list_value.SetInParent()
        _fill_list_value(value, message.list_value, path, problems)
    elif isinstance(value, int) and abs(value) > SAFE_INTEGER:
        problems[path] = "whole numbers beyond 2^53 lose digits here; send it as a string"
    else:
        message.number_value = value


def short(name: str) -> str:
    """A name as it stands in a path: cut, so that an answer is never as long as its request."""
    if len(name) <= 60 and name.isprintable():
        return name
    return json.dumps(name[:60])


# By full name.
FILLS: Mapping[str, Fill] = {
    "google.protobuf.Timestamp": _fill_timestamp,
    "google.protobuf.Duration": _fill_duration,
    "google.protobuf.Struct": _fill_struct,
    "google.protobuf.Value": _fill_value,
    "google.protobuf.ListValue": _fill_list_value,
}

"""JSON values to messages, strictly, by readers built once from the descriptors.

Every fault is reported with its path (`options.backfill_days`, `parts[2].name`) and what is allowed;
nothing is coerced: a string is no number, a number is no boolean. `null` stands for an unset field.
As ProtoJSON has it, `3.0` is a whole number, and 64-bit integers may be strings of digits; enumerators are
given by their names, letter by letter, and never as the unspecified one.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from http_facade.json_encoding import is_map, map_value
from http_facade.json_scalars import Wrong, reader
from http_facade.json_well_known import FILLS, Fill, short


def decode(value: Any, message: Message) -> dict[str, str]:
    """Fills `message` from a JSON value; returns the problems found: path → rule."""
    problems: dict[str, str] = {}
    filler(message.DESCRIPTOR)(value, message, "", problems)
    return problems


def prepare(descriptor: Descriptor, seen: frozenset[str] = frozenset()) -> None:
    """Builds the readers of a type and of all types in it.

    A type without a JSON form (TypeError) then stops the start and not a request.
    """
    filler(descriptor)
    if descriptor.full_name in FILLS:
        return
    for field in descriptor.fields:
        inner = field.message_type
        if inner is not None and not is_map(field) and inner.full_name not in seen:
            prepare(inner, seen | {descriptor.full_name})


@cache
def filler(descriptor: Descriptor, without: frozenset[str] = frozenset()) -> Fill:
    """The function that fills messages of a type; fields named in `without` are not accepted."""
    own = FILLS.get(descriptor.full_name)
    if own is not None:
        return own
    if descriptor.full_name.startswith("google.protobuf."):
        raise TypeError(f"{descriptor.full_name} has no JSON form here")
    fields = {f.name: _field(f) for f in descriptor.fields if f.name not in without}
    oneofs = {
        f.name: f.containing_oneof.name
        for f in descriptor.fields
        if f.containing_oneof is not None and len(f.containing_oneof.fields) > 1
    }
    allowed = ", ".join(fields)
    unknown = f"unknown field; allowed: {allowed}" if allowed else "unknown field; none is allowed"

    def fill(value: Any, message: Any, path: str, problems: dict[str, str]) -> None:
        if not isinstance(value, dict):
            problems[path or "body"] = "must be an object"
            return
        taken: dict[str, str] = {}
        for name, inner in value.items():
            where = f"{path}.{short(name)}" if path else short(name)
            field = fields.get(name)
            if field is None:
                problems[where] = unknown
                continue
            if oneofs and inner is not None and name in oneofs:
                other = taken.setdefault(oneofs[name], name)
                if other != name:
                    problems[where] = f"must not be given together with {other}"
                    continue
            field(inner, message, where, problems)

    return fill


def _field(field: FieldDescriptor) -> Fill:
    name = field.name
    if is_map(field):
        return _map(field)
    if field.is_repeated:
        return _list(field)
    if field.message_type is not None:
        takes_null = field.message_type.full_name == "google.protobuf.Value"
        inner = field.message_type

        def fill_message(value: Any, message: Any, path: str, problems: dict[str, str]) -> None:
            if value is None and not takes_null:
                return
            part = getattr(message, name)
            part.SetInParent()
            filler(inner)(value, part, path, problems)

        return fill_message
    read = reader(field)

    def fill_scalar(value: Any, message: Any, path: str, problems: dict[str, str]) -> None:
        if value is None:
            return
        try:
            setattr(message, name, read(value))
        except Wrong as wrong:
            problems[path] = str(wrong)

    return fill_scalar


def _list(field: FieldDescriptor) -> Fill:
    name, inner = field.name, field.message_type
    read = None if inner is not None else reader(field)

    def fill(value: Any, message: Any, path: str, problems: dict[str, str]) -> None:
        if value is None:
            return
        if not isinstance(value, list):
            problems[path] = "must be a list"
            return
        target = getattr(message, name)
        for index, element in enumerate(value):
            if read is None:
                filler(inner)(element, target.add(), f"{path}[{index}]", problems)
                continue
            try:
                target.append(read(element))
            except Wrong as wrong:
                problems[f"{path}[{index}]"] = str(wrong)

    return fill


def _map(field: FieldDescriptor) -> Fill:
    name, entry = field.name, map_value(field)
    inner = entry.message_type
    read = None if inner is not None else reader(entry)

    def fill(value: Any, message: Any, path: str, problems: dict[str, str]) -> None:
        if value is None:
            return
        if not isinstance(value, dict):
            problems[path] = "must be an object"
            return
        target = getattr(message, name)
        for key, element in value.items():
            where = f"{path}.{short(key)}"
            if read is None:
                filler(inner)(element, target[key], where, problems)
                continue
            try:
                target[key] = read(element)
            except Wrong as wrong:
                problems[where] = str(wrong)

    return fill

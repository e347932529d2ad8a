"""Concern: the rules that stand in the contract, then the defaults that stand there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from protovalidate import Validator

from distill_grpc.errors import invalid_argument
from distill_grpc.proto import contract
from distill_grpc.rpc.call import Call, Step

_validator = Validator()
_NO_ENUMERATOR = {"enum.defined_only", "enum.not_in"}


async def validation(call: Call, request: Message, step: Step) -> Message:
    """Refuses what breaks a rule, naming each field; fills in what was left out."""
    if call.unreadable:
        raise invalid_argument({"message": f"must be a {call.rpc.descriptor.input_type.full_name}"})
    broken = dict(violations(request))
    if broken:
        raise invalid_argument(broken)
    fill_defaults(request)
    return await step(request)


def violations(request: Message) -> Iterator[tuple[str, str]]:
    """Each broken rule as (field path, rule)."""
    for path in _paths_with_nul(request, ""):
        yield path, "must not contain NUL characters"
    for violation in _validator.collect_violations(request):
        told = violation.proto
        parts = told.field.elements if told.field else ()
        path = "".join(
            (f".{part.field_name}" if part.field_name else "") + _subscript(part) for part in parts
        )
        rule = _choice(request, parts) if told.rule_id in _NO_ENUMERATOR else told.message
        yield path.removeprefix("."), rule


def _choice(request: Message, parts: Iterable[Any]) -> str:
    """The rule of a field that holds no enumerator, as the REST doors say it."""
    fields, field = request.DESCRIPTOR.fields_by_name, None
    for part in parts:
        field = fields[part.field_name]
        fields = field.message_type.fields_by_name if field.message_type else {}
    values = field.enum_type.values if field is not None and field.enum_type else ()
    return f"must be one of: {', '.join(value.name for value in values if value.number)}"


def fill_defaults(message: Message) -> None:
    """Sets every unset field that the contract has a default for; messages inside stay as sent."""
    for name, default in _defaults(message.DESCRIPTOR):
        if not message.HasField(name):
            setattr(message, name, default)


@cache
def _defaults(descriptor: Descriptor) -> tuple[tuple[str, Any], ...]:
    found = ((field.name, contract.default(field)) for field in descriptor.fields)
    return tuple((name, default) for name, default in found if default is not None)


def _subscript(part: Any) -> str:
    match part.subscript:
        case None:
            return ""
        case oneof:
            return f"[{oneof.value}]"


def _paths_with_nul(message: Message, prefix: str) -> Iterator[str]:
    # PostgreSQL stores no NUL; refusing it here names the field.
    for field, value in message.ListFields():
        path = f"{prefix}.{field.name}" if prefix else field.name
        yield from _nul_in(field, value, path)


def _nul_in(field: FieldDescriptor, value: Any, path: str) -> Iterator[str]:
    if field.is_repeated and field.message_type and field.message_type.GetOptions().map_entry:
        for key in value:
            if "\x00" in str(key):
                yield path
            elif isinstance(value[key], Message):
                yield from _paths_with_nul(value[key], path)
    elif field.is_repeated:
        for index, element in enumerate(value):
            if isinstance(element, Message):
                yield from _paths_with_nul(element, f"{path}[{index}]")
            elif isinstance(element, str) and "\x00" in element:
                yield f"{path}[{index}]"
    elif isinstance(value, Message):
        yield from _paths_with_nul(value, path)
    elif isinstance(value, str) and "\x00" in value:
        yield path

"""Random messages of the contract, built from the descriptors."""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from distill_grpc.proto import contract
from http_facade.json_scalars import enum_names

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
# Exact in a double, so that both codecs and the way back agree.
DOUBLES = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9).map(float)
SECONDS = st.integers(-62_135_596_800, 253_402_300_799)
NANOS = st.sampled_from([0, 0, 0, 5, 120_000_000, 120_450_000, 999_999_999])

SCALARS = {
    FieldDescriptor.CPPTYPE_STRING: TEXT,
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: DOUBLES,
}


def all_descriptors() -> list[Descriptor]:
    """Every message type that JSON of a request or a response of the contract is made of."""
    found: dict[str, Descriptor] = {}

    def visit(descriptor: Descriptor) -> None:
        if descriptor.full_name in found or descriptor.full_name.startswith("google."):
            return
        found[descriptor.full_name] = descriptor
        for field in descriptor.fields:
            if field.message_type is not None and not field.message_type.GetOptions().map_entry:
                visit(field.message_type)

    for rpc in contract.rpcs():
        if not rpc.takes_raw:
            visit(rpc.descriptor.input_type)
        visit(rpc.descriptor.output_type)
    return list(found.values())


def json_values() -> st.SearchStrategy[Any]:
    """What a Struct can hold and give back unchanged."""
    leaves = st.none() | st.booleans() | TEXT | st.integers(-(2**53), 2**53) | st.floats(-9, 9)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
        max_leaves=4,
    )


@cache
def messages(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    """Messages of a type, with any of its fields set."""
    return st.composite(_draw)(descriptor)


def _draw(draw: Any, descriptor: Descriptor) -> Message:
    message = GetMessageClass(descriptor)()
    fill(draw, message)
    return message


def fill(draw: Any, message: Any) -> None:
    for field in message.DESCRIPTOR.fields:
        # An unspecified enumerator is printed, but never read.
        if field.enum_type is not None or draw(st.booleans()):
            fill_field(draw, message, field)


def fill_field(draw: Any, message: Any, field: FieldDescriptor) -> None:
    name = field.name
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        value = field.message_type.fields_by_name["value"]
        for key in draw(st.lists(TEXT, max_size=3, unique=True)):
            if value.message_type is None:
                getattr(message, name)[key] = draw(SCALARS[value.cpp_type])
            else:
                fill_message(draw, getattr(message, name)[key])
    elif field.is_repeated:
        for _ in range(draw(st.integers(0, 2))):
            if field.message_type is None:
                getattr(message, name).append(draw(SCALARS[field.cpp_type]))
            else:
                fill_message(draw, getattr(message, name).add())
    elif field.message_type is not None:
        getattr(message, name).SetInParent()
        fill_message(draw, getattr(message, name))
    elif field.enum_type is not None:
        setattr(message, name, draw(st.sampled_from(enum_names(field.enum_type))))
    else:
        setattr(message, name, draw(SCALARS[field.cpp_type]))


def fill_message(draw: Any, message: Any) -> None:
    kind = message.DESCRIPTOR.full_name
    if kind == "google.protobuf.Timestamp":
        message.seconds, message.nanos = draw(SECONDS), draw(NANOS)
    elif kind == "google.protobuf.Struct":
        message.update(draw(st.dictionaries(TEXT, json_values(), max_size=3)))
    elif kind == "google.protobuf.ListValue":
        message.extend(draw(st.lists(json_values(), max_size=3)))
    elif kind == "google.protobuf.Value":
        holder = message.__class__(list_value={})
        holder.list_value.extend([draw(json_values())])
        message.CopyFrom(holder.list_value.values[0])
    else:
        fill(draw, message)

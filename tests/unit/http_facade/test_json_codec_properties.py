"""The codec against protobuf's own, on random messages of every type of the contract."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_grpc.proto.distill.v1.discovery_service_pb2 import GetApiResponse
from http_facade.json_decoding import decode
from http_facade.json_encoding import encode
from http_facade.json_text import parse_object
from tests.unit.http_facade.contract_messages import TEXT, all_descriptors, json_values, messages

TYPES = all_descriptors()
ANY_MESSAGE = st.sampled_from(TYPES).flatmap(messages)


def canonical(message: Message) -> Any:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


@settings(max_examples=200, deadline=None)
@given(ANY_MESSAGE)
def test_what_is_printed_equals_canonical_json_as_numbers_compare(message: Message) -> None:
    # 3 == 3.0 in Python, so the listed difference on whole numbers does not show here.
    assert encode(message) == canonical(message)


@settings(max_examples=200, deadline=None)
@given(ANY_MESSAGE)
def test_what_is_printed_is_read_back_as_the_same_message(message: Message) -> None:
    raw = orjson.dumps(encode(message))
    again = GetMessageClass(message.DESCRIPTOR)()
    assert decode(parse_object(raw), again) == {}
    assert again == message


@settings(max_examples=100, deadline=None)
@given(ANY_MESSAGE)
def test_protobufs_own_parser_reads_what_is_printed(message: Message) -> None:
    again = GetMessageClass(message.DESCRIPTOR)()
    json_format.Parse(orjson.dumps(encode(message)), again)
    assert again == message


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(TEXT, json_values(), max_size=4))
def test_names_in_structs_come_sorted_at_every_level(value: dict[str, Any]) -> None:
    def check(part: Any) -> None:
        if isinstance(part, dict):
            assert list(part) == sorted(part)
        for inner in part.values() if isinstance(part, dict) else part:
            if isinstance(inner, (dict, list)):
                check(inner)

    struct = Struct()
    struct.update(value)
    check(encode(struct))


@settings(max_examples=50, deadline=None)
@given(st.lists(TEXT, max_size=6))
def test_names_in_maps_come_sorted(names: list[str]) -> None:
    api = GetApiResponse(endpoints={name: {} for name in names})
    assert list(encode(api)["endpoints"]) == sorted(set(names))


@pytest.mark.parametrize("descriptor", TYPES, ids=lambda d: d.full_name)
def test_an_empty_message_prints_exactly_its_fields_without_presence(
    descriptor: Descriptor,
) -> None:
    message = GetMessageClass(descriptor)()
    always = {field.name for field in descriptor.fields if not field.has_presence}
    assert set(encode(message)) == always
    assert json.loads(json.dumps(encode(message))) == canonical(message)

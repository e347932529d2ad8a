"""The listed differences from canonical ProtoJSON, and the shapes that the seeds rely on."""

from __future__ import annotations

import orjson
import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from distill_grpc.proto.distill.v1.content_service_pb2 import Item, Summary
from distill_grpc.proto.distill.v1.discovery_service_pb2 import GetMetadataResponse
from distill_grpc.proto.distill.v1.watch_service_pb2 import WatchResponse
from http_facade.json_decoding import decode
from http_facade.json_encoding import encode, encoder


def text(message: object) -> str:
    return orjson.dumps(encode(message)).decode()  # type: ignore[arg-type]


def test_whole_numbers_in_a_struct_print_without_a_fraction() -> None:
    struct = Struct()
    struct.update({"default": 24, "share": 0.5, "list": [1, {"n": 2}], "huge": 1e300})
    assert text(struct) == '{"default":24,"huge":1e+300,"list":[1,{"n":2}],"share":0.5}'


def test_whole_numbers_in_a_map_of_doubles_print_without_a_fraction() -> None:
    item = Item(metrics={"reach": 1200, "engagement": 45.5})
    assert orjson.dumps(encode(item)["metrics"]) == b'{"engagement":45.5,"reach":1200}'


def test_a_plain_double_keeps_its_fraction() -> None:
    endpoint = GetMetadataResponse.AvailableEndpoint(completeness=1.0)
    assert '"completeness":1.0' in text(endpoint)


def test_an_enum_prints_as_the_contract_spells_it() -> None:
    response = WatchResponse(status=WatchResponse.already_watching)
    assert encode(response) == {"status": "already_watching"}


def test_an_enumerator_of_a_newer_contract_prints_as_its_number() -> None:
    response = WatchResponse()
    response.status = 77  # type: ignore[assignment]
    assert encode(response) == {"status": 77}


@pytest.mark.parametrize(
    ("seconds", "nanos", "expected"),
    [
        (1_704_880_800, 0, "2024-01-10T10:00:00Z"),
        (1_704_880_800, 500_000_000, "2024-01-10T10:00:00.500Z"),
        (1_704_880_800, 500_100_000, "2024-01-10T10:00:00.500100Z"),
        (1_704_880_800, 1, "2024-01-10T10:00:00.000000001Z"),
        (0, 0, "1970-01-01T00:00:00Z"),
        (-1, 0, "1969-12-31T23:59:59Z"),
        (-62_135_596_800, 0, "0001-01-01T00:00:00Z"),
        (253_402_300_799, 0, "9999-12-31T23:59:59Z"),
    ],
)
def test_an_instant_prints_in_utc_with_a_fraction_only_where_it_has_one(
    seconds: int, nanos: int, expected: str
) -> None:
    assert encode(Timestamp(seconds=seconds, nanos=nanos)) == expected


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(253_402_300_800, 0), (-62_135_596_801, 0), (2**62, 0), (0, -1)]
)
def test_an_instant_that_no_calendar_has_is_an_error_and_not_a_wrong_date(
    seconds: int, nanos: int
) -> None:
    with pytest.raises(ValueError):
        encode(Timestamp(seconds=seconds, nanos=nanos))


def test_a_duration_prints_as_seconds() -> None:
    assert encode(Duration(seconds=1800)) == "1800s"
    assert encode(Duration(seconds=-2, nanos=-300_000_000)) == "-2.300s"


def test_an_unset_message_is_absent_and_a_set_but_empty_one_is_there() -> None:
    item = Item()
    assert "raw_data" not in encode(item)
    assert "timestamp" not in encode(item)
    item.raw_data.SetInParent()
    assert encode(item)["raw_data"] == {}


def test_fields_come_in_the_order_of_the_proto() -> None:
    summary = Summary(period="daily", date="2024-01-10")
    summary.generated_at.seconds = 1
    summary.content.SetInParent()
    assert list(encode(summary)) == ["period", "date", "generated_at", "content"]


def test_a_not_a_number_in_a_struct_is_an_error() -> None:
    struct = Struct()
    struct.update({"n": float("nan")})
    with pytest.raises(ValueError, match="NaN"):
        encode(struct)


def compiled(*fields: FieldDescriptorProto, name: str = "Probe") -> type:
    """The class of a message that the contract does not have."""
    file = FileDescriptorProto(name=f"{name}.proto", package="probe", syntax="proto3")
    message = file.message_type.add(name=name)
    message.field.extend(fields)
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"probe.{name}"))


def field(name: str, number: int, kind: int, **more: object) -> FieldDescriptorProto:
    label = more.pop("label", FieldDescriptorProto.LABEL_OPTIONAL)
    return FieldDescriptorProto(name=name, number=number, type=kind, label=label, **more)  # type: ignore[arg-type]


def test_a_64_bit_integer_is_a_number_as_far_as_readers_can_hold_it() -> None:
    probe = compiled(field("n", 1, FieldDescriptorProto.TYPE_INT64))
    assert encode(probe(n=2**53)) == {"n": 2**53}
    assert encode(probe(n=-(2**53) - 1)) == {"n": "-9007199254740993"}
    again = probe()
    assert decode({"n": "-9007199254740993"}, again) == {}
    assert again.n == -(2**53) - 1


def test_bytes_and_endless_doubles_print_as_protojson_has_them() -> None:
    probe = compiled(
        field("b", 1, FieldDescriptorProto.TYPE_BYTES),
        field("d", 2, FieldDescriptorProto.TYPE_DOUBLE),
    )
    assert encode(probe(b=b"\xff\x00", d=float("-inf"))) == {"b": "/wA=", "d": "-Infinity"}
    again = probe()
    assert decode({"b": "/wA="}, again) == {}
    assert again.b == b"\xff\x00"


def test_a_type_may_contain_itself() -> None:
    repeated = FieldDescriptorProto.LABEL_REPEATED
    tree = compiled(
        field("name", 1, FieldDescriptorProto.TYPE_STRING),
        field(
            "children",
            2,
            FieldDescriptorProto.TYPE_MESSAGE,
            type_name=".probe.Tree",
            label=repeated,
        ),
        name="Tree",
    )
    value = {"name": "a", "children": [{"name": "b", "children": []}]}
    message = tree()
    assert decode(value, message) == {}
    assert encode(message) == value


def test_a_type_without_a_json_form_is_refused_when_its_encoder_is_built() -> None:
    probe = compiled(field("f", 1, FieldDescriptorProto.TYPE_FLOAT))
    with pytest.raises(TypeError, match=r"probe\.Probe\.f"):
        encoder(probe.DESCRIPTOR)  # type: ignore[attr-defined]

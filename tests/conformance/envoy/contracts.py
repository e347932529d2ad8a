"""A contract with what `distill.v1` has not: a list at the top level, beside more fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from distill_grpc.proto.distill.v1 import options_pb2
from tests.envoy_door import ROOT

PACKAGE = "distill.listing.v1"
LIST_RPC = f"/{PACKAGE}.ListingService/ListThings"
_REPEATED, _OPTIONAL = FieldDescriptorProto.LABEL_REPEATED, FieldDescriptorProto.LABEL_OPTIONAL
_STRING, _MESSAGE = FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_MESSAGE


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="distill/listing/v1/listing_service.proto", package=PACKAGE, syntax="proto3"
    )
    file.dependency.extend(["google/api/annotations.proto", "distill/v1/options.proto"])
    thing = file.message_type.add(name="Thing")
    thing.field.add(name="name", number=1, type=_STRING, label=_OPTIONAL)
    file.message_type.add(name="ListThingsRequest")
    listed = file.message_type.add(name="ListThingsResponse")
    listed.field.add(name="note", number=1, type=_STRING, label=_OPTIONAL)
    listed.field.add(
        name="things", number=2, type=_MESSAGE, label=_REPEATED, type_name=f".{PACKAGE}.Thing"
    )
    listed.field.add(name="more", number=3, type=_STRING, label=_OPTIONAL)
    method = file.service.add(name="ListingService").method.add(
        name="ListThings",
        input_type=f".{PACKAGE}.ListThingsRequest",
        output_type=f".{PACKAGE}.ListThingsResponse",
    )
    options: Any = method.options
    options.Extensions[annotations_pb2.http].get = "/api/v1/things"
    options.Extensions[annotations_pb2.http].response_body = "things"
    options.Extensions[options_pb2.rpc].public = True
    return file


def write(path: Path) -> Path:
    """The project's descriptor set with that service in it."""
    own = ROOT / "distill_grpc" / "proto" / "descriptors.binpb"
    image = descriptor_pb2.FileDescriptorSet.FromString(own.read_bytes())
    image.file.append(_file())
    path.write_bytes(image.SerializeToString())
    return path


def response(names: list[str], **more: str) -> Message:
    """A `ListThingsResponse`."""
    pool = descriptor_pool.Default()
    try:
        kind = pool.FindMessageTypeByName(f"{PACKAGE}.ListThingsResponse")
    except KeyError:
        file = _file()
        del file.dependency[:]
        file.ClearField("service")
        pool.AddSerializedFile(file.SerializeToString())
        kind = pool.FindMessageTypeByName(f"{PACKAGE}.ListThingsResponse")
    made: Any = GetMessageClass(kind)(**more)
    for name in names:
        made.things.add(name=name)
    found: Message = made
    return found

"""Which streams a contract may have: one that breaks the rules stops the start."""

from __future__ import annotations

from typing import Any

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1 import options_pb2

_NUMBER = iter(range(1000))


def read(
    *names: str,
    grouped: bool = True,
    client: bool = False,
    response_body: str = "",
    **rules: Any,
) -> contract.Rpc:
    """An RPC that streams messages with these fields, read as the contract's are."""
    package = f"distill.streams{next(_NUMBER)}"
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto3"
    )
    file.dependency.extend(["google/api/annotations.proto", "distill/v1/options.proto"])
    file.message_type.add(name="AskRequest")
    event = file.message_type.add(name="Event")
    if grouped:
        event.oneof_decl.add(name="event")
    for number, name in enumerate(names, 1):
        field = event.field.add(
            name=name,
            number=number,
            type=FieldDescriptorProto.TYPE_STRING,
            label=FieldDescriptorProto.LABEL_OPTIONAL,
        )
        if grouped:
            field.oneof_index = 0
    method = file.service.add(name="AskService").method.add(
        name="AskStream",
        input_type=f".{package}.AskRequest",
        output_type=f".{package}.Event",
        server_streaming=True,
        client_streaming=client,
    )
    options: Any = method.options
    options.Extensions[annotations_pb2.http].post = "/ask:stream"
    options.Extensions[annotations_pb2.http].response_body = response_body
    options.Extensions[options_pb2.rpc].MergeFrom(options_pb2.RpcRules(**rules))
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    service = pool.FindServiceByName(f"{package}.AskService")
    return contract._read(service, service.methods_by_name["AskStream"])


def test_a_stream_is_of_events_of_which_the_last_is_done() -> None:
    rpc = read("statement", "done")
    assert (rpc.streams, rpc.events) == (True, ("statement", "done"))


@pytest.mark.parametrize(
    ("names", "changes"),
    [
        (("statement", "done"), {"client": True}),
        (("statement", "done"), {"grouped": False}),
        (("done", "statement"), {}),
        (("statement",), {}),
        (("statement", "done"), {"keyed": True}),
        (("statement", "done"), {"statuses": [201]}),
        (("statement", "done"), {"response_body": "statement"}),
    ],
)
def test_every_other_stream_is_refused(names: tuple[str, ...], changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="distill"):
        read(*names, **changes)


def test_a_call_that_streams_stands_beside_the_one_that_does_not() -> None:
    paths = {rpc.path: rpc for rpc in contract.rpcs()}
    for rpc in contract.rpcs():
        if rpc.streams:
            assert rpc.path.endswith(":stream")
            assert paths[rpc.path.removesuffix(":stream")].stream_path == rpc.path
    assert paths["/content/recent"].stream_path == ""

"""Reads the contract that is generated beside this file.

Everything that is derived from the protos (routes, OpenAPI, `/api`, `/capabilities`, error bodies,
tests of coverage) asks here, so that one module knows how annotations and comments are found.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, cast

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    EnumValueDescriptor,
    FieldDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from distill_grpc.proto.buf.validate import validate_pb2
from distill_grpc.proto.distill.publishing.v1 import (
    audience_service_pb2,
    comment_service_pb2,
    post_service_pb2,
    subscription_service_pb2,
    user_service_pb2,
)
from distill_grpc.proto.distill.v1 import (
    connection_service_pb2,
    content_service_pb2,
    digest_service_pb2,
    discovery_service_pb2,
    errors_pb2,
    options_pb2,
    preference_service_pb2,
    sync_service_pb2,
    tag_service_pb2,
    watch_service_pb2,
    webhook_service_pb2,
)

# `google.rpc.ErrorInfo.domain` of every error.
ERROR_DOMAIN = "distill.dev"

FILES = (
    discovery_service_pb2,
    watch_service_pb2,
    sync_service_pb2,
    content_service_pb2,
    connection_service_pb2,
    webhook_service_pb2,
    preference_service_pb2,
    tag_service_pb2,
    digest_service_pb2,
    user_service_pb2,
    post_service_pb2,
    comment_service_pb2,
    subscription_service_pb2,
    audience_service_pb2,
)
# The message that stands for a body of any type, such as a feed.
RAW_BODY = "google.api.HttpBody"
# What REST answers a stream with (the HTML standard, section 9.2).
EVENT_STREAM = "text/event-stream"

Described = Descriptor | EnumDescriptor | EnumValueDescriptor | FieldDescriptor | MethodDescriptor


@dataclass(frozen=True, slots=True)
class Rpc:
    """One RPC with everything that its annotations say."""

    descriptor: MethodDescriptor
    service: ServiceDescriptor
    http_method: str
    path: str
    body: str
    response_body: str
    public: bool
    errors: tuple[int, ...]
    statuses: tuple[int, ...]
    data_types: tuple[str, ...]
    requirements: str
    optional_token: bool
    keyed: bool
    headers: tuple[str, ...]
    passes_over_unknown_parameters: bool
    # True where it answers with a stream of events.
    streams: bool

    @property
    def name(self) -> str:
        """The RPC's own name, such as `Watch`."""
        return str(self.descriptor.name)

    @property
    def full_name(self) -> str:
        """The name on the wire, such as `/distill.v1.WatchService/Watch`."""
        return f"/{self.service.full_name}/{self.descriptor.name}"

    @property
    def package(self) -> str:
        """The package of its service, such as `distill.v1`: the surface that it belongs to."""
        return str(self.service.file.package)

    @property
    def request_class(self) -> type[Message]:
        """The class of its request."""
        return GetMessageClass(self.descriptor.input_type)

    @property
    def response_class(self) -> type[Message]:
        """The class of its response."""
        return GetMessageClass(self.descriptor.output_type)

    @property
    def path_fields(self) -> tuple[str, ...]:
        """Names of the request fields that stand in the path."""
        return tuple(
            part[1:].partition("}")[0] for part in self.path.split("/") if part.startswith("{")
        )

    @property
    def answers_raw(self) -> bool:
        """True where the answer is no JSON but a body of its own type."""
        return str(self.descriptor.output_type.full_name) == RAW_BODY

    @property
    def events(self) -> tuple[str, ...]:
        """Of an RPC that streams, the kinds of its events; the last one is the end."""
        if not self.streams:
            return ()
        return tuple(str(field.name) for field in self.descriptor.output_type.fields)

    @property
    def stream_path(self) -> str:
        """The path at which the same is answered with a stream; "" where there is none."""
        return next((other.path for other in rpcs() if other.path == f"{self.path}:stream"), "")

    @property
    def takes_raw(self) -> bool:
        """True where the request's body may be of any type."""
        if self.body in {"", "*"}:
            return False
        inner = self.descriptor.input_type.fields_by_name[self.body].message_type
        return inner is not None and str(inner.full_name) == RAW_BODY

    @property
    def doc(self) -> str:
        """Its comment, as one paragraph a blank line."""
        return doc(self.descriptor)


@cache
def services() -> tuple[ServiceDescriptor, ...]:
    """Every service of the contract, in the order of `FILES`."""
    return tuple(service for file in FILES for service in file.DESCRIPTOR.services_by_name.values())


@cache
def rpcs() -> tuple[Rpc, ...]:
    """Every RPC of the contract."""
    return tuple(_read(service, method) for service in services() for method in service.methods)


def rpc(full_name: str) -> Rpc:
    """The RPC of that wire name; KeyError where there is none."""
    return _by_full_name()[full_name]


def doc(element: Described) -> str:
    """The comment that stands above an element of the protos; empty where there is none."""
    if isinstance(element, EnumValueDescriptor):
        # It has no full name at run time; like in the protos, it lives beside its enum.
        scope = element.type.full_name.rpartition(".")[0]
        return _comments().get(f"{scope}.{element.name}", "")
    return _comments().get(cast("Any", element).full_name, "")


def default(field: Any) -> Any:
    """The value that an unset field stands for, or None."""
    text = notes(field).default_json
    return json.loads(text) if text else None


def notes(field: Any) -> options_pb2.FieldNotes:
    """Our notes on a field; empty where there are none."""
    return cast("options_pb2.FieldNotes", _extension(field.GetOptions(), options_pb2.notes))


def rules(field: Any) -> validate_pb2.FieldRules:
    """The `buf.validate` rules of a field; empty where there are none."""
    return cast("validate_pb2.FieldRules", _extension(field.GetOptions(), validate_pb2.field))


@cache
def error_rules(reason: int) -> errors_pb2.ErrorRules:
    """What an error reason means: code, HTTP status, text, whether the user must act."""
    value = errors_pb2.ErrorReason.DESCRIPTOR.values_by_number[reason]
    return cast("errors_pb2.ErrorRules", _extension(value.GetOptions(), errors_pb2.error))


def error_code(reason: int) -> str:
    """The code that REST prints for a reason, such as `not_watching`."""
    return str(errors_pb2.ErrorReason.Name(reason)).lower()


def _read(service: ServiceDescriptor, method: MethodDescriptor) -> Rpc:
    options = method.GetOptions()
    http = options.Extensions[annotations_pb2.http]
    own = cast("options_pb2.RpcRules", _extension(options, options_pb2.rpc))
    verb = http.WhichOneof("pattern")
    if verb is None:
        raise ValueError(f"{method.full_name} has no google.api.http annotation")
    if method.client_streaming:
        raise ValueError(f"{method.full_name}: REST has no streams of requests")
    if method.server_streaming:
        _check_stream(method, http, own)
    return Rpc(
        descriptor=method,
        service=service,
        http_method=_verb(http),
        path=getattr(http, verb) if verb != "custom" else http.custom.path,
        body=http.body,
        response_body=http.response_body,
        public=own.public,
        errors=tuple(own.errors),
        statuses=tuple(own.statuses) or (200,),
        data_types=tuple(own.data_types),
        requirements=own.requirements,
        optional_token=own.optional_token,
        keyed=own.keyed,
        headers=tuple(own.headers),
        passes_over_unknown_parameters=own.passes_over_unknown_parameters,
        streams=method.server_streaming,
    )


def _check_stream(
    method: MethodDescriptor, http: http_pb2.HttpRule, own: options_pb2.RpcRules
) -> None:
    """Raises ValueError where a stream is none of events: one of several kinds each, `done` the last."""
    events = method.output_type
    groups = {field.containing_oneof for field in events.fields}
    names = [field.name for field in events.fields]
    if len(groups) != 1 or None in groups or names[-1] != "done":
        raise ValueError(f"{events.full_name} must be one oneof that ends with `done`")
    if own.keyed or own.statuses or http.response_body:
        raise ValueError(f"{method.full_name}: a stream has no key, status or body of its own")


def _extension(options: Message, extension: FieldDescriptor) -> Any:
    # The generated stubs type extensions otherwise than the runtime's stubs do.
    return cast("Any", options).Extensions[extension]


def _verb(http: http_pb2.HttpRule) -> str:
    verb = http.WhichOneof("pattern")
    return str(http.custom.kind if verb == "custom" else verb.upper())


@cache
def _by_full_name() -> dict[str, Rpc]:
    return {rpc.full_name: rpc for rpc in rpcs()}


@cache
def _comments() -> dict[str, str]:
    """Comments by full name, from the descriptor set: generated modules carry none."""
    image = descriptor_pb2.FileDescriptorSet()
    image.ParseFromString(resources.files(__package__).joinpath("descriptors.binpb").read_bytes())
    found: dict[str, str] = {}
    for file in image.file:
        if not file.package.startswith("distill."):
            continue
        names = dict(_paths(file))
        for location in file.source_code_info.location:
            name = names.get(tuple(location.path))
            if name and location.leading_comments:
                found[name] = _reflow(location.leading_comments)
    return found


def _paths(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    """Each element's place in `SourceCodeInfo` (see descriptor.proto) and its full name."""
    for i, service in enumerate(file.service):
        yield (6, i), f"{file.package}.{service.name}"
        for j, method in enumerate(service.method):
            yield (6, i, 2, j), f"{file.package}.{service.name}.{method.name}"
    for i, enum in enumerate(file.enum_type):
        yield from _enum_paths((5, i), file.package, enum)
    for i, message in enumerate(file.message_type):
        yield from _message_paths((4, i), file.package, message)


def _message_paths(
    path: tuple[int, ...], scope: str, message: descriptor_pb2.DescriptorProto
) -> Iterator[tuple[tuple[int, ...], str]]:
    name = f"{scope}.{message.name}"
    yield path, name
    for i, field in enumerate(message.field):
        yield (*path, 2, i), f"{name}.{field.name}"
    for i, nested in enumerate(message.nested_type):
        yield from _message_paths((*path, 3, i), name, nested)
    for i, enum in enumerate(message.enum_type):
        yield from _enum_paths((*path, 4, i), name, enum)


def _enum_paths(
    path: tuple[int, ...], scope: str, enum: descriptor_pb2.EnumDescriptorProto
) -> Iterator[tuple[tuple[int, ...], str]]:
    yield path, f"{scope}.{enum.name}"
    for i, value in enumerate(enum.value):
        # An enumerator's full name lives beside its enum, not inside it.
        yield (*path, 2, i), f"{scope}.{value.name}"


def _reflow(comment: str) -> str:
    paragraphs = comment.strip().split("\n\n")
    return "\n\n".join(" ".join(p.split()) for p in paragraphs)

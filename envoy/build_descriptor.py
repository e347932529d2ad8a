"""Builds what Envoy reads of the contract: the transcoder's descriptor set, and `contract.lua`.

    python envoy/build_descriptor.py FOLDER [--descriptors FILE]

Both come from `distill_grpc/proto/descriptors.binpb`, or from another descriptor set in its place.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.rpc import error_details_pb2, status_pb2

from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1 import errors_pb2, options_pb2
from http_facade.json_scalars import enum_names

ROOT = Path(__file__).resolve().parent.parent
DESCRIPTORS = ROOT / "distill_grpc" / "proto" / "descriptors.binpb"
OWN_PACKAGE = "distill."
_VERBS = ("get", "put", "post", "delete", "patch")
_KINDS = {
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_SINT32: "int32",
    FieldDescriptor.TYPE_SFIXED32: "int32",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_FIXED32: "uint32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_SINT64: "int64",
    FieldDescriptor.TYPE_SFIXED64: "int64",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_FIXED64: "uint64",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_ENUM: "enum",
    FieldDescriptor.TYPE_MESSAGE: "message",
}


@dataclass(frozen=True)
class Route:
    """One RPC as its `google.api.http` annotation puts it on the REST surface."""

    name: str  # on the wire, `/distill.v1.WatchService/Watch`
    method: str
    path: str
    body: str
    response_body: str
    public: bool
    optional_token: bool
    keyed: bool
    headers: tuple[str, ...]
    passes_over_unknown_parameters: bool
    request: Descriptor
    answers_raw: bool  # with a body of its own type instead of JSON
    streams: bool  # with events instead of one answer

    @property
    def variables(self) -> list[str]:
        """Names of the path variables, in order."""
        return [part[1:].partition("}")[0] for part in self.path.split("/") if part.startswith("{")]


class Image:
    """A descriptor set, read."""

    def __init__(self, path: Path = DESCRIPTORS) -> None:
        self._set = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
        self._pool = descriptor_pool.DescriptorPool()
        for file in self._set.file:
            self._pool.Add(file)

    def services(self) -> list[str]:
        """Full names of the services that the transcoder serves."""
        return [
            f"{file.package}.{service.name}"
            for file in self._own_files()
            for service in file.service
            if any(_http(method) is not None for method in service.method)
        ]

    def routes(self) -> list[Route]:
        """Every RPC with an annotation."""
        return [route for file in self._own_files() for route in self._routes(file)]

    def for_transcoder(self) -> bytes:
        """The set as Envoy takes it.

        The details of errors are added: without them the transcoder answers errors with nothing.
        `response_body` is cleared: Envoy does not start with it; Lua takes the field out instead.
        Comments are left out.
        """
        built = descriptor_pb2.FileDescriptorSet()
        built.CopyFrom(self._set)
        for file in built.file:
            file.ClearField("source_code_info")
            for service in file.service:
                for method in service.method:
                    if _http(method) is not None:
                        _http(method).ClearField("response_body")
        names = {file.name for file in built.file}
        for module in (error_details_pb2, status_pb2):
            _add(module.DESCRIPTOR, built, names)
        return built.SerializeToString(deterministic=True)

    def _own_files(self) -> Iterator[descriptor_pb2.FileDescriptorProto]:
        return (file for file in self._set.file if file.package.startswith(OWN_PACKAGE))

    def _routes(self, file: descriptor_pb2.FileDescriptorProto) -> Iterator[Route]:
        for service in file.service:
            for method in service.method:
                http = _http(method)
                if http is None:
                    continue
                verb = next((one for one in _VERBS if getattr(http, one)), None)
                if verb is None:
                    raise ValueError(f"{file.package}.{service.name}.{method.name}: unknown verb")
                yield Route(
                    name=f"/{file.package}.{service.name}/{method.name}",
                    method=verb.upper(),
                    path=getattr(http, verb),
                    body=http.body,
                    response_body=http.response_body,
                    public=_own_rules(method).public,
                    optional_token=_own_rules(method).optional_token,
                    keyed=_own_rules(method).keyed,
                    headers=tuple(_own_rules(method).headers),
                    passes_over_unknown_parameters=_own_rules(
                        method
                    ).passes_over_unknown_parameters,
                    request=self._pool.FindMessageTypeByName(method.input_type.lstrip(".")),
                    answers_raw=method.output_type.lstrip(".") == contract.RAW_BODY,
                    streams=method.server_streaming,
                )


def lua_contract(image: Image, **more: Any) -> str:
    """The Lua module that routes and fields are read from; `more` are further members of it."""
    routes = image.routes()
    return "-- Generated by envoy/build_descriptor.py.\nreturn " + lua(
        {
            "domain": contract.ERROR_DOMAIN,
            "health_rpc": "/distill.v1.DiscoveryService/GetHealth",
            "json_type": "application/json; charset=utf-8",
            "errors": _errors(),
            "rpcs": [_rpc(route) for route in routes],
            "messages": _messages(route.request for route in routes),
            **more,
        }
    )


def lua(value: Any) -> str:
    """A Python value as a Lua expression. A dict may hold a list under the key None."""
    if isinstance(value, dict):
        listed = value.get(None, [])
        parts = [f"[{lua(k)}]={lua(v)}" for k, v in value.items() if k is not None]
        return "{" + ",\n".join([*map(lua, listed), *parts]) + "}"
    if isinstance(value, list | tuple):
        return "{" + ",".join(map(lua, value)) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes):
        return '"' + "".join(_lua_byte(byte) for byte in value) + '"'
    return lua(str(value).encode())


def _lua_byte(byte: int) -> str:
    plain = 32 <= byte < 127 and byte not in b'"\\'
    return chr(byte) if plain else f"\\{byte:03d}"


def _http(method: descriptor_pb2.MethodDescriptorProto) -> Any:
    options = method.options
    if not options.HasExtension(annotations_pb2.http):
        return None
    return options.Extensions[annotations_pb2.http]


def _own_rules(method: descriptor_pb2.MethodDescriptorProto) -> options_pb2.RpcRules:
    # The generated stubs type extensions otherwise than the runtime's stubs do.
    rules: options_pb2.RpcRules = cast("Any", method.options).Extensions[options_pb2.rpc]
    return rules


def _add(file: FileDescriptor, built: descriptor_pb2.FileDescriptorSet, names: set[str]) -> None:
    if file.name in names:
        return
    names.add(file.name)
    for dependency in file.dependencies:
        _add(dependency, built, names)
    file.CopyToProto(built.file.add())


def _errors() -> dict[str, Any]:
    found = {}
    for value in errors_pb2.ErrorReason.DESCRIPTOR.values:
        if value.number:
            rules = contract.error_rules(value.number)
            found[value.name] = {
                "status": rules.http_status,
                "message": rules.message,
                "user_action_required": rules.user_action_required,
            }
    return found


def _rpc(route: Route) -> dict[str, Any]:
    fields = route.request.fields_by_name
    told: dict[str, Any] = {
        "name": route.name,
        "method": route.method,
        "path": route.path,
        "public": route.public,
        "optional_token": route.optional_token,
        "keyed": route.keyed,
        "request": route.request.full_name,
        "variables": route.variables,
    }
    elsewhere = {*route.variables, route.body}
    in_query = {
        name: leaf
        for field in route.request.fields
        if route.body != "*" and field.name not in elsewhere
        for name, leaf in _leaves(field)
    }
    told["query"] = {None: list(in_query), **{n: _field(leaf) for n, leaf in in_query.items()}}
    told["headers"] = dict.fromkeys(route.headers, True)
    told["passes_over_unknown"] = route.passes_over_unknown_parameters
    if route.body == "*":
        told["body"] = route.request.full_name
        told["in_path"] = dict.fromkeys(route.variables, True)
    elif route.body:
        inner = fields[route.body].message_type
        if inner is None:
            raise ValueError(f"{route.name}: the body {route.body!r} is no message")
        told["body"] = inner.full_name
        if inner.full_name == contract.RAW_BODY:
            told["takes_raw"] = True
    if route.answers_raw:
        told["answers_raw"] = True
    if route.streams:
        told["streams"] = True
    if route.response_body:
        told["response_body"] = route.response_body
    return told


def _leaves(field: FieldDescriptor) -> Iterator[tuple[str, FieldDescriptor]]:
    """Names in a query string; fields of a message inside are named after it (google.api.http)."""
    inner = field.message_type
    if inner is None or field.is_repeated or inner.full_name.startswith("google.protobuf."):
        yield field.name, field
        return
    for below in inner.fields:
        for name, leaf in _leaves(below):
            yield f"{field.name}.{name}", leaf


def _messages(roots: Iterable[Descriptor]) -> dict[str, Any]:
    """Every message that a request can hold, but the well-known ones."""
    found: dict[str, Any] = {}
    waiting = list(roots)
    while waiting:
        message = waiting.pop()
        well_known = message.full_name.startswith(("google.protobuf.", contract.RAW_BODY))
        if message.full_name in found or well_known:
            continue
        found[message.full_name] = {
            "names": [field.name for field in message.fields],
            "fields": {field.name: _field(field) for field in message.fields},
        }
        for field in message.fields:
            inner = _value(field).message_type
            if inner is not None:
                waiting.append(inner)
    return found


def _field(field: FieldDescriptor) -> dict[str, Any]:
    value = _value(field)
    if value.type not in _KINDS:
        raise ValueError(f"{field.full_name}: this type has no JSON form here")
    told: dict[str, Any] = {"kind": _KINDS[value.type]}
    if value is not field:
        told["map"] = True
    elif field.is_repeated:
        told["list"] = True
    if value.message_type is not None:
        told["message"] = value.message_type.full_name
    if value.enum_type is not None:
        names = enum_names(value.enum_type)
        told["names"] = names
        told["allowed"] = ", ".join(names)
    oneof = field.containing_oneof
    if oneof is not None and len(oneof.fields) > 1:
        told["oneof"] = oneof.name
    return told


def _value(field: FieldDescriptor) -> FieldDescriptor:
    """The field that holds the values: of a map, that of its entries."""
    message = field.message_type
    if field.is_repeated and message is not None and message.GetOptions().map_entry:
        return message.fields_by_name["value"]
    return field


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--descriptors", type=Path, default=DESCRIPTORS)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    given.folder.joinpath("descriptors.binpb").write_bytes(
        Image(given.descriptors).for_transcoder()
    )

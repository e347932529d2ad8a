"""JSON Schemas (2020-12) of the contract's messages: types, comments, rules and defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from distill_grpc.proto import contract
from http_facade.json_encoding import is_map, map_value
from http_facade.json_scalars import enum_names

Schema = dict[str, Any]

_SCALARS: Mapping[int, Schema] = {
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.CPPTYPE_UINT32: {"type": "integer", "format": "int64", "minimum": 0},
    # Beyond 2^53 they travel as digits in a string.
    FieldDescriptor.CPPTYPE_INT64: {"type": ["integer", "string"], "format": "int64"},
    FieldDescriptor.CPPTYPE_UINT64: {"type": ["integer", "string"]},
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number", "format": "double"},
}
_WELL_KNOWN: Mapping[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    "google.protobuf.Value": {},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
}
_MATCHES = re.compile(r"this\.matches\('([^'\\]*)'\)")
_BOUNDS = {
    "gte": "minimum",
    "gt": "exclusiveMinimum",
    "lte": "maximum",
    "lt": "exclusiveMaximum",
}
_LENGTHS = {"min_len": "minLength", "max_len": "maxLength", "pattern": "pattern"}
_FORMATS = {"uuid": "uuid", "email": "email"}
_COUNTS = {"min_items": "minItems", "max_items": "maxItems", "unique": "uniqueItems"}


class Schemas:
    """Collects the component schemas that are referred to."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}

    def response(self, descriptor: Descriptor) -> Schema:
        """A reference to what an answer holds: fields without presence are always there."""
        return self._message(descriptor, frozenset(), request=False)

    def request(self, descriptor: Descriptor, without: frozenset[str] = frozenset()) -> Schema:
        """A reference to what a body may hold: nothing beside the fields is taken."""
        return self._message(descriptor, without, request=True)

    def field(self, field: FieldDescriptor, *, request: bool) -> Schema:
        """The schema of a field's value, with its comment, rules and default."""
        if is_map(field):
            values = self._single(map_value(field), request=request)
            schema: Schema = {"type": "object", "additionalProperties": values}
        elif field.is_repeated:
            schema = {"type": "array", "items": self._single(field, request=request)}
        else:
            schema = self._single(field, request=request)
        text = _text(field)
        if text:
            schema["description"] = text
        if request:
            _add_rules(schema, contract.rules(field))
        default = contract.default(field)
        if default is not None:
            schema["default"] = default
        return schema

    def _message(self, descriptor: Descriptor, without: frozenset[str], *, request: bool) -> Schema:
        own = _WELL_KNOWN.get(descriptor.full_name)
        if own is not None:
            return dict(own)
        name = _component(descriptor) + (
            ".Input" if request and not _is_request(descriptor) else ""
        )
        if name not in self.components:
            schema: Schema = {"type": "object"}
            self.components[name] = schema  # before its fields: a type may contain itself
            self._fill(schema, descriptor, without, request=request)
        return {"$ref": f"#/components/schemas/{name}"}

    def _fill(
        self, schema: Schema, descriptor: Descriptor, without: frozenset[str], *, request: bool
    ) -> None:
        fields = [field for field in descriptor.fields if field.name not in without]
        text = contract.doc(descriptor)
        if text:
            schema["description"] = text
        schema["properties"] = {f.name: self._property(f, request=request) for f in fields}
        required = [f.name for f in fields if (is_required(f) if request else not f.has_presence)]
        if required:
            schema["required"] = required
        if request:
            schema["additionalProperties"] = False

    def _property(self, field: FieldDescriptor, *, request: bool) -> Schema:
        schema = self.field(field, request=request)
        return _or_null(schema) if request and not is_required(field) else schema

    def _single(self, field: FieldDescriptor, *, request: bool) -> Schema:
        if field.message_type is not None:
            return self._message(field.message_type, frozenset(), request=request)
        if field.enum_type is not None:
            return {"type": "string", "enum": enum_names(field.enum_type)}
        schema = dict(_SCALARS[field.cpp_type])
        if field.type == FieldDescriptor.TYPE_BYTES:
            schema["contentEncoding"] = "base64"
        if contract.notes(field).type == "date":
            schema["format"] = "date"
        return schema


def is_required(field: FieldDescriptor) -> bool:
    """True where the rules ask for the field."""
    return bool(contract.rules(field).required)


def _or_null(schema: Schema) -> Schema:
    """The schema, and `null`, which ProtoJSON takes for a field that is not set."""
    if "$ref" in schema:
        reference = {"$ref": schema["$ref"]}
        rest = {name: value for name, value in schema.items() if name != "$ref"}
        return {"anyOf": [reference, {"type": "null"}], **rest}
    if "type" not in schema:
        return schema  # anything is taken
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    choices = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, **choices, "type": [*kinds, "null"]}


def _is_request(descriptor: Descriptor) -> bool:
    outermost = descriptor
    while outermost.containing_type is not None:
        outermost = outermost.containing_type
    return str(outermost.name).endswith("Request")


def _component(descriptor: Descriptor) -> str:
    name = str(descriptor.full_name).removeprefix("distill.").removeprefix("publishing.")
    return name.removeprefix("v1.")


def _text(field: FieldDescriptor) -> str:
    parts = [contract.doc(field)]
    notes = contract.notes(field)
    if notes.format:
        parts.append(f"Format: {notes.format}.")
    if field.enum_type is not None:
        parts += [
            f"`{value.name}`: {contract.doc(value)}"
            for value in field.enum_type.values
            if value.name in enum_names(field.enum_type)
        ]
    return "\n\n".join(part for part in parts if part)


def _add_rules(schema: Schema, rules: Any) -> None:
    for rule in rules.cel:
        match = _MATCHES.fullmatch(rule.expression)
        if match:
            schema["pattern"] = match[1]
        if rule.message:
            before = schema.get("description", "")
            schema["description"] = f"{before}\n\nRule: {rule.message}.".strip()
    kind = rules.WhichOneof("type")
    if kind == "string":
        _copy(schema, rules.string, _LENGTHS)
        for name, keyword in _FORMATS.items():
            if getattr(rules.string, name):
                schema["format"] = keyword
    elif kind == "repeated":
        _copy(schema, rules.repeated, _COUNTS)
        if rules.repeated.HasField("items"):
            _add_rules(schema["items"], rules.repeated.items)
    elif kind is not None:
        _copy(schema, getattr(rules, kind), _BOUNDS)


def _copy(schema: Schema, rules: Message, names: Mapping[str, str]) -> None:
    known = rules.DESCRIPTOR.fields_by_name
    for name, keyword in names.items():
        if name in known and rules.HasField(name):
            schema[keyword] = getattr(rules, name)

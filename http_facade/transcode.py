"""An HTTP request to a message, and a message to an HTTP answer, for any RPC of the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from distill_grpc.proto.contract import Rpc
from http_facade.answers import JSON
from http_facade.errors import invalid
from http_facade.json_decoding import filler, prepare
from http_facade.json_encoding import encoder
from http_facade.json_scalars import Wrong
from http_facade.json_text import parse_object
from http_facade.query import Parameters, Put, putter
from http_facade.raw_bodies import fill_raw, raw_of


class Endpoint:
    """One RPC as REST serves it: everything that can be prepared is prepared here, once."""

    def __init__(self, rpc: Rpc) -> None:
        """Raises TypeError where a field of the request has no place in path, query or body."""
        self.rpc = rpc
        self.name = rpc.full_name
        self._request_class = rpc.request_class
        # Of events, the group that holds one of each kind.
        self._kind = rpc.descriptor.output_type.oneofs[0].name if rpc.streams else ""
        if not rpc.answers_raw:
            self._encode = encoder(rpc.descriptor.output_type)
        fields = rpc.descriptor.input_type.fields_by_name
        self._path: Mapping[str, Put] = {name: putter(fields[name]) for name in rpc.path_fields}
        in_path = frozenset(self._path)
        self._body_field = rpc.body if rpc.body not in {"", "*"} else ""
        if rpc.body and not rpc.takes_raw:
            prepare(body_type(rpc))
            self._fill_body = filler(body_type(rpc), frozenset() if self._body_field else in_path)
        self._query = Parameters(
            query_fields(rpc), passes_over_unknown=rpc.passes_over_unknown_parameters
        )

    @property
    def takes_body(self) -> bool:
        """True where the annotation names a body."""
        return bool(self.rpc.body)

    def request(
        self, variables: Mapping[str, str], query: str, body: bytes, content_type: str = ""
    ) -> Message:
        """The request message; raises `Refusal` naming each field that is wrong and why.

        `content_type` is kept where the body is taken as it is.
        """
        message = self._request_class()
        problems: dict[str, str] = {}
        for name, text in variables.items():
            try:
                self._path[name](message, [text])
            except Wrong as wrong:
                problems[name] = str(wrong)
        if query:
            self._query.fill(query, message)
        if self.takes_body:
            target: Any = message
            if self._body_field:
                target = getattr(message, self._body_field)
            if self.rpc.takes_raw:
                fill_raw(target, body, content_type)
            else:
                self._fill_body(parse_object(body), target, "", problems)
        elif body:
            problems["body"] = "this endpoint takes none"
        if problems:
            raise invalid(problems)
        return message

    def reply(self, response: Message) -> tuple[bytes, str]:
        """Body and content type of a response: its JSON, or that of the field `response_body`.

        A `google.api.HttpBody` brings both itself.
        """
        if self.rpc.answers_raw:
            return raw_of(response)
        value = self._encode(response)
        if self.rpc.response_body:
            value = value[self.rpc.response_body]
        return orjson.dumps(value), JSON

    def event(self, message: Message) -> tuple[str, bytes]:
        """Kind and JSON of an event of a stream."""
        return message.WhichOneof(self._kind) or "", orjson.dumps(self._encode(message))


def query_fields(rpc: Rpc) -> dict[str, FieldDescriptor]:
    """The request fields that stand in the query string by their names there, in order.

    Those of a message inside are named after it, such as `hub.mode` (google.api.http).
    """
    if rpc.body == "*":
        return {}
    elsewhere = {*rpc.path_fields, rpc.body}
    found: dict[str, FieldDescriptor] = {}
    for field in rpc.descriptor.input_type.fields:
        if field.name not in elsewhere:
            found.update(_leaves(field))
    return found


def _leaves(field: FieldDescriptor) -> Iterator[tuple[str, FieldDescriptor]]:
    inner = field.message_type
    if inner is None or field.is_repeated or inner.full_name.startswith("google.protobuf."):
        yield field.name, field
        return
    for below in inner.fields:
        for name, leaf in _leaves(below):
            yield f"{field.name}.{name}", leaf


def body_type(rpc: Rpc) -> Descriptor:
    """The message that the body of an RPC holds; TypeError where its field is no message."""
    if rpc.body == "*":
        return rpc.descriptor.input_type
    inner = rpc.descriptor.input_type.fields_by_name[rpc.body].message_type
    if inner is None:
        raise TypeError(f"{rpc.full_name}: the body {rpc.body!r} is no message")
    return inner

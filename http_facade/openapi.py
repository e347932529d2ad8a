"""The OpenAPI 3.1 document, made from the descriptors: nothing in it is written by hand twice."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor, ServiceDescriptor

from distill_grpc.proto import contract
from distill_grpc.proto.contract import Rpc
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from http_facade.openapi_errors import error_schemas, narrowed, reasons_of
from http_facade.openapi_schemas import Schemas, is_required
from http_facade.settings import FacadeSettings
from http_facade.transcode import body_type, query_fields

_RETRIED = frozenset({429, 503})
_TOO_LONG = (414, 431)  # the address, the headers: the door's own refusals of what it cannot read
# OpenAPI 3.1: bytes of any type have no schema.
_ANY_BYTES: dict[str, Any] = {}


def document(rpcs: Sequence[Rpc], settings: FacadeSettings) -> dict[str, Any]:
    """The document that describes `rpcs` as this door serves them."""
    schemas = Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for rpc in rpcs:
        operation = {"operationId": _operation_id(rpc, rpcs), **_operation(rpc, schemas)}
        paths.setdefault(rpc.path, {})[rpc.http_method.lower()] = operation
    services = {rpc.service.full_name: rpc.service for rpc in rpcs}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": settings.title,
            "version": settings.version,
            "description": "Watches people's accounts, collects what is new, and turns it into "
            "search and digests. GET /api explains the same to language models.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": s.name, "description": _doc(s)} for s in services.values()],
        "paths": paths,
        "components": {
            "schemas": {**schemas.components, **error_schemas(rpcs)},
            "headers": _HEADERS,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A token with the claims user_id, email and credits_available.",
                }
            },
        },
    }


def _operation_id(rpc: Rpc, rpcs: Sequence[Rpc]) -> str:
    """Its name; where several services have one of that name, with the service before it."""
    alike = sum(other.name == rpc.name for other in rpcs)
    return rpc.name if alike == 1 else f"{rpc.service.name}{rpc.name}"


def _operation(rpc: Rpc, schemas: Schemas) -> dict[str, Any]:
    text = rpc.doc + (f"\n\n{rpc.requirements}." if rpc.requirements else "")
    operation: dict[str, Any] = {
        "tags": [rpc.service.name],
        "summary": text.partition(". ")[0].partition("\n")[0].rstrip("."),
        "description": text,
        "security": _security(rpc),
    }
    fields = rpc.descriptor.input_type.fields_by_name
    parameters: list[dict[str, Any]] = [
        *([_IDEMPOTENCY_KEY] if rpc.keyed else []),
        *(_parameter(name, fields[name], schemas, place="path") for name in rpc.path_fields),
        *(_parameter(name, f, schemas, place="query") for name, f in query_fields(rpc).items()),
        *({"name": name, "in": "header", "schema": {"type": "string"}} for name in rpc.headers),
    ]
    if parameters:
        operation["parameters"] = parameters
    if rpc.body:
        operation["requestBody"] = _body(rpc, schemas)
    operation["responses"] = _responses(rpc, schemas)
    return operation


def _security(rpc: Rpc) -> list[dict[str, Any]]:
    token: dict[str, Any] = {"bearer": []}
    if rpc.optional_token:
        return [{}, token]
    return [] if rpc.public else [token]


def _parameter(
    name: str, field: FieldDescriptor, schemas: Schemas, *, place: str
) -> dict[str, Any]:
    schema = schemas.field(field, request=True)
    parameter: dict[str, Any] = {"name": name, "in": place}
    description = schema.pop("description", "")
    if description:
        parameter["description"] = description
    if place == "path" or is_required(field):
        parameter["required"] = True
    parameter["schema"] = schema
    return parameter


def _body(rpc: Rpc, schemas: Schemas) -> dict[str, Any]:
    if rpc.takes_raw:
        return {"required": False, "content": {"*/*": _ANY_BYTES}}
    message = body_type(rpc)
    without = frozenset(rpc.path_fields if rpc.body == "*" else ())
    fields = [field for field in message.fields if field.name not in without]
    content: dict[str, Any] = {"schema": schemas.request(message, without)}
    example = _example(fields)
    if example is not None:
        content["example"] = example
    return {
        "required": any(is_required(field) for field in fields),
        "content": {"application/json": content},
    }


def _example(fields: Sequence[FieldDescriptor]) -> dict[str, Any] | None:
    """A body of defaults; None where a field that must be given has none."""
    example: dict[str, Any] = {}
    for field in fields:
        default = contract.default(field)
        inner = field.message_type
        if default is not None:
            example[field.name] = default
        elif is_required(field):
            return None
        elif inner is not None and inner.full_name.startswith("distill.") and not field.is_repeated:
            part = _example(inner.fields)
            if part:
                example[field.name] = part
    return example


def _responses(rpc: Rpc, schemas: Schemas) -> dict[str, Any]:
    response = rpc.descriptor.output_type
    success: dict[str, Any] = {}
    if rpc.response_body:
        success = schemas.field(response.fields_by_name[rpc.response_body], request=False)
    elif not rpc.answers_raw:
        success = schemas.response(response)
    reasons: dict[int, list[int]] = {}
    for reason in dict.fromkeys(reasons_of(rpc)):
        reasons.setdefault(int(contract.error_rules(reason).http_status), []).append(reason)
    for status in _TOO_LONG:
        reasons[status] = [ErrorReason.INVALID_ARGUMENT]
    answers: dict[str, Any] = {}
    for status in sorted({*rpc.statuses, *reasons}):
        choices: list[dict[str, Any]] = []
        said: list[str] = []
        content: dict[str, Any] = {}
        if status in rpc.statuses:
            if rpc.answers_raw:
                content |= {"*/*": _ANY_BYTES}
            elif rpc.streams:
                content |= {contract.EVENT_STREAM: _events(rpc, schemas)}
            else:
                choices.append(success)
            said.append(HTTPStatus(status).phrase)
        if status in reasons:
            choices.append(narrowed(rpc, reasons[status]))
            said += [
                f"`{contract.error_code(r)}`: {contract.error_rules(r).message}"
                for r in reasons[status]
            ]
        if choices:
            schema = choices[0] if len(choices) == 1 else {"anyOf": choices}
            content["application/json"] = {"schema": schema}
        answers[str(status)] = {
            "description": "\n\n".join(said),
            "headers": _headers(status),
            "content": content,
        }
    return answers


def _events(rpc: Rpc, schemas: Schemas) -> dict[str, Any]:
    """Each event of a stream: what a stream's schema describes before OpenAPI 3.2 calls it `itemSchema`."""
    fields = rpc.descriptor.output_type.fields
    kinds = "; ".join(f"`{field.name}`: {contract.doc(field)}" for field in fields)
    text = (
        "An event of the stream. Its data are a JSON object with one name, which is the event's, too. "
        f"{kinds} `error` instead of `{rpc.events[-1]}`: an error's body, after which nothing comes."
    )
    event = schemas.response(rpc.descriptor.output_type)
    data = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": [event, narrowed(rpc, reasons_of(rpc))]},
    }
    return {
        "schema": {
            "type": "object",
            "description": text,
            "properties": {
                "event": {"type": "string", "enum": [*rpc.events, "error"]},
                "data": data,
            },
            "required": ["event", "data"],
        }
    }


def _headers(status: int) -> dict[str, Any]:
    names = ["X-Request-Id", *(["Retry-After"] if status in _RETRIED else [])]
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


_IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Makes a repeated call answer as the first one with the key did, for 24 hours.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
_HEADERS: dict[str, Any] = {
    "X-Request-Id": {
        "description": "The request's id: the client's own, or a new one. Log lines carry it.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds after which trying again helps.",
        "schema": {"type": "integer", "minimum": 0},
    },
}


def _doc(service: ServiceDescriptor) -> str:
    return contract.doc(cast("Any", service))

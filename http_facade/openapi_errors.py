"""What OpenAPI says about errors: which an RPC answers with, and how their bodies look."""

from __future__ import annotations

from collections.abc import Sequence

from distill_grpc.proto import contract
from distill_grpc.proto.contract import Rpc
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from http_facade.errors import is_publishing
from http_facade.openapi_schemas import Schema

_EVERY = (
    ErrorReason.INVALID_ARGUMENT,
    ErrorReason.INTERNAL_ERROR,
    ErrorReason.UNAVAILABLE,
    ErrorReason.DEADLINE_EXCEEDED,
)
_WITH_TOKEN = (ErrorReason.AUTHENTICATION_FAILED, ErrorReason.RATE_LIMITED)
_WITH_KEY = (
    ErrorReason.REQUEST_IN_PROGRESS,
    ErrorReason.IDEMPOTENCY_KEY_REUSED,
    ErrorReason.CONFLICT,
)


def reasons_of(rpc: Rpc) -> list[int]:
    """Its own errors, then those that every call of its kind can meet."""
    common = [*_EVERY]
    if rpc.optional_token or not rpc.public:
        common += _WITH_TOKEN
    if rpc.keyed:
        common += _WITH_KEY
    if rpc.body:
        common.append(ErrorReason.PAYLOAD_TOO_LARGE)
    if rpc.body and not rpc.takes_raw:
        common.append(ErrorReason.UNSUPPORTED_MEDIA_TYPE)
    return [*rpc.errors, *common]


def narrowed(rpc: Rpc, reasons: Sequence[int]) -> Schema:
    """The error body narrowed to the codes of one status."""
    if is_publishing(rpc.path):
        ref, key = "PublishingError", "code"
        codes = [str(ErrorReason.Name(r)) for r in reasons]
    else:
        ref, key = "Error", "error"
        codes = [contract.error_code(r) for r in reasons]
    return {
        "allOf": [
            {"$ref": f"#/components/schemas/{ref}"},
            {"properties": {key: {"enum": codes}}},
        ]
    }


def error_schemas(rpcs: Sequence[Rpc]) -> dict[str, Schema]:
    """Both error bodies; the publishing platform's only where it is served."""
    numbers = sorted(value for value in ErrorReason.values() if value)
    text = {"type": "string"}
    error: Schema = {
        "type": "object",
        "description": "Why a call failed.",
        "properties": {
            "error": {**text, "enum": [contract.error_code(n) for n in numbers]},
            "message": {**text, "description": "The error in words."},
            "details": {
                "type": "object",
                "description": "More facts by name; for `invalid_argument`, each field's rule.",
                "additionalProperties": text,
            },
            "retry_after": {
                **text,
                "format": "date-time",
                "description": "The instant from which trying again helps.",
            },
            "user_action_required": {
                "type": "boolean",
                "description": "True where only the user can mend the cause.",
            },
            "action_url": {**text, "format": "uri", "description": "Where the user does so."},
        },
        "required": ["error", "message", "user_action_required"],
        "additionalProperties": False,
        "examples": [
            {
                "error": "rate_limited",
                "message": "Rate limit active.",
                "retry_after": "2024-01-10T11:00:00Z",
                "user_action_required": False,
            }
        ],
    }
    if not any(is_publishing(rpc.path) for rpc in rpcs):
        return {"Error": error}
    publishing: Schema = {
        "type": "object",
        "description": "Why a call failed.",
        "properties": {
            "detail": {**text, "description": "The error in words."},
            "code": {**text, "enum": [str(ErrorReason.Name(n)) for n in numbers]},
            "field_errors": {
                "type": "object",
                "description": "Each field's rule; empty where no field is at fault.",
                "additionalProperties": text,
            },
        },
        "required": ["detail", "code", "field_errors"],
        "additionalProperties": False,
    }
    return {"Error": error, "PublishingError": publishing}

"""Errors as `google.rpc.Status` (AIP-193): exactly one `ErrorInfo`, more details where they apply."""

from __future__ import annotations

import math
from datetime import datetime

from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.proto.contract import ERROR_DOMAIN
from distill_grpc.rpc.call import HTTP_CODE

# What google/rpc/code.proto maps to HTTP by itself; other statuses travel as metadata.
_CANONICAL_HTTP = {
    3: 400,
    4: 504,
    5: 404,
    6: 409,
    7: 403,
    8: 429,
    10: 409,
    12: 501,
    13: 500,
    14: 503,
    16: 401,
}
# Whose details are fields of the request and their rules.
_ABOUT_FIELDS = frozenset({ErrorReason.INVALID_ARGUMENT, ErrorReason.ALREADY_EXISTS})


def to_status(error: DistillError, *, now: datetime) -> Status:
    """The status that an error travels as."""
    info = error_details_pb2.ErrorInfo(reason=ErrorReason.Name(error.reason), domain=ERROR_DOMAIN)
    details: list[Message] = [info]
    info.metadata["user_action_required"] = str(error.rules.user_action_required).lower()
    if error.reason in _ABOUT_FIELDS:
        details.append(_bad_request(error))
    else:
        info.metadata.update(error.details)
    if error.retry_after is not None:
        retry_at = clock.seconds_up(error.retry_after)
        info.metadata["retry_after"] = clock.iso(retry_at)
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.seconds = max(1, math.ceil((retry_at - now).total_seconds()))
        details.append(retry)
    if error.action_url is not None:
        link = error_details_pb2.Help.Link(url=error.action_url, description="What to do")
        details.append(error_details_pb2.Help(links=[link]))
    status = Status(code=error.rules.code, message=error.message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def http_metadata(error: DistillError) -> dict[str, str]:
    """`x-http-code` where the gRPC code alone would give another HTTP status."""
    status = error.rules.http_status
    return {} if _CANONICAL_HTTP.get(error.rules.code) == status else {HTTP_CODE: str(status)}


def _bad_request(error: DistillError) -> error_details_pb2.BadRequest:
    found = error_details_pb2.BadRequest()
    for name, rule in error.details.items():
        found.field_violations.add(field=name, description=rule)
    return found

"""Turns a `google.rpc.Status` into the error body of the seed that owns the path.

Failures that the core never saw (no such route, a body that is no JSON, a core that is away) become
a status here first, from the same catalogue in the protos, so that one function prints every error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, Help, RetryInfo
from google.rpc.status_pb2 import Status

from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason

_log = structlog.get_logger()

# Keys of `ErrorInfo.metadata` that have a place of their own in the body.
_RESERVED = frozenset({"retry_after", "user_action_required"})

# What a canonical code means where no reason of ours came with it: gRPC itself or something between
# here and the core said so (google/rpc/code.proto). Every other code is a fault of this service.
_BY_CODE: Mapping[int, int] = {
    code_pb2.CANCELLED: ErrorReason.UNAVAILABLE,
    code_pb2.INVALID_ARGUMENT: ErrorReason.INVALID_ARGUMENT,
    code_pb2.OUT_OF_RANGE: ErrorReason.INVALID_ARGUMENT,
    code_pb2.FAILED_PRECONDITION: ErrorReason.INVALID_ARGUMENT,
    code_pb2.DEADLINE_EXCEEDED: ErrorReason.DEADLINE_EXCEEDED,
    code_pb2.NOT_FOUND: ErrorReason.NOT_FOUND,
    code_pb2.UNAUTHENTICATED: ErrorReason.AUTHENTICATION_FAILED,
    code_pb2.RESOURCE_EXHAUSTED: ErrorReason.RATE_LIMITED,
    code_pb2.UNAVAILABLE: ErrorReason.UNAVAILABLE,
}


class Refusal(Exception):  # noqa: N818 -- an answer to the caller, not a fault
    """A request that this door refuses by itself; carries the status to print."""

    def __init__(
        self,
        reason: int,
        message: str | None = None,
        *,
        details: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status_of(reason, message, details=details)
        self.headers = dict(headers or {})
        super().__init__(self.status.message)


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """An error as HTTP says it."""

    http_status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


def invalid(details: Mapping[str, str]) -> Refusal:
    """The refusal of input that breaks rules: `details` maps each field to its rule."""
    text = "; ".join(f"{name}: {rule}" for name, rule in details.items())
    return Refusal(ErrorReason.INVALID_ARGUMENT, f"Invalid request: {text}", details=details)


def status_of(
    reason: int,
    message: str | None = None,
    *,
    details: Mapping[str, str] | None = None,
    retry_in: float | None = None,
) -> Status:
    """The status of a reason of the catalogue, built as the core builds it (AIP-193)."""
    rules = contract.error_rules(reason)
    status = Status(code=rules.code, message=message or rules.message)
    info = ErrorInfo(reason=ErrorReason.Name(reason), domain=contract.ERROR_DOMAIN)
    broken = BadRequest()
    for name, rule in (details or {}).items():
        if reason == ErrorReason.INVALID_ARGUMENT:
            broken.field_violations.add(field=name, description=rule)
        else:
            info.metadata[name] = rule
    status.details.add().Pack(info)
    if broken.field_violations:
        status.details.add().Pack(broken)
    if retry_in is not None:
        wait = RetryInfo()
        wait.retry_delay.FromTimedelta(timedelta(seconds=retry_in))
        status.details.add().Pack(wait)
    return status


def render(
    status: Status, metadata: Mapping[str, str], *, path: str, now: datetime | None = None
) -> ErrorAnswer:
    """The answer that says `status`: seed 001's body under `/api/v1`, seed 002's everywhere else.

    The HTTP status is the metadata's `x-http-code`, else the catalogue's for the reason, else that
    of the canonical code. The text of a status without a reason of ours is not shown: it comes from
    a library or a proxy and may tell of the inside.
    """
    info, broken, wait, link = _details(status)
    reason = _reason(info)
    if reason is None:
        reason = _BY_CODE.get(status.code, ErrorReason.INTERNAL_ERROR)
        _log.warning("status_without_reason", grpc_code=status.code, grpc_message=status.message)
        info = ErrorInfo()
        message = ""
    else:
        message = status.message
    rules = contract.error_rules(reason)
    http_status = _http_code(metadata, lowest=400) or rules.http_status
    message = message or rules.message
    retry_at, seconds = _retry(info, wait, now or datetime.now(UTC))
    headers: dict[str, str] = {}
    if seconds is not None:
        headers["Retry-After"] = str(seconds)
    if http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"  # RFC 9110, 15.5.2: every 401 names a scheme
    fields = _by_field(broken)
    if is_publishing(path):
        return ErrorAnswer(http_status, _seed_001(reason, message, fields), headers)
    details = fields or {k: v for k, v in sorted(info.metadata.items()) if k not in _RESERVED}
    needs_user = info.metadata.get("user_action_required")
    body: dict[str, Any] = {"error": contract.error_code(reason), "message": message}
    if details:
        body["details"] = details
    if retry_at:
        body["retry_after"] = retry_at
    body["user_action_required"] = (
        needs_user == "true" if needs_user else bool(rules.user_action_required)
    )
    if link:
        body["action_url"] = link
    return ErrorAnswer(http_status, body, headers)


def http_code(metadata: Mapping[str, str]) -> int:
    """The HTTP status that the core asks for by `x-http-code`, else 200."""
    return _http_code(metadata, lowest=200) or 200


def is_publishing(path: str) -> bool:
    """True where seed 001 owns the path."""
    return path == "/api/v1" or path.startswith("/api/v1/")


def _seed_001(reason: int, message: str, fields: Mapping[str, str]) -> dict[str, Any]:
    return {"detail": message, "code": ErrorReason.Name(reason), "field_errors": dict(fields)}


def _http_code(metadata: Mapping[str, str], *, lowest: int) -> int | None:
    text = metadata.get("x-http-code", "")
    code = int(text) if text.isascii() and text.isdigit() and len(text) == 3 else 0
    return code if lowest <= code <= 599 else None


def _details(status: Status) -> tuple[ErrorInfo, BadRequest, RetryInfo | None, str]:
    info, broken, wait, link = ErrorInfo(), BadRequest(), None, ""
    for detail in status.details:
        if detail.Is(ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(BadRequest.DESCRIPTOR):
            detail.Unpack(broken)
        elif detail.Is(RetryInfo.DESCRIPTOR):
            wait = RetryInfo()
            detail.Unpack(wait)
        elif detail.Is(Help.DESCRIPTOR):
            found = Help()
            detail.Unpack(found)
            link = found.links[0].url if found.links else ""
    return info, broken, wait, link


def _reason(info: ErrorInfo) -> int | None:
    value = ErrorReason.DESCRIPTOR.values_by_name.get(info.reason)
    if info.domain != contract.ERROR_DOMAIN or value is None:
        return None
    return value.number or None


def _by_field(broken: BadRequest) -> dict[str, str]:
    fields: dict[str, str] = {}
    for violation in broken.field_violations:
        before = fields.get(violation.field)
        text = violation.description
        fields[violation.field] = f"{before}; {text}" if before else text
    return fields


def _retry(info: ErrorInfo, wait: RetryInfo | None, now: datetime) -> tuple[str, int | None]:
    """The instant for the body and the seconds for the header (RFC 9110, 10.2.3)."""
    instant = _instant(info.metadata.get("retry_after", ""))
    seconds = None if wait is None else wait.retry_delay.ToTimedelta().total_seconds()
    if instant is None and seconds is None:
        return "", None
    if instant is None:
        instant = now + timedelta(seconds=math.ceil(seconds or 0))
    if seconds is None:
        seconds = (instant - now).total_seconds()
    shown = instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return shown, max(0, math.ceil(seconds))


def _instant(text: str) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)

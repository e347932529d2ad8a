"""The headers that travel on to the core; everything else that a client sends stays here.

The core verifies the token itself and trusts no header that claims who is calling.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from uuid import uuid4

from multidict import CIMultiDictProxy

from distill_grpc.proto.contract import Rpc
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from http_facade.errors import Refusal, invalid

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
_TRACE_STATE = re.compile(r"[\x20-\x7e]{1,512}", re.ASCII)
_AUTHORIZATION = re.compile(r"[\x21-\x7e][\x20-\x7e]*", re.ASCII)
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,1000}", re.ASCII)
_KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_ADDRESSES = re.compile(r"[0-9A-Fa-f:., ]{1,2000}", re.ASCII)


def request_id(headers: Mapping[str, str]) -> str:
    """The client's `X-Request-Id` where it is a plain word, else a new one."""
    given = headers.get("X-Request-Id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid4().hex


def metadata(
    headers: CIMultiDictProxy[str], identity: str, *, rpc: Rpc, peer: str, simulate: bool
) -> dict[str, str]:
    """The metadata of a call; raises `Refusal` (401) where the authorization is ambiguous.

    Two `Authorization` headers, or one that is no printable ASCII, could be read differently by
    two readers: such a request is not let through to an RPC that looks at them. `peer` is the address
    that this door is spoken to from.
    """
    carried = {"x-request-id": identity, "x-forwarded-for": _chain(headers, peer)}
    tokens = headers.getall("Authorization", [])
    if len(tokens) == 1 and _AUTHORIZATION.fullmatch(tokens[0]):
        carried["authorization"] = tokens[0]
    elif tokens and (rpc.optional_token or not rpc.public):
        raise Refusal(ErrorReason.AUTHENTICATION_FAILED)
    keys = headers.getall("Idempotency-Key", []) if rpc.keyed else []
    if keys:
        if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
            raise invalid({"idempotency-key": "must be 1 to 255 visible ASCII characters"})
        carried["idempotency-key"] = keys[0]
    trace = headers.get("traceparent")
    if trace and _TRACE_PARENT.fullmatch(trace):
        carried["traceparent"] = trace
        state = headers.get("tracestate")
        if state and _TRACE_STATE.fullmatch(state):
            carried["tracestate"] = state
    if simulate:
        wanted = headers.get("X-Distill-Simulate")
        if wanted and _PRINTABLE.fullmatch(wanted):
            carried["x-distill-simulate"] = wanted
    for name in rpc.headers:
        values = headers.getall(name, [])
        if len(values) == 1 and _PRINTABLE.fullmatch(values[0]):
            carried[name] = values[0]
    return carried


def _chain(headers: CIMultiDictProxy[str], peer: str) -> str:
    """Who is said to have carried the request, nearest last. Whom of them to believe, the core knows."""
    said = ", ".join(headers.getall("X-Forwarded-For", []))
    return f"{said}, {peer}" if _ADDRESSES.fullmatch(said) else peer

"""One request asked at any door, by gRPC or REST, with answers that can be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlencode

import grpc
from google.api.httpbody_pb2 import HttpBody
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from distill_grpc.proto import contract
from http_facade.transcode import query_fields
from tests.conformance.calls import method, received
from tests.service import DOORS, Door, Service

Json = Any
AnyDoor = Door | Literal["grpc"]
EVERY_DOOR: tuple[AnyDoor, ...] = ("grpc", *DOORS)

# Headers that differ between any two answers, or with the length of what was asked.
_CHANGING = {
    "date",
    "x-request-id",
    "content-length",
    "retry-after",
    "x-envoy-upstream-service-time",
}


@dataclass(frozen=True)
class Told:
    """An answer: `ok` or the code of its error, everything that was said, and the headers."""

    code: str
    text: str
    headers: Mapping[str, str]


async def ask(
    service: Service, door: AnyDoor, rpc: contract.Rpc, fields: Mapping[str, Json], *, user: str
) -> Told:
    """Asks an RPC by the JSON of its request."""
    if door == "grpc":
        return await _by_grpc(service, rpc, fields, user)
    return await _by_rest(service, door, rpc, fields, user)


async def _by_grpc(
    service: Service, rpc: contract.Rpc, fields: Mapping[str, Json], user: str
) -> Told:
    request = json_format.ParseDict(dict(fields), rpc.request_class())
    call = method(service.channel, rpc)(request, metadata=service.metadata(user), timeout=20)
    try:
        responses = await received(call)
    except grpc.aio.AioRpcError as error:
        metadata = dict(error.trailing_metadata() or ())
        status = Status.FromString(metadata.pop("grpc-status-details-bin"))
        text, info = status.message, ErrorInfo()
        for detail in status.details:
            broken = BadRequest()
            if detail.Unpack(broken):
                text += f"\n{broken}"
            elif detail.Unpack(info):
                text += f"\n{sorted(info.metadata.items())}"
        return Told(info.reason.lower(), text, _lasting(metadata))
    text = "\n".join(map(_text, responses))
    return Told("ok", text, _lasting(dict(await call.initial_metadata() or ())))


def _text(response: Message) -> str:
    if isinstance(response, HttpBody):
        return response.data.decode()
    told = json_format.MessageToDict(response, preserving_proto_field_name=True)
    return json.dumps(told, ensure_ascii=False)


async def _by_rest(
    service: Service, door: Door, rpc: contract.Rpc, fields: Mapping[str, Json], user: str
) -> Told:
    path, rest = rpc.path, dict(fields)
    for name in rpc.path_fields:
        path = path.replace(f"{{{name}}}", quote(str(rest.pop(name)), safe=""))
    in_query = set(query_fields(rpc))
    query = urlencode({k: v for k, v in rest.items() if k in in_query}, doseq=True)
    body = {k: v for k, v in rest.items() if k not in in_query}
    answer = await service.call(
        rpc.http_method,
        f"{path}?{query}" if query else path,
        body if rpc.body else None,
        user=user,
        door=door,
    )
    error = isinstance(answer.body, dict) and answer.status >= 400
    code = answer.body["error"] if error else "ok"
    return Told(code, answer.text, _lasting(answer.headers))


def _lasting(headers: Mapping[str, str]) -> dict[str, str]:
    return {k.lower(): v for k, v in headers.items() if k.lower() not in _CHANGING}

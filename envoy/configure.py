"""Writes the folder that Envoy runs from: `envoy.yaml`, `contract.lua`, `descriptors.binpb`."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from string import Template
from typing import Any

import orjson
from build_descriptor import DESCRIPTORS, Image, lua_contract

from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from http_facade import docs
from http_facade.errors import Refusal, render
from http_facade.openapi import document
from http_facade.settings import FacadeSettings

HERE = Path(__file__).resolve().parent
JSON = "application/json; charset=utf-8"
_UNREADABLE = "This is not an HTTP request that can be read, or a part of it is too long."
_LARGE_HEADERS = "A header is too long, or there are too many."
# One message through gRPC is at most this large, whichever door it comes through.
_MESSAGE_LIMIT = 4 * 1024 * 1024
_NO_HEADERS = {"header_filter": {"header": {"name": ":method", "present_match": False}}}


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the operator decides. Times are seconds."""

    listen: str = "127.0.0.1:8081"
    cores: tuple[str, ...] = ("127.0.0.1:50051",)
    cors_origins: tuple[str, ...] = ()
    max_connections: int = 10_000
    trusted_hops: int = 0
    header_timeout: float = 10.0
    body_timeout: float = 10.0
    idle_timeout: float = 75.0
    deadline: float = 31.0
    health_interval: float = 2.0
    descriptors: Path = DESCRIPTORS


def write(folder: Path, choices: Choices) -> Path:
    """Fills `folder`; returns the path of the configuration."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    settings = FacadeSettings(address="127.0.0.1:0", version=metadata.version("distill"))
    image = Image(choices.descriptors)
    folder.joinpath("descriptors.binpb").write_bytes(image.for_transcoder())
    folder.joinpath("contract.lua").write_text(
        lua_contract(
            image,
            version=settings.version,
            body_limit=settings.body_limit,
            cors_origins=choices.cors_origins,
            pages=asyncio.run(_pages(settings)),
        )
    )
    host, port = _address(choices.listen)
    filled = Template(HERE.joinpath("envoy.yaml").read_text()).substitute(
        folder=folder,
        lua=HERE / "lua",
        listen_host=host,
        listen_port=port,
        max_connections=choices.max_connections,
        use_remote_address=str(choices.trusted_hops == 0).lower(),
        trusted_hops=choices.trusted_hops,
        message_limit=_MESSAGE_LIMIT,
        header_timeout=f"{choices.header_timeout:g}s",
        idle_timeout=f"{choices.idle_timeout:g}s",
        body_timeout=f"{choices.body_timeout:g}s",
        deadline=f"{choices.deadline:g}s",
        # A second more than the core keeps by itself.
        stream_deadline=f"{settings.stream_deadline + 1:g}s",
        health_interval=f"{choices.health_interval:g}s",
        services=json.dumps(image.services()),
        discovery="STATIC" if all(map(_is_number, choices.cores)) else "STRICT_DNS",
        cores=json.dumps([_endpoint(core) for core in choices.cores]),
        mappers=json.dumps(_mappers(settings, choices)),
    )
    path = folder / "envoy.yaml"
    path.write_text(filled)
    return path


async def _pages(settings: FacadeSettings) -> list[dict[str, Any]]:
    """What the door answers without the core; `pass` goes on to a cluster of Envoy's own."""
    page, redirect = await docs.page(), await docs.redirect()
    openapi = orjson.dumps(document(contract.rpcs(), settings))
    fresh = {"content-type": JSON, "cache-control": "no-cache"}
    html = {name.lower(): value for name, value in page.headers.items()}
    html["content-type"] = page.content_type
    return [
        {
            "path": "/",
            "status": 302,
            "body": b"",
            "headers": {"location": redirect.headers["Location"]},
        },
        {"path": "/docs", "status": 200, "body": page.body, "headers": html},
        {"path": "/openapi.json", "status": 200, "body": openapi, "headers": fresh},
        {"path": "/metrics", "pass": True},
    ]


def _mappers(settings: FacadeSettings, choices: Choices) -> list[dict[str, Any]]:
    """What Envoy answers by itself, in the seeds' bodies.

    Lua never sees the requests that Envoy cannot read; every other answer of Envoy's passes it, but
    with the text that was made here.
    """
    limit = f"{settings.body_limit} bytes"
    refusals: list[tuple[int | range, Refusal]] = [
        (
            413,
            Refusal(
                ErrorReason.PAYLOAD_TOO_LARGE,
                f"The body is larger than {limit}.",
                details={"limit": limit},
            ),
        ),
        (408, _late("body", choices.body_timeout)),
        (431, Refusal(ErrorReason.INVALID_ARGUMENT, _LARGE_HEADERS)),
        (503, Refusal(ErrorReason.UNAVAILABLE)),
        (504, Refusal(ErrorReason.DEADLINE_EXCEEDED)),
        (range(400, 500), Refusal(ErrorReason.INVALID_ARGUMENT, _UNREADABLE)),
        (range(500, 600), Refusal(ErrorReason.INTERNAL_ERROR)),
    ]
    plain = {"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}}
    # gRPC has a place of its own for the text; what Lua answered is finished.
    mappers: list[dict[str, Any]] = [
        {
            "filter": _noted("grpc"),
            "body_format_override": plain,
        },
        {"filter": _noted("answered"), "body_format_override": {**plain, "content_type": JSON}},
        # Without headers there is no path either.
        _mapper(
            _all(_NO_HEADERS, *_status(408)), _late("headers", choices.header_timeout), path="/"
        ),
    ]
    for statuses, refusal in refusals:
        for path, filters in (("/api/v1/", [_noted("publishing")]), ("/", [])):
            # The catalogue has no error of its own for headers that are too large.
            status = 431 if statuses == 431 else None
            where = _all(*filters, *_status(statuses))
            mappers.append(_mapper(where, refusal, path=path, status=status))
    return mappers


def _late(part: str, seconds: float) -> Refusal:
    late = f"did not arrive within {seconds:g} seconds"
    return Refusal(
        ErrorReason.INVALID_ARGUMENT, f"Invalid request: {part}: {late}", details={part: late}
    )


def _mapper(
    where: dict[str, Any], refusal: Refusal, *, path: str, status: int | None = None
) -> dict[str, Any]:
    asked = {} if status is None else {"x-http-code": str(status)}
    said = render(refusal.status, asked, path=path)
    text = orjson.dumps(said.body).decode().replace("%", "%%")
    return {
        "filter": where,
        "status_code": said.http_status,
        "headers_to_add": _headers(said.headers),
        "body_format_override": {
            "text_format_source": {"inline_string": text},
            "content_type": JSON,
        },
    }


def _headers(own: dict[str, str]) -> list[dict[str, Any]]:
    # A request that could not be read has no id; this one stands in the answer alone.
    found = {
        "X-Request-Id": "%UNIQUE_ID%",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        **own,
    }
    return [
        {"header": {"key": key, "value": value}, "append_action": "ADD_IF_ABSENT"}
        for key, value in found.items()
    ]


def _noted(key: str) -> dict[str, Any]:
    """True where Lua has noted `key` about the request."""
    matcher = {"filter": "distill", "path": [{"key": key}], "value": {"bool_match": True}}
    return {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": False}}


def _status(statuses: int | range) -> list[dict[str, Any]]:
    if isinstance(statuses, int):
        return [_compare("EQ", statuses)]
    return [_compare("GE", statuses.start), _compare("LE", statuses.stop - 1)]


def _compare(op: str, status: int) -> dict[str, Any]:
    value = {"default_value": status, "runtime_key": f"distill.local_reply.{op.lower()}_{status}"}
    return {"status_code_filter": {"comparison": {"op": op, "value": value}}}


def _all(*filters: dict[str, Any]) -> dict[str, Any]:
    return filters[0] if len(filters) == 1 else {"and_filter": {"filters": list(filters)}}


def _endpoint(core: str) -> dict[str, Any]:
    host, port = _address(core)
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}


def _is_number(core: str) -> bool:
    try:
        ipaddress.ip_address(_address(core)[0])
    except ValueError:
        return False
    return True


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise SystemExit(f"{text!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def split(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


__all__: Sequence[str] = ("Choices", "split", "write")

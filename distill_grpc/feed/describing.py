"""`/api` and `/capabilities`: computed from the contract, the sources and the policy.

Nothing here is a second copy: descriptions are the protos' comments, parameters their fields,
limits their rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from distill_grpc import clock
from distill_grpc.feed.policy import Policy
from distill_grpc.feed.tokens import takes_tokens
from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1 import discovery_service_pb2 as pb
from distill_grpc.rpc.stream_limit import AT_ONCE
from distill_grpc.sources import oauth
from distill_grpc.sources.base import Source, SourceInfo

_SCALARS = {
    FieldDescriptor.CPPTYPE_INT32: "integer",
    FieldDescriptor.CPPTYPE_INT64: "integer",
    FieldDescriptor.CPPTYPE_UINT32: "integer",
    FieldDescriptor.CPPTYPE_UINT64: "integer",
    FieldDescriptor.CPPTYPE_DOUBLE: "number",
    FieldDescriptor.CPPTYPE_FLOAT: "number",
    FieldDescriptor.CPPTYPE_BOOL: "boolean",
    FieldDescriptor.CPPTYPE_STRING: "string",
}
_DISCOVER = "Dynamic list of available data endpoints with descriptions"


def api(
    *,
    service: str,
    version: str,
    sources: Mapping[str, Source],
    policy: Policy,
    calls_per_minute: int,
) -> pb.GetApiResponse:
    """The service's documentation for programs and language models (seed 002, GET /api)."""
    response = pb.GetApiResponse(
        service=service,
        version=version,
        description=f"Collects and processes content from {_titles(sources)}",
        authentication="Bearer JWT required with user_id claim",
        usage_example=(
            "First PUT /connections/{source} to connect an account, such as "
            '{"settings": {"feeds": ["https://example.org/feed.xml"]}} to /connections/rss. '
            "POST /watch to start monitoring. GET /metadata to discover available data. "
            "GET specific endpoints like /content/recent for actual data."
        ),
    )
    response.rate_limits["sync_frequency"] = f"Every {clock.in_words(policy.sync_frequency)}"
    response.rate_limits["api_calls"] = f"{calls_per_minute} per minute per user"
    response.rate_limits["streams"] = f"{AT_ONCE} at once per user"
    several = _paths_with_several_methods()
    for rpc in contract.rpcs():
        key = f"{rpc.http_method} {rpc.path}" if rpc.path in several else rpc.path
        _describe(response.endpoints[key], rpc)
    return response


def capabilities(
    *,
    service: str,
    version: str,
    sources: Mapping[str, Source],
    policy: Policy,
    central_tokens: bool = False,
) -> pb.GetCapabilitiesResponse:
    """What the service can do (seed 002, GET /capabilities)."""
    response = pb.GetCapabilitiesResponse(service=service, version=version)
    for rpc in contract.rpcs():
        for name in rpc.data_types:
            _add_data_type(response, rpc, name)
    infos = [source.info for source in sources.values()]
    needs = response.platform_requirements
    needs.oauth_scopes.extend(dict.fromkeys(s for info in infos for s in info.oauth_scopes))
    needs.token_type = ", ".join(dict.fromkeys(info.token_type for info in infos))
    needs.refresh_supported = any(_is_refreshed(info, central_tokens) for info in infos)
    kept = clock.in_words(policy.raw_retention)
    response.data_retention.raw_data = kept
    response.data_retention.summaries = clock.in_words(policy.summary_retention)
    response.data_retention.metadata = "indefinite while watching"
    response.data_retention.after_unwatch = f"everything is deleted after {kept}"
    behaviour = response.sync_behavior
    behaviour.frequency = f"Every {clock.in_words(policy.sync_frequency)} when watching"
    behaviour.backfill = _backfill()
    behaviour.incremental = True
    for info in infos:
        response.sources.add(
            name=info.name,
            title=info.title,
            description=info.description,
            oauth_scopes=info.oauth_scopes,
            token_type=info.token_type,
            refresh_supported=_is_refreshed(info, central_tokens),
            central_tokens=central_tokens and takes_tokens(info),
            credentials=_credentials(info),
            settings=info.settings,
            limits=info.limits,
        )
    return response


def _is_refreshed(info: SourceInfo, central_tokens: bool) -> bool:
    return (
        info.refresh_supported or info.oauth is not None or (central_tokens and takes_tokens(info))
    )


def _credentials(info: SourceInfo) -> dict[str, str]:
    """What the source says, and what renewing its tokens takes."""
    if info.oauth is None:
        return dict(info.credentials)
    renewal = dict(oauth.RENEWAL)
    if info.oauth.token_url is not None:
        del renewal["token_url"]
    return {**renewal, **info.credentials}


def _describe(doc: pb.EndpointDoc, rpc: contract.Rpc) -> None:
    doc.method = rpc.http_method
    doc.description = rpc.doc
    fields = list(_parameters(rpc.descriptor.input_type))
    if fields:
        doc.parameters.update({name: _sentence(field) for name, field in fields})
    if rpc.name == "GetMetadata":
        doc.returns.string_value = _DISCOVER
    else:
        shown = {f.name: _returned(f) for f in rpc.descriptor.output_type.fields}
        doc.returns.struct_value.update(shown)
    if rpc.streams:
        doc.content_type = contract.EVENT_STREAM
    if rpc.errors:
        doc.errors.extend([contract.error_code(reason) for reason in rpc.errors])


def _add_data_type(response: pb.GetCapabilitiesResponse, rpc: contract.Rpc, name: str) -> None:
    data_type = response.supported_data_types.add(
        type=name, path_pattern=f"/{name}", description=rpc.doc
    )
    if rpc.requirements:
        data_type.requirements = rpc.requirements
    if rpc.stream_path:
        data_type.stream_path = rpc.stream_path
    for key, field in _parameters(rpc.descriptor.input_type):
        if key in rpc.path_fields:
            continue
        doc = data_type.parameters[key]
        doc.type, doc.description = _type(field), contract.doc(field)
        notes = contract.notes(field)
        if notes.format:
            doc.format = notes.format
        default = contract.default(field)
        if default is not None:
            _set_value(doc.default, default)
        rules = contract.rules(field).int32
        if rules.HasField("gte"):
            doc.min = rules.gte
        if rules.HasField("lte"):
            doc.max = rules.lte


def _parameters(message: Descriptor, prefix: str = "") -> Iterable[tuple[str, FieldDescriptor]]:
    """Fields of a request by path; messages of our own are opened."""
    for field in message.fields:
        inner = field.message_type
        if inner is not None and inner.full_name.startswith("distill.") and not field.is_repeated:
            yield from _parameters(inner, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field


def _sentence(field: FieldDescriptor) -> str:
    notes, default = contract.notes(field), contract.default(field)
    text = f"{_type(field)} - {contract.doc(field)}"
    facts = [notes.format] if notes.format and notes.format not in text else []
    if default is not None:
        facts.append(f"default: {str(default).lower() if isinstance(default, bool) else default}")
    rules = contract.rules(field).int32
    if rules.HasField("gte") and rules.HasField("lte"):
        facts.append(f"{rules.gte} to {rules.lte}")
    return f"{text} ({', '.join(facts)})" if facts else text


def _returned(field: FieldDescriptor) -> Any:
    if field.enum_type is not None:
        return "|".join(value.name for value in field.enum_type.values if value.number)
    if _type(field) == "timestamp":
        return "ISO 8601 timestamp"
    return contract.doc(field)


def _type(field: FieldDescriptor) -> str:
    notes = contract.notes(field)
    if notes.type:
        return str(notes.type)
    if field.is_repeated and not _is_map(field):
        return "array"
    if field.message_type is not None:
        return "timestamp" if field.message_type.name == "Timestamp" else "object"
    return _SCALARS.get(field.cpp_type, "string")


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _set_value(value: Any, plain: Any) -> None:
    match plain:
        case bool():
            value.bool_value = plain
        case int() | float():
            value.number_value = plain
        case _:
            value.string_value = str(plain)


def _paths_with_several_methods() -> set[str]:
    paths = [rpc.path for rpc in contract.rpcs()]
    return {path for path in paths if paths.count(path) > 1}


def _titles(sources: Mapping[str, Source]) -> str:
    *others, last = [source.info.title for source in sources.values()] or ["no platform"]
    return f"{', '.join(others)} and {last}" if others else last


def _backfill() -> str:
    days = next(
        field
        for rpc in contract.rpcs()
        for path, field in _parameters(rpc.descriptor.input_type)
        if path == "options.backfill_days"
    )
    rules = contract.rules(days).int32
    return re.sub(
        r"\s+",
        " ",
        f"{contract.default(days)} days on initial watch, up to {rules.lte} where asked for",
    )

"""The OpenAPI document: well-formed, complete, and true of what the door answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from http_facade.errors import status_of
from http_facade.json_encoding import encode
from http_facade.openapi import document
from http_facade.settings import FacadeSettings
from http_facade.transcode import query_fields
from tests.unit.http_facade.contract_messages import messages
from tests.unit.http_facade.rest_door import Door, opened

RPCS = contract.rpcs()
SPEC = document(RPCS, FacadeSettings(address="127.0.0.1:0", version="1.2.3"))
IDS = [rpc.name for rpc in RPCS]


def operation(rpc: contract.Rpc) -> dict[str, Any]:
    return SPEC["paths"][rpc.path][rpc.http_method.lower()]  # type: ignore[no-any-return]


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    # References point into the whole document.
    return Draft202012Validator(
        {**schema, "components": SPEC["components"]}, format_checker=FormatChecker()
    )


def walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, (dict, list)):
            yield from walk(inner)


def test_every_reference_leads_somewhere() -> None:
    for part in walk(SPEC):
        if "$ref" not in part:
            continue
        target: Any = SPEC
        for name in part["$ref"].removeprefix("#/").split("/"):
            target = target[name]


def test_every_component_is_a_schema_and_its_default_keeps_its_own_rules() -> None:
    for name, schema in SPEC["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        for part in walk(schema):
            if isinstance(part.get("type"), str | list) and "default" in part:
                assert validator(part).is_valid(part["default"]), name


def test_the_document_has_the_required_parts_of_openapi_3_1() -> None:
    assert SPEC["openapi"].startswith("3.1.")
    assert SPEC["info"]["title"] == "Distill"
    assert SPEC["info"]["version"] == "1.2.3"
    ids = [operation(rpc)["operationId"] for rpc in RPCS]
    assert len(set(ids)) == len(ids)
    tags = {tag["name"] for tag in SPEC["tags"]}
    assert all(tag["description"] for tag in SPEC["tags"])
    for path, methods in SPEC["paths"].items():
        assert path.startswith("/")
        for each in methods.values():
            assert set(each["tags"]) <= tags
            assert each["summary"]
            assert not each["summary"].endswith(".")
            assert all(r["description"] for r in each["responses"].values())


@pytest.mark.parametrize("rpc", RPCS, ids=IDS)
def test_an_operation_says_who_may_call_it_and_where_its_fields_stand(rpc: contract.Rpc) -> None:
    each = operation(rpc)
    token = {"bearer": list[str]()}
    optional = [{}, token] if rpc.optional_token else []
    assert each["security"] == (optional if rpc.public else [token])
    parameters = {p["name"]: p for p in each.get("parameters", [])}
    assert ("Idempotency-Key" in parameters) == rpc.keyed
    parameters.pop("Idempotency-Key", None)
    fields = {*rpc.path_fields, *query_fields(rpc)}
    if rpc.body == "*":
        fields = {field.name for field in rpc.descriptor.input_type.fields}
    in_path = {name for name, p in parameters.items() if p["in"] == "path"}
    assert in_path == set(rpc.path_fields)
    assert all(parameters[name]["required"] for name in in_path)
    assert ("requestBody" in each) == bool(rpc.body)
    if rpc.takes_raw:
        assert each["requestBody"] == {"required": False, "content": {"*/*": {}}}
    elif rpc.body:
        content = each["requestBody"]["content"]["application/json"]
        ref = content["schema"]["$ref"].rpartition("/")[2]
        body = SPEC["components"]["schemas"][ref]
        assert set(body["properties"]) == fields - in_path
        assert body["additionalProperties"] is False
        if "example" in content:
            assert validator(content["schema"]).is_valid(content["example"])
    if rpc.body != "*":
        assert set(parameters) == {*fields, *rpc.headers}


@pytest.mark.parametrize("rpc", RPCS, ids=IDS)
def test_an_operation_lists_its_own_errors_and_the_common_ones(rpc: contract.Rpc) -> None:
    responses = operation(rpc)["responses"]
    said = "\n".join(response["description"] for response in responses.values())
    expected = {*rpc.errors, ErrorReason.INVALID_ARGUMENT, ErrorReason.INTERNAL_ERROR}
    if rpc.optional_token or not rpc.public:
        expected |= {ErrorReason.AUTHENTICATION_FAILED, ErrorReason.RATE_LIMITED}
    if rpc.keyed:
        expected |= {ErrorReason.REQUEST_IN_PROGRESS, ErrorReason.IDEMPOTENCY_KEY_REUSED}
    if rpc.body:
        expected.add(ErrorReason.PAYLOAD_TOO_LARGE)
    if rpc.body and not rpc.takes_raw:
        expected.add(ErrorReason.UNSUPPORTED_MEDIA_TYPE)
    for reason in expected:
        assert f"`{contract.error_code(reason)}`" in said
        assert str(contract.error_rules(reason).http_status) in responses
    assert {str(status) for status in rpc.statuses} <= set(responses)
    own = ErrorReason.AUTHENTICATION_FAILED in rpc.errors or rpc.name == "Login"
    assert ("401" in responses) == (own or rpc.optional_token or not rpc.public)


def test_rules_defaults_and_patterns_of_the_contract_are_repeated() -> None:
    parameters = {p["name"]: p for p in SPEC["paths"]["/content/recent"]["get"]["parameters"]}
    hours = parameters["hours"]["schema"]
    assert (hours["minimum"], hours["maximum"], hours["default"]) == (1, 168, 24)
    sources = parameters["sources"]["schema"]
    assert (sources["type"], sources["maxItems"]) == ("array", 20)
    assert sources["items"] == {"type": "string", "minLength": 1, "maxLength": 200}
    options = SPEC["components"]["schemas"]["WatchRequest.Options"]["properties"]
    assert options["sync_frequency"]["pattern"].startswith("^((")
    assert "Rule: must be a time from 5m to 24h" in options["sync_frequency"]["description"]
    search = SPEC["components"]["schemas"]["SearchRequest"]
    assert search["required"] == ["query"]
    (period, date, _) = SPEC["paths"]["/content/summary/{period}"]["get"]["parameters"]
    assert period["schema"]["pattern"] == "^(daily|weekly|[0-9]{4}-[0-9]{2}-[0-9]{2})$"
    assert date["schema"]["format"] == "date"
    status = SPEC["components"]["schemas"]["WatchResponse"]["properties"]["status"]
    assert status["enum"] == ["watching", "already_watching"]
    assert "`watching`: The watch is new (REST: 201)." in status["description"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_random_answers_of_every_rpc_are_valid(data: st.DataObject) -> None:
    rpc = data.draw(st.sampled_from([rpc for rpc in RPCS if not rpc.answers_raw]))
    message = data.draw(messages(rpc.descriptor.output_type))
    schema = operation(rpc)["responses"][str(rpc.statuses[0])]["content"]
    if rpc.streams:
        event = schema[contract.EVENT_STREAM]["schema"]
        schema = {"schema": event["properties"]["data"]["contentSchema"]["anyOf"][0]}
    else:
        schema = schema["application/json"]
    printed = encode(message)
    if rpc.response_body:
        printed = printed[rpc.response_body]
    # An unspecified enumerator is never sent, so the document does not list it.
    found = [
        error.message
        for error in validator(schema["schema"]).iter_errors(printed)
        if "_unspecified" not in error.message
    ]
    assert found == []


@pytest.mark.parametrize("rpc", RPCS, ids=IDS)
async def test_real_errors_are_valid_for_the_operation(door: Door, rpc: contract.Rpc) -> None:
    path = rpc.path
    for name in rpc.path_fields:
        path = path.replace(f"{{{name}}}", "x")
    responses = operation(rpc)["responses"]
    reasons = [*rpc.errors, ErrorReason.INTERNAL_ERROR, ErrorReason.DEADLINE_EXCEEDED]
    for reason in reasons:
        door.core.fails(status_of(reason, details={"job_id": "1"}))
        reply = await door.ask(rpc.http_method, path)
        schema = responses[str(reply.status)]["content"]["application/json"]["schema"]
        assert validator(schema).is_valid(reply.json), (reply.status, reply.json)
    if rpc.passes_over_unknown_parameters:
        return
    reply = await door.ask(rpc.http_method, f"{path}?nope=1")
    schema = responses["400"]["content"]["application/json"]["schema"]
    assert validator(schema).is_valid(reply.json)


async def test_the_document_is_served_as_it_was_made() -> None:
    async with opened(version="1.2.3") as door:
        reply = await door.ask("GET", "/openapi.json")
        assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
        assert reply.json == SPEC

"""What every REST door of Distill answers, whoever stands behind it.

A test module takes the suite over by a subclass and a fixture `ask` of type `Ask`: local transport,
remote transport or a whole running service.

    class TestRestOfTheLocalDoor(RestConformance):
        pass

The suite holds no token: it asks only what must come out the same for everybody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator

from distill_grpc.proto import contract
from http_facade.openapi import document
from http_facade.settings import FacadeSettings
from tests.unit.http_facade.rest_door import Reply

Ask = Callable[..., Awaitable[Reply]]  # (method, path, **aiohttp's request options)

RPCS = contract.rpcs()
# Those with a secret in their path are public to whoever knows it.
PUBLIC = [rpc for rpc in RPCS if rpc.public and not rpc.path_fields]
PROTECTED = [rpc for rpc in RPCS if not rpc.public]
STRICT = [rpc for rpc in RPCS if not rpc.passes_over_unknown_parameters]
WITH_BODY = [rpc for rpc in RPCS if rpc.body and not rpc.takes_raw]
SPEC = document(RPCS, FacadeSettings(address="127.0.0.1:0", version="0"))


def name(rpc: contract.Rpc) -> str:
    return rpc.name


def path_of(rpc: contract.Rpc) -> str:
    """The path of an RPC with something in each variable."""
    path = rpc.path
    fields = rpc.descriptor.input_type.fields_by_name
    for name in rpc.path_fields:
        value = str(UUID(int=7)) if contract.rules(fields[name]).string.uuid else "daily"
        path = path.replace(f"{{{name}}}", value)
    return path


def code_of(reply: Reply) -> str:
    """The error's code in lower case, in either body."""
    return str(reply.json.get("error") or reply.json["code"]).lower()


def fields_of(reply: Reply) -> dict[str, str]:
    """Each wrong field and its rule, in either body."""
    return dict(reply.json.get("details") or reply.json["field_errors"])


def check(rpc: contract.Rpc, reply: Reply, status: int) -> None:
    """The status, the type, the id, and the body as OpenAPI describes it."""
    assert reply.status == status, reply.raw
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    assert reply.headers["X-Request-Id"]
    operation = SPEC["paths"][rpc.path][rpc.http_method.lower()]
    schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
    errors = Draft202012Validator({**schema, "components": SPEC["components"]}).iter_errors(
        reply.json
    )
    assert [error.message for error in errors] == []


class RestConformance:
    """The suite."""

    @pytest.mark.parametrize("rpc", PUBLIC, ids=name)
    async def test_what_is_public_needs_no_token(self, ask: Ask, rpc: contract.Rpc) -> None:
        reply = await ask(rpc.http_method, path_of(rpc))
        # What has a body or an id lacks a good one here.
        refusals = {400, 404} if rpc.body or rpc.path_fields else set()
        assert reply.status in {rpc.statuses[0], *refusals}
        check(rpc, reply, reply.status)

    @pytest.mark.parametrize("rpc", PROTECTED, ids=name)
    @pytest.mark.parametrize("token", [None, "Bearer not.a.token", "Basic YTpi", "Bearer"])
    async def test_everything_else_needs_one(
        self, ask: Ask, rpc: contract.Rpc, token: str | None
    ) -> None:
        headers = {"Authorization": token} if token else {}
        reply = await ask(rpc.http_method, path_of(rpc), headers=headers)
        check(rpc, reply, 401)
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")
        assert reply.headers["Cache-Control"] == "no-store"

    @pytest.mark.parametrize("rpc", STRICT, ids=name)
    async def test_an_unknown_parameter_is_refused(self, ask: Ask, rpc: contract.Rpc) -> None:
        reply = await ask(rpc.http_method, f"{path_of(rpc)}?no_such_parameter=1")
        check(rpc, reply, 400)
        assert "no_such_parameter" in fields_of(reply)

    @pytest.mark.parametrize("rpc", WITH_BODY, ids=name)
    @pytest.mark.parametrize(
        ("body", "field"),
        [
            (b'{"no_such_field": 1}', "no_such_field"),
            (b"[]", "body"),
            (b"{", "body"),
            (b'{"a": 1, "a": 2}', "body"),
            (b'{"a": NaN}', "body"),
            (b"\xff", "body"),
        ],
    )
    async def test_a_wrong_body_is_refused(
        self, ask: Ask, rpc: contract.Rpc, body: bytes, field: str
    ) -> None:
        headers = {"Content-Type": "application/json"}
        reply = await ask(rpc.http_method, path_of(rpc), data=body, headers=headers)
        check(rpc, reply, 400)
        assert field in fields_of(reply)

    @pytest.mark.parametrize("rpc", WITH_BODY, ids=name)
    async def test_a_body_that_is_no_json_is_refused(self, ask: Ask, rpc: contract.Rpc) -> None:
        reply = await ask(rpc.http_method, path_of(rpc), data={"form": "1"})
        check(rpc, reply, 415)

    @pytest.mark.parametrize("rpc", RPCS, ids=name)
    async def test_another_method_is_refused_with_those_allowed(
        self, ask: Ask, rpc: contract.Rpc
    ) -> None:
        reply = await ask("PATCH", path_of(rpc))
        assert reply.status == 405
        assert rpc.http_method in reply.headers["Allow"].split(", ")
        assert code_of(reply) == "method_not_allowed"

    @pytest.mark.parametrize("path", ["/no/such/path", "/watch/", "/api/v1/no/such/path"])
    async def test_an_unknown_path_is_not_found(self, ask: Ask, path: str) -> None:
        reply = await ask("GET", path)
        assert reply.status == 404
        assert ("code" in reply.json) == path.startswith("/api/v1/")
        assert code_of(reply) == "not_found"

    async def test_the_clients_request_id_comes_back_on_every_answer(self, ask: Ask) -> None:
        headers = {"X-Request-Id": "conformance-1"}
        for path in ("/health", "/watch", "/metadata", "/no/such/path"):
            reply = await ask("GET", path, headers=headers)
            assert reply.headers["X-Request-Id"] == "conformance-1"

    async def test_head_and_options_are_answered(self, ask: Ask) -> None:
        head = await ask("HEAD", "/health")
        assert (head.status, head.raw) == (200, b"")
        options = await ask("OPTIONS", "/watch")
        assert (options.status, options.headers["Allow"]) == (204, "OPTIONS, POST")

    async def test_the_door_describes_itself(self, ask: Ask) -> None:
        spec: dict[str, Any] = (await ask("GET", "/openapi.json")).json
        assert set(spec["paths"]) == {rpc.path for rpc in RPCS}
        assert (await ask("GET", "/docs")).status == 200
        assert (await ask("GET", "/metrics")).raw.startswith(b"# HELP")

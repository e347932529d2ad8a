"""Envoy answers as the facade does: same status, equal JSON, same headers where they matter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings

from tests.conformance.rest.test_doors_agree import CASES, CHANGING, questions
from tests.conformance.seeds import RULES
from tests.envoy_door import needs_envoy
from tests.service import Answer, Service

Json = Any

pytestmark = needs_envoy

HEADERS = (
    "Allow",
    "Cache-Control",
    "Content-Security-Policy",
    "Content-Type",
    "Location",
    "Referrer-Policy",
    "Server",
    "WWW-Authenticate",
    "X-Content-Type-Options",
)


def comparable(answer: Answer) -> Json:
    text = CHANGING.sub(r'"\1":"…"', answer.text)
    body = (
        json.loads(text)
        if answer.headers.get("Content-Type", "").startswith("application/json") and text
        else text
    )
    headers = {name: answer.headers.get(name) for name in HEADERS}
    return answer.status, headers, body, "Retry-After" in answer.headers


def names(value: Json) -> Iterator[str]:
    """Every name in a JSON value; those that cannot be printed are shown otherwise by each door."""
    if isinstance(value, dict):
        yield from value
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from names(inner)


async def assert_equal(
    service: Service, method: str, path: str, body: Json = None, **more: Json
) -> Answer:
    facade = await service.call(method, path, body, door="local", **more)
    envoy = await service.call(method, path, body, door="envoy", **more)
    assert comparable(envoy) == comparable(facade)
    return envoy


@pytest.mark.parametrize(("method", "path", "body"), [*CASES, ("GET", "/docs", None)])
async def test_an_answer_is_that_of_the_facade(
    shared: Service, reader: str, method: str, path: str, body: Json
) -> None:
    for user in (reader, None, "nobody-known"):
        await assert_equal(shared, method, path, body, user=user)


@pytest.mark.parametrize("code", RULES)
async def test_every_error_is_that_of_the_facade(shared: Service, reader: str, code: str) -> None:
    headers = {"X-Distill-Simulate": code}
    answer = await assert_equal(shared, "GET", "/metadata", user=reader, headers=headers)
    assert answer.status == RULES[code].http_status
    await assert_equal(shared, "GET", "/health", user=None, headers=headers)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(question=questions())
async def test_any_request_gets_the_answer_of_the_facade(
    shared: Service, reader: str, question: tuple[str, str, Json]
) -> None:
    method, path, body = question
    assume(all(name.isprintable() for name in names(body)))
    await assert_equal(shared, method, path, body, user=reader)

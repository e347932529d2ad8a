"""What the seeds promise of an answer, as checks."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distill_grpc.proto import contract
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from tests.service import Answer

Json = Any

GOLDEN = Path(__file__).parents[1] / "golden" / "seed_002"
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
DATE = re.compile(r"\d{4}-\d\d-\d\d")

ERROR_KEYS = {"error", "message", "details", "retry_after", "user_action_required", "action_url"}
ALWAYS = {"error", "message", "user_action_required"}
RULES = {
    contract.error_code(number): contract.error_rules(number)
    for number in ErrorReason.values()
    if number
}


def example(name: str) -> Json:
    """An example of the seed, by the name of its file."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def instant(text: str) -> datetime:
    """An instant as the seeds print it: UTC, whole seconds."""
    assert INSTANT.fullmatch(text), text
    return datetime.fromisoformat(text)


def seconds_from_now(text: str) -> float:
    """How far an instant lies ahead."""
    return (instant(text) - datetime.now(UTC)).total_seconds()


def assert_shaped(got: Json, like: Json, path: str = "$") -> None:
    """Every key of the example is there, with a value of its type; there may be more."""
    match like:
        case dict():
            assert isinstance(got, dict), path
            for key, value in like.items():
                assert key in got, f"{path}.{key} is missing in {got}"
                assert_shaped(got[key], value, f"{path}.{key}")
        case list():
            assert isinstance(got, list), path
            for index, value in enumerate(got):
                assert_shaped(value, like[0], f"{path}[{index}]")
        case bool() | None:
            assert isinstance(got, type(like)), path
        case int() | float():
            assert isinstance(got, int | float), path
            assert not isinstance(got, bool), path
        case str():
            assert isinstance(got, str), path
            for form in (INSTANT, DATE):
                assert form.fullmatch(got) or not form.fullmatch(like), f"{path}: {got}"


def from_seed_001(body: Json) -> Json:
    """An error under `/api/v1`, by the names of seed 002. It says nothing more than these."""
    assert set(body) == {"detail", "code", "field_errors"}, body
    code = body["code"].lower()
    told: Json = {"error": code, "message": body["detail"]}
    told["user_action_required"] = RULES[code].user_action_required
    if body["field_errors"]:
        told["details"] = body["field_errors"]
    return told


def assert_error(answer: Answer, code: str, *, details: Json = None) -> Json:
    """The answer is this error of the catalogue, in a seed's body and with its headers; the body.

    An error of seed 001 is returned by the names of seed 002.

    `details` are compared whole where they are a dict; a set names the keys that must be there.
    """
    assert isinstance(answer.body, dict), answer.text[:500]
    rules = RULES[code]
    body = answer.body if "error" in answer.body else from_seed_001(answer.body)
    assert (answer.status, body.get("error")) == (rules.http_status, code), answer.text[:500]
    assert ALWAYS <= set(body) <= ERROR_KEYS, answer.text[:500]
    assert isinstance(body["message"], str)
    assert body["message"]
    assert body["user_action_required"] is rules.user_action_required
    told = body.get("details", {})
    assert all(isinstance(rule, str) and rule for rule in told.values()), answer.text[:500]
    if isinstance(details, set):
        assert set(told) == details, answer.text[:500]
    elif details is not None:
        assert told == details
    if "retry_after" in body:
        assert INSTANT.fullmatch(body["retry_after"])
        assert int(answer.headers["Retry-After"]) >= 0
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["X-Request-Id"]
    return body

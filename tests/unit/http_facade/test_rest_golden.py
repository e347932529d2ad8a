"""The examples of seed 002, verbatim, through the codec and the error renderer.

Where the contract has more than the seed shows, what is added is listed here: an addition that is
not listed fails, and so does a listed one that is gone.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo, Help

from distill_grpc.proto.distill.v1.content_service_pb2 import (
    GetSummaryResponse,
    ListRecentResponse,
)
from distill_grpc.proto.distill.v1.discovery_service_pb2 import (
    GetApiResponse,
    GetCapabilitiesResponse,
    GetHealthResponse,
    GetMetadataResponse,
)
from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from distill_grpc.proto.distill.v1.sync_service_pb2 import SyncRequest, SyncResponse
from distill_grpc.proto.distill.v1.watch_service_pb2 import (
    UnwatchResponse,
    WatchRequest,
    WatchResponse,
)
from http_facade.errors import render, status_of
from http_facade.json_decoding import decode
from http_facade.json_encoding import encode
from http_facade.json_text import parse_object

GOLDEN = Path(__file__).parents[2] / "golden" / "seed_002"

# file → its message, and what the contract prints beyond the example, by path.
EXAMPLES: dict[str, tuple[type[Message], dict[str, Any]]] = {
    "api": (GetApiResponse, {}),
    "capabilities": (GetCapabilitiesResponse, {"sources": []}),
    "watch_request": (WatchRequest, {}),
    "watch_created": (WatchResponse, {}),
    "watch_already": (WatchResponse, {}),
    "unwatch": (UnwatchResponse, {}),
    "sync_request": (SyncRequest, {}),
    "sync_accepted": (SyncResponse, {}),
    "metadata": (GetMetadataResponse, {"sources": []}),
    "health": (GetHealthResponse, {"degraded_parts": {}}),
    "recent": (ListRecentResponse, {}),
    "summary": (GetSummaryResponse, {"summary.content.citations": []}),
}
ERRORS = {"error_authentication_failed", "error_rate_limited", "error_format"}


def example(name: str) -> dict[str, Any]:
    return json.loads(GOLDEN.joinpath(f"{name}.json").read_text())  # type: ignore[no-any-return]


def with_additions(value: dict[str, Any], additions: dict[str, Any]) -> dict[str, Any]:
    for path, added in additions.items():
        *parents, last = path.split(".")
        target = value
        for parent in parents:
            target = target[parent]
        assert last not in target
        target[last] = added
    return value


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_the_seed_survives_reading_and_printing(name: str) -> None:
    kind, additions = EXAMPLES[name]
    message = kind()
    assert decode(parse_object(GOLDEN.joinpath(f"{name}.json").read_bytes()), message) == {}
    printed = json.loads(orjson.dumps(encode(message)))
    assert printed == with_additions(example(name), additions)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_names_of_an_example_come_in_the_seeds_order(name: str) -> None:
    kind, _ = EXAMPLES[name]
    message = kind()
    seed = example(name)
    decode(seed, message)
    assert [key for key in encode(message) if key in seed] == list(seed)


def test_every_golden_file_is_used() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {*EXAMPLES, *ERRORS}


def test_the_error_of_a_bad_token_is_the_seeds() -> None:
    status = status_of(ErrorReason.AUTHENTICATION_FAILED)
    status.details.add().Pack(Help(links=[Help.Link(url="https://auth.yourapp.com/login")]))
    answer = render(status, {}, path="/watch")
    assert answer.body == example("error_authentication_failed")
    assert answer.http_status == 401


def test_the_error_of_a_platforms_limit_is_the_seeds() -> None:
    status = status_of(
        ErrorReason.RATE_LIMITED,
        "Platform API rate limit active",
        details={"retry_after": "2024-01-10T11:00:00Z"},
    )
    answer = render(status, {}, path="/sync", now=datetime(2024, 1, 10, 10, tzinfo=UTC))
    assert answer.body == example("error_rate_limited")
    assert answer.http_status == 429
    assert answer.headers["Retry-After"] == "3600"


def test_an_error_with_everything_has_the_seeds_names_in_the_seeds_order() -> None:
    seed = example("error_format")
    status = status_of(
        ErrorReason.PLATFORM_ERROR,
        seed["message"],
        details={
            **seed["details"],
            "retry_after": seed["retry_after"],
            "user_action_required": "false",
        },
    )
    status.details.add().Pack(Help(links=[Help.Link(url=seed["action_url"])]))
    answer = render(status, {}, path="/sync")
    assert answer.body == {**seed, "error": "platform_error"}
    assert list(answer.body) == list(seed)
    assert any(detail.Is(ErrorInfo.DESCRIPTOR) for detail in status.details)

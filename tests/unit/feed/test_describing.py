"""`/api` and `/capabilities` follow from the contract, the sources and the policy."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from distill_grpc.feed import describing
from distill_grpc.feed.policy import Policy
from distill_grpc.proto import contract
from distill_grpc.sources.mock import PLATFORMS, MockSource

SOURCES: dict[str, Any] = {name: MockSource(name) for name in PLATFORMS}
API = describing.api(
    service="distill", version="1.2.3", sources=SOURCES, policy=Policy(), calls_per_minute=100
)
CAPABILITIES = describing.capabilities(
    service="distill", version="1.2.3", sources=SOURCES, policy=Policy()
)


def test_every_route_of_the_contract_is_described_once() -> None:
    described = {(doc.method, key.split()[-1]) for key, doc in API.endpoints.items()}
    assert described == {(rpc.http_method, rpc.path) for rpc in contract.rpcs()}
    assert len(API.endpoints) == len(contract.rpcs())


def test_every_endpoint_says_what_it_does_and_what_it_returns() -> None:
    for key, doc in API.endpoints.items():
        assert doc.description, key
        assert doc.HasField("returns"), key


def test_a_path_with_several_methods_is_told_apart() -> None:
    assert "GET /connections/{source}" in API.endpoints
    assert "PUT /connections/{source}" in API.endpoints
    assert "/connections/{source}" not in API.endpoints
    assert "/watch" in API.endpoints


def test_parameters_carry_their_defaults_and_errors_their_codes() -> None:
    recent = API.endpoints["/content/recent"]
    assert str(recent.parameters["hours"]).endswith("(default: 24, 1 to 168)")
    assert str(recent.parameters["include_raw"]).endswith("(default: false)")
    assert list(recent.errors) == ["not_watching"]
    assert "insufficient_credits" in API.endpoints["/sync"].errors


def test_limits_follow_the_policy() -> None:
    policy = Policy(sync_frequency=timedelta(hours=2))
    told = describing.api(
        service="s", version="1", sources=SOURCES, policy=policy, calls_per_minute=7
    )
    assert told.rate_limits == {
        "sync_frequency": "Every 2 hours",
        "api_calls": "7 per minute per user",
        "streams": "8 at once per user",
    }


def test_data_types_are_those_that_a_sync_takes() -> None:
    types = [told.type for told in CAPABILITIES.supported_data_types]
    assert types == [name for rpc in contract.rpcs() for name in rpc.data_types]
    recent = next(t for t in CAPABILITIES.supported_data_types if t.type == "content/recent")
    hours = recent.parameters["hours"]
    assert (hours.type, hours.min, hours.max, hours.default.number_value) == ("integer", 1, 168, 24)


def test_retention_and_backfill_are_told_in_words() -> None:
    kept = CAPABILITIES.data_retention
    assert (kept.raw_data, kept.summaries) == ("7 days", "30 days")
    assert (
        CAPABILITIES.sync_behavior.backfill == "7 days on initial watch, up to 30 where asked for"
    )
    assert CAPABILITIES.sync_behavior.frequency == "Every 30 minutes when watching"


def test_every_source_is_told_with_its_scopes() -> None:
    assert [source.name for source in CAPABILITIES.sources] == list(SOURCES)
    scopes = [s for source in SOURCES.values() for s in source.info.oauth_scopes]
    assert set(CAPABILITIES.platform_requirements.oauth_scopes) == set(scopes)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ((), "no platform"),
        (("One",), "One"),
        (("One", "Two", "Three"), "One, Two and Three"),
    ],
)
def test_the_description_names_the_platforms(names: tuple[str, ...], text: str) -> None:
    sources: dict[str, Any] = {}
    for name in names:
        source = MockSource(PLATFORMS[0])
        source.info = replace(source.info, title=name)
        sources[name] = source
    told = describing.api(
        service="s", version="1", sources=sources, policy=Policy(), calls_per_minute=1
    )
    assert told.description == f"Collects and processes content from {text}"

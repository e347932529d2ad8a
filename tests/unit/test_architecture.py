"""Who may import whom. A breach fails here with the line that makes it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The layer of every room of the core; a room imports only rooms of lower layers, and itself.
LAYERS = {
    "proto": 0,
    "errors": 0,
    "clock": 0,
    "settings": 0,
    "logs": 0,
    "key_files": 0,
    "event_reader": 0,
    "syndication": 1,
    "db": 1,
    "auth": 1,
    "ratelimit": 1,
    "encryption": 1,
    "jobs": 2,
    "sources": 2,
    "llm": 2,
    "mail": 2,
    "rpc": 2,
    "feed": 3,
    "publishing": 3,
    "app": 4,
    "cli": 5,
    "__main__": 6,
}
# Layer 0 and 1 are layered among themselves by these.
WITHIN = {
    ("errors", "proto"),
    ("settings", "clock"),
    ("auth", "key_files"),
    ("encryption", "key_files"),
}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    return [p for p in found if "/proto/distill/" not in str(p) and "/proto/buf/" not in str(p)]


def room(path: Path) -> str:
    return path.relative_to(ROOT / "distill_grpc").parts[0].removesuffix(".py")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


FEATURES = [*files("distill_grpc/feed"), *files("distill_grpc/publishing")]


@pytest.mark.parametrize("path", files("distill_grpc"), ids=name_of)
def test_the_core_imports_only_downwards(path: Path) -> None:
    own = room(path)
    if own == "__init__":
        return
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] != "distill_grpc" or len(parts) < 2:
            continue
        other = parts[1]
        allowed = other == own or (own, other) in WITHIN or LAYERS[other] < LAYERS[own]
        assert allowed, f"{name_of(path)}:{line} ({own}) imports {name}"


@pytest.mark.parametrize("path", files("http_facade"), ids=name_of)
def test_the_facade_knows_nothing_of_the_core_but_the_contract(path: Path) -> None:
    for line, name in imports(path):
        if name.startswith("distill_grpc"):
            assert name.startswith("distill_grpc.proto"), f"{name_of(path)}:{line} imports {name}"


@pytest.mark.parametrize("path", files("distill_grpc"), ids=name_of)
def test_the_core_knows_nothing_of_the_facade_but_its_seam(path: Path) -> None:
    if room(path) in {"app", "cli"}:
        return
    for line, name in imports(path):
        if name.startswith("http_facade"):
            assert name.startswith("http_facade.transport"), (
                f"{name_of(path)}:{line} imports {name}"
            )


@pytest.mark.parametrize("path", FEATURES, ids=name_of)
def test_only_the_store_holds_sql(path: Path) -> None:
    if {"store", "models"} & set(path.parts) or path.name == "models.py":
        return
    harmless = ("sqlalchemy.Row", "sqlalchemy.ext.asyncio", "sqlalchemy.exc")
    for line, name in imports(path):
        if name.startswith(("sqlalchemy", "psycopg")):
            assert name.startswith(harmless), f"{name_of(path)}:{line} imports {name}"


@pytest.mark.parametrize("path", FEATURES, ids=name_of)
def test_rules_know_nothing_of_transports(path: Path) -> None:
    if path.stem.endswith("_servicer") or path.stem in {"conversion", "describing"}:
        return
    for line, name in imports(path):
        forbidden = name.startswith(
            ("grpc", "google", "aiohttp", "http_facade", "distill_grpc.proto", "distill_grpc.rpc")
        )
        assert not forbidden, f"{name_of(path)}:{line} imports {name}"
        assert name != "os.environ", f"{name_of(path)}:{line} reads the environment"


@pytest.mark.parametrize("path", files("distill_grpc/sources"), ids=name_of)
def test_sources_know_no_database_and_no_settings(path: Path) -> None:
    for line, name in imports(path):
        forbidden = name.startswith(
            ("distill_grpc.db", "distill_grpc.settings", "sqlalchemy", "psycopg")
        )
        assert not forbidden, f"{name_of(path)}:{line} imports {name}"


def test_only_the_composition_root_builds_the_pipeline() -> None:
    for path in files("distill_grpc"):
        for line, name in imports(path):
            if name == "distill_grpc.rpc.pipeline.Pipeline":
                assert room(path) in {"app", "rpc"}, f"{name_of(path)}:{line} wires"


@pytest.mark.parametrize("package", ["distill_grpc", "http_facade"])
def test_no_module_is_named_after_nothing(package: str) -> None:
    vague = {"utils", "helpers", "manager", "common", "misc", "util", "helper"}
    assert not {p.stem for p in files(package)} & vague

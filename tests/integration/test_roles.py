"""One role in its own process, as its operator meets it: what is missing, taken, late or newer."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
from sqlalchemy import make_url
from structlog.testing import capture_logs

from distill_grpc import app
from distill_grpc.cli.database import check_migrated
from distill_grpc.settings import load
from http_facade.remote import RemoteTransport


def refused(folder: Path, *arguments: str, **settings: str) -> str:
    """What a role says that cannot start: one line, exit code 1."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DISTILL_")}
    addresses = {"GRPC_ADDRESS": "127.0.0.1:0", "HTTP_ADDRESS": "127.0.0.1:0"}
    own = {f"DISTILL_{name}": value for name, value in {**addresses, **settings}.items()}
    done = subprocess.run(
        [sys.executable, "-m", "distill_grpc", *arguments],
        cwd=folder, env=kept | own, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.fixture
def taken() -> Iterator[str]:
    """An address at which somebody listens."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield f"127.0.0.1:{other.getsockname()[1]}"


@pytest.fixture
def empty_database(database_url: str) -> Iterator[str]:
    """A database that nothing was done with."""
    url = make_url(database_url)
    name = f"{url.database}_empty"
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield url.set(database=name).render_as_string(hide_password=False)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("role", ["core", "worker"])
def test_a_database_that_is_away_is_named_without_its_password(
    tmp_path: Path, unused_port: int, role: str
) -> None:
    away = f"postgresql://distill:hush@127.0.0.1:{unused_port}/feeds"
    told = refused(tmp_path, role, DATABASE_URL=away)
    assert told.startswith(f"distill: the database 127.0.0.1:{unused_port}/feeds does not answer: ")
    assert "Connection refused" in told
    assert "hush" not in told


@pytest.mark.parametrize("role", ["core", "worker"])
def test_a_database_without_the_schema_asks_for_the_migration(
    tmp_path: Path, empty_database: str, role: str
) -> None:
    assert "run `distill migrate` first" in refused(tmp_path, role, DATABASE_URL=empty_database)


async def test_a_schema_that_a_newer_version_made_is_worked_on(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with capture_logs() as logs:
        await check_migrated(database_url)
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == [
        "database_is_newer"
    ]


def test_a_core_does_not_share_its_port(tmp_path: Path, database_url: str, taken: str) -> None:
    told = refused(tmp_path, "core", DATABASE_URL=database_url, GRPC_ADDRESS=taken)
    assert told.startswith(f"distill: {taken} is taken by another program")
    assert "DISTILL_GRPC_ADDRESS" in told


def test_a_facade_does_not_share_its_port(tmp_path: Path, taken: str) -> None:
    told = refused(tmp_path, "facade", HTTP_ADDRESS=taken)
    assert told.startswith(f"distill: {taken} is taken by another program")
    assert "DISTILL_HTTP_ADDRESS" in told


async def test_a_facade_starts_without_its_cores_and_finds_them_later(
    database_url: str, tmp_path: Path, unused_port: int
) -> None:
    settings = load(
        _env_file=None,
        database_url=database_url,
        data_dir=tmp_path,
        http_address="127.0.0.1:0",
        grpc_address=f"127.0.0.1:{unused_port}",
    )
    async with (
        app.facade(settings, RemoteTransport("127.0.0.1:1", settings.grpc_address)) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):

        async def ask(path: str) -> tuple[int, Any]:
            async with session.get(path) as answer:
                return answer.status, await answer.json()

        status, health = await ask("/health")
        assert (status, health["status"], set(health["degraded_parts"])) == (
            503,
            "unhealthy",
            {"core"},
        )
        status, error = await ask("/api")
        assert (status, error["error"]) == (503, "unavailable")
        async with app.core(settings) as pipeline, app.grpc_server(settings, pipeline):
            async with asyncio.timeout(20):
                while (await ask("/health"))[0] != 200:
                    await asyncio.sleep(0.05)
            assert (await ask("/health"))[1]["status"] == "healthy"
            assert (await ask("/api"))[0] == 200

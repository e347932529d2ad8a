"""Fixtures that every folder uses: a real PostgreSQL, a database of one's own, a running service."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.typing import EventDict, WrappedLogger

from distill_grpc.db.embedded import EmbeddedPostgres
from distill_grpc.db.engine import create_engine
from distill_grpc.db.migrate import migrate
from tests.databases import fresh_database
from tests.servers.ports import held_ports
from tests.service import Service, start_service


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of this test run; its database `distill` is migrated, and a template."""
    given = os.environ.get("DISTILL_TEST_DATABASE_URL")
    if given:
        migrate(given)
        yield given
        return
    server = EmbeddedPostgres(tmp_path_factory.mktemp("pg"), fast=True)
    address = server.start_sync()
    migrate(address)
    yield address
    server.stop_sync()


@pytest.fixture(scope="session")
def strict_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server whose role may create databases, and no extensions in them."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("strict"), fast=True)
    yield server.start_sync()
    server.stop_sync()


@pytest.fixture
def database_url(postgres: str) -> Iterator[str]:
    """A fresh, migrated database."""
    with fresh_database(postgres) as address:
        yield address


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port at which nobody listens, unless the test does."""
    with held_ports(1) as (port,):
        yield port


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """A pool on the fresh database."""
    made = create_engine(database_url)
    yield made
    await made.dispose()


@pytest.fixture
async def service(database_url: str, tmp_path: Path) -> AsyncIterator[Service]:
    """Core, facade (both transports) and worker in mock mode, in this process, on free ports."""
    async with start_service(database_url, tmp_path, mock=True) as running:
        yield running


@pytest.fixture
def log_lines() -> Iterator[list[EventDict]]:
    """Every line that is logged, as it is before the net that takes secrets out."""
    lines: list[EventDict] = []

    def collect(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        lines.append(dict(event))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, collect],
        cache_logger_on_first_use=False,
    )
    yield lines
    structlog.configure(**before)

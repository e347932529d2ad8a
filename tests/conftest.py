"""Fixtures that every folder uses: a real PostgreSQL, a database of one's own, a running service."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc.db.embedded import EmbeddedPostgres
from distill_grpc.db.engine import create_engine
from distill_grpc.db.migrate import migrate
from tests.service import Service, start_service

_numbers = itertools.count()


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


@pytest.fixture
def database_url(postgres: str) -> Iterator[str]:
    """A fresh, migrated database."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(_database(postgres, "postgres"), autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE distill").format(sql.Identifier(name))
        )
        yield _database(postgres, name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _database(address: str, name: str) -> str:
    return make_url(address).set(database=name).render_as_string(hide_password=False)


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

"""pgvector is used where it is, done without where it is not, and found where it comes later."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from distill_grpc.db.engine import create_engine
from distill_grpc.db.migrate import check, migrate
from distill_grpc.db.vectors import is_prepared
from tests.databases import empty_database, superuser


@pytest.fixture
def bare(strict_postgres: str) -> Iterator[str]:
    """A database without any extension, in which nobody has been yet."""
    with empty_database(strict_postgres, template="template0") as address:
        yield address


async def prepared(address: str) -> bool:
    engine = create_engine(address, pool_size=1)
    async with engine.connect() as connection:
        found = await is_prepared(connection)
    await engine.dispose()
    return found


async def test_a_database_with_the_extension_holds_vectors(strict_postgres: str) -> None:
    with empty_database(strict_postgres) as address:
        migrate(address)
        assert await prepared(address)


async def test_a_role_that_may_not_create_the_extension_does_without_until_somebody_does(
    bare: str,
) -> None:
    with psycopg.connect(bare) as looking, pytest.raises(psycopg.errors.InsufficientPrivilege):
        looking.execute("CREATE EXTENSION vector")
    assert migrate(bare)
    assert check(bare) == []
    assert not await prepared(bare)
    assert migrate(bare) == []
    with superuser(bare) as admin:
        admin.execute("CREATE EXTENSION vector")
    assert not await prepared(bare)
    assert migrate(bare) == []
    assert await prepared(bare)


async def test_a_server_without_the_extension_does_without(bare: str) -> None:
    name = sql.Identifier(make_url(bare).database or "")
    with superuser(bare) as admin:
        admin.execute(
            sql.SQL("ALTER DATABASE {} SET extension_control_path = '/nowhere'").format(name)
        )
        with psycopg.connect(bare) as looking:
            there = "SELECT FROM pg_available_extensions WHERE name = 'vector'"
            assert looking.execute(there).fetchall() == []
        assert migrate(bare)
        assert check(bare) == []
        assert not await prepared(bare)
        admin.execute(sql.SQL("ALTER DATABASE {} RESET extension_control_path").format(name))
    with superuser(bare) as admin:
        admin.execute("CREATE EXTENSION vector")
    assert migrate(bare) == []
    assert await prepared(bare)


async def test_an_extension_in_a_schema_that_nobody_looks_into_is_no_fault(bare: str) -> None:
    with superuser(bare) as admin:
        admin.execute("CREATE SCHEMA aside")
        admin.execute("CREATE EXTENSION vector SCHEMA aside")
    assert migrate(bare)
    assert not await prepared(bare)

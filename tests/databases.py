"""Fresh databases on the server of the test run."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from distill_grpc.db.postgres_tools import SUPERUSER

_numbers = itertools.count()


@contextmanager
def fresh_database(postgres: str) -> Iterator[str]:
    """The address of a new, migrated database, which is dropped afterwards."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(_database(postgres, "postgres"), autocommit=True) as admin:
        create_database(admin, name)
        yield _database(postgres, name)
        drop_database(admin, name)


@contextmanager
def empty_database(postgres: str, *, template: str = "template1") -> Iterator[str]:
    """The address of a new database in which nobody has been yet; it is dropped afterwards.

    From `template0` it has no extensions.
    """
    name = f"empty_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(_database(postgres, "postgres"), autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        yield _database(postgres, name)
        drop_database(admin, name)


@contextmanager
def superuser(address: str) -> Iterator[psycopg.Connection]:
    """A connection to a database of the embedded server as one who may do everything there."""
    above = make_url(address).set(username=SUPERUSER).render_as_string(hide_password=False)
    with psycopg.connect(above, autocommit=True) as admin:
        yield admin


def create_database(admin: psycopg.Connection, name: str) -> None:
    """Makes a migrated database."""
    admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE distill").format(sql.Identifier(name)))


def drop_database(admin: psycopg.Connection, name: str) -> None:
    """Drops a database under whoever uses it; one that is gone already is no fault.

    `WITH (FORCE)` would fail where autovacuum is at work, as its role is not ours to end; without it
    the server itself sends autovacuum away.
    """
    identifier = sql.Identifier(name)
    if not admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
        return
    admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(identifier))
    admin.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = %s AND usename = current_user",
        [name],
    )
    admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(identifier))


def _database(address: str, name: str) -> str:
    return make_url(address).set(database=name).render_as_string(hide_password=False)

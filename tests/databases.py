"""Fresh databases on the server of the test run."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from sqlalchemy import make_url

_numbers = itertools.count()


@contextmanager
def fresh_database(postgres: str) -> Iterator[str]:
    """The address of a new, migrated database, which is dropped afterwards."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(_database(postgres, "postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE distill").format(sql.Identifier(name)))
        yield _database(postgres, name)
        drop_database(admin, name)


def drop_database(admin: psycopg.Connection, name: str) -> None:
    """Drops a database under whoever uses it; one that is gone already is no fault."""
    admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _database(address: str, name: str) -> str:
    return make_url(address).set(database=name).render_as_string(hide_password=False)

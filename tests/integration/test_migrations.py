"""Migrations: what they make is what the models say, once, whoever runs them and how often."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from psycopg import sql
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.dialects.postgresql.base import ischema_names

from distill_grpc.db import migrate as migrations
from distill_grpc.db import replies
from distill_grpc.db.base import Base
from distill_grpc.db.migrate import check, migrate
from distill_grpc.db.vectors import Vector
from distill_grpc.feed import models
from distill_grpc.publishing import models as publishing_models
from tests import databases

VERSIONS = Path(migrations.__file__).parent / "migrations" / "versions"
REVISIONS = sorted(path.name.partition("_")[0] for path in VERSIONS.glob("[0-9]*.py"))


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """A database in which nobody has been yet."""
    with databases.empty_database(postgres) as address:
        yield address


def ask(database_url: str, query: str) -> list[Any]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(query.encode()).fetchall()


# Whoever has tables; importing them is what makes them known.
WITH_TABLES = (models, publishing_models, replies)


# So that reflection knows the type of vectors.
ischema_names["vector"] = Vector


def _ours(thing: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
    return not (kind == "table" and (name or "").startswith("procrastinate_"))


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(
        connection,
        opts={"include_object": _ours, "compare_type": True, "compare_server_default": True},
    )
    return list(compare_metadata(context, Base.metadata))


def test_the_migrations_make_what_the_models_say(database_url: str) -> None:
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    with engine.connect() as connection:
        assert differences(connection) == []
        connection.rollback()
        connection.execute(text("ALTER TABLE watches DROP COLUMN email"))
        assert differences(connection), "the comparison must notice something"
        connection.rollback()
    engine.dispose()


def test_the_search_column_is_generated_as_the_models_say(database_url: str) -> None:
    """Alembic does not compare the expressions of generated columns, so PostgreSQL does."""
    with psycopg.connect(database_url) as connection:
        query = """
            SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d
            JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
            WHERE a.attname = 'search' AND a.attrelid = %s::regclass
        """
        connection.execute(
            sql.SQL(
                "CREATE TABLE twin (title text, author text, content text, ai_tags text[],"
                " search tsvector GENERATED ALWAYS AS ({}) STORED)"
            ).format(sql.SQL(models.SEARCH_VECTOR))
        )
        migrated = connection.execute(query, ["items"]).fetchone()
        assert migrated == connection.execute(query, ["twin"]).fetchone()


def test_migrating_twice_applies_nothing_the_second_time(empty_database: str) -> None:
    assert check(empty_database) == REVISIONS
    assert migrate(empty_database) == REVISIONS
    assert migrate(empty_database) == []
    assert check(empty_database) == []


def test_looking_changes_nothing(empty_database: str) -> None:
    check(empty_database)
    assert ask(empty_database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [
        (0,)
    ]


def test_machines_that_migrate_at_the_same_time_apply_each_revision_once(
    empty_database: str,
) -> None:
    with ThreadPoolExecutor(4) as machines:
        applied = list(machines.map(migrate, [empty_database] * 4))
    assert sorted(applied) == [[], [], [], REVISIONS]
    assert ask(empty_database, "SELECT version_num FROM alembic_version") == [(REVISIONS[-1],)]


def test_processes_that_migrate_at_the_same_time_do_not_disturb_each_other(
    empty_database: str,
) -> None:
    code = (
        "import sys; from distill_grpc.db.migrate import migrate; print(len(migrate(sys.argv[1])))"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, empty_database], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    told = sorted(process.communicate(timeout=60)[0].strip() for process in running)
    assert told == ["0", "0", str(len(REVISIONS))]
    assert all(process.returncode == 0 for process in running)


def test_a_migration_that_fails_leaves_the_database_as_it_was_and_nobody_waiting(
    empty_database: str,
) -> None:
    with psycopg.connect(empty_database) as connection:
        connection.execute("CREATE TABLE items (nobodys text)")
    with pytest.raises(Exception, match="already exists"):
        migrate(empty_database)
    assert check(empty_database) == REVISIONS[1:]
    assert ask(empty_database, "SELECT to_regclass('watches') IS NULL") == [(True,)]
    with psycopg.connect(empty_database) as connection:
        connection.execute("DROP TABLE items")
    assert migrate(empty_database) == REVISIONS[1:]


def test_every_table_of_a_user_leads_its_key_with_the_user(database_url: str) -> None:
    leading = ask(
        database_url,
        """
        SELECT c.relname, a.attname FROM pg_index i
        JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
        WHERE i.indisprimary AND c.relnamespace = 'public'::regnamespace
          AND EXISTS (SELECT 1 FROM pg_attribute u WHERE u.attrelid = c.oid AND u.attname = 'user_id')
        """,
    )
    assert len(leading) >= 7
    assert {column for _, column in leading} == {"user_id"}

"""Brings a database to the newest schema. Safe to run from several machines at once."""

from __future__ import annotations

from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, create_engine, make_url, pool, text

from distill_grpc.db import vectors

log = structlog.get_logger()

# Any number that nobody else uses on the same database.
_LOCK = 7_240_118_392


def config(connection: Connection, target_metadata: MetaData | None = None) -> Config:
    """Alembic's configuration for a connection."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    made.attributes["connection"] = connection
    made.attributes["target_metadata"] = target_metadata
    return made


def migrate(database_url: str) -> list[str]:
    """Applies what is missing and returns the ids of the revisions that were applied.

    The column for vectors comes too, as soon as the server has pgvector.
    """
    with _connect(database_url) as connection:
        # A second caller waits here, then finds nothing left to do.
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
        try:
            missing = pending(connection)
            command.upgrade(config(connection), "head")
            connection.commit()
            if why := vectors.prepare(connection):
                log.info("no_vectors", why=why)
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
            connection.commit()
    return missing


def pending(connection: Connection) -> list[str]:
    """Ids of the revisions that the database lacks, oldest first."""
    scripts = ScriptDirectory.from_config(config(connection))
    heads = set(MigrationContext.configure(connection).get_current_heads())
    found = [step.revision for step in scripts.iterate_revisions("head", tuple(heads) or "base")]
    connection.commit()
    return list(reversed(found))


def check(database_url: str) -> list[str]:
    """The revisions that the database lacks; changes nothing."""
    with _connect(database_url) as connection:
        return pending(connection)


def _connect(database_url: str) -> Connection:
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    engine = create_engine(url, poolclass=pool.NullPool, connect_args={"connect_timeout": 5})
    return engine.connect()

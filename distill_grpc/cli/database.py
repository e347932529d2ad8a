"""The database of a process: the one that is configured, or the embedded one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeVar
from urllib.parse import urlsplit

import psycopg
import structlog
from alembic.script.revision import RevisionError
from alembic.util.exc import CommandError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc.cli.failure import Failure, last_line
from distill_grpc.db.embedded import EmbeddedPostgres, EmbeddedPostgresError
from distill_grpc.db.engine import create_engine
from distill_grpc.settings import Settings

_CHECK_INTERVAL = 2.0  # seconds between looks at the embedded server
_log = structlog.get_logger()
T = TypeVar("T")


@contextlib.asynccontextmanager
async def database(settings: Settings, *, migrate: bool) -> AsyncIterator[str]:
    """The DSN of a database that answers; `Failure` where there is none.

    The embedded server is started or joined where none is configured, watched meanwhile, and let go
    of at the end. With `migrate`, the schema is the newest.
    """
    if settings.database_url is not None:
        if migrate:
            await migrated(settings.database_url)
        yield settings.database_url
        return
    embedded = EmbeddedPostgres(settings.data_dir)
    try:
        try:
            dsn = await embedded.start()
        except EmbeddedPostgresError as error:
            raise Failure(str(error)) from None
        if migrate:
            await migrated(dsn)
        watching = asyncio.create_task(_keep_running(embedded))
        try:
            yield dsn
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    finally:
        try:
            await embedded.stop()
        except EmbeddedPostgresError as error:
            _log.error("database_not_stopped", error=str(error))


def with_engine(settings: Settings, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    """What `work` returns with the database of these settings; a command's own event loop runs it."""

    async def run() -> T:
        async with database(settings, migrate=settings.database_url is None) as dsn:
            engine = create_engine(dsn, pool_size=2)
            try:
                return await work(engine)
            finally:
                await engine.dispose()

    return asyncio.run(run())


async def migrated(dsn: str) -> list[str]:
    """Brings the schema up to date; returns the revisions that were applied."""
    from distill_grpc.db.migrate import migrate

    try:
        with _one_line(dsn):
            return await asyncio.to_thread(migrate, dsn)
    except (CommandError, RevisionError) as error:
        raise Failure(
            f"the schema of the database {named(dsn)} is none that this Distill knows ({error}); "
            "a newer Distill made it"
        ) from None


async def check_migrated(dsn: str) -> None:
    """`Failure` where the database does not answer or lacks what `distill migrate` would bring.

    A schema that a newer Distill made is no fault: it migrates first, while the old ones still run.
    """
    from distill_grpc.db.migrate import check

    try:
        with _one_line(dsn):
            missing = await asyncio.to_thread(check, dsn)
    except (CommandError, RevisionError) as error:
        _log.warning("database_is_newer", error=str(error))
        return
    if missing:
        raise Failure(f"the database {named(dsn)} is not up to date; run `distill migrate` first")


@contextlib.contextmanager
def _one_line(dsn: str) -> Iterator[None]:
    try:
        yield
    except (psycopg.OperationalError, SQLAlchemyError) as error:
        cause = getattr(error, "orig", None) or error
        raise Failure(f"the database {named(dsn)} does not answer: {last_line(cause)}") from None


def named(dsn: str) -> str:
    """A database for a message: host, port and name, without user and password."""
    parts = urlsplit(dsn)
    if not parts.hostname:
        return "(embedded)"
    return f"{parts.hostname}:{parts.port or 5432}{parts.path}"


async def _keep_running(embedded: EmbeddedPostgres) -> None:
    """Starts the server again where it died, at the same address."""
    while True:
        await asyncio.sleep(_CHECK_INTERVAL)
        if await asyncio.to_thread(embedded.is_running):
            continue
        _log.warning("database_died")
        try:
            await embedded.start()
            _log.info("database_started_again")
        except EmbeddedPostgresError as error:
            _log.error("database_not_started", error=str(error))

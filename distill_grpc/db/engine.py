"""The connection pool, and what a failing database means to a caller."""

from __future__ import annotations

import select
from typing import Any, cast

import psycopg
from psycopg.rows import TupleRow
from sqlalchemy import event, exc, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from distill_grpc.db import commits
from distill_grpc.db.driver import BoundedConnection

# The core holds a connection for the length of one statement or one short transaction, so a few
# of them saturate a CPU core; more only queue inside the server.
POOL_SIZE = 8


def create_engine(
    database_url: str,
    *,
    pool_size: int = POOL_SIZE,
    pool_timeout: float = 2.0,
    statement_timeout: float = 15.0,
) -> AsyncEngine:
    """A pool for one process; `pool_timeout` is how long, in seconds, to wait for a connection.

    `statement_timeout`, in seconds, bounds every statement; a transaction left open by a stopped
    process is ended by the server after ten seconds, so that its locks cannot outlive it. A dead or
    silent peer is noticed within about twenty seconds.
    """
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    options = (
        f"-c statement_timeout={int(statement_timeout * 1000)}"
        " -c idle_in_transaction_session_timeout=10000 -c timezone=UTC -c jit=off"
    )
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_timeout,
        pool_recycle=1800,
        hide_parameters=True,  # what users store is nobody's to read in an error
        connect_args={
            "async_creator_fn": BoundedConnection.connect,
            "options": options,
            "connect_timeout": 5,
            "keepalives_idle": 10,
            "keepalives_interval": 3,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
            "application_name": "distill",
        },
    )
    event.listen(engine.sync_engine.pool, "checkout", _refuse_dead)
    event.listen(engine.sync_engine, "commit", commits.note)
    return engine


def _refuse_dead(connection: Any, _record: object, _fairy: object) -> None:
    """Makes the pool replace a connection that died while nobody used it.

    A server that goes away closes the socket, and one that never speaks unasked has nothing else to
    say: looking at the socket costs microseconds, a ping (`pool_pre_ping`) a round trip.
    """
    driver = connection.driver_connection
    if driver.closed or _is_readable(driver.fileno()):
        raise exc.DisconnectionError


def _is_readable(descriptor: int) -> bool:
    looking = select.poll()
    looking.register(descriptor, select.POLLIN)
    return bool(looking.poll(0))


async def driver_connection(
    connection: AsyncConnection,
) -> psycopg.AsyncConnection[TupleRow]:
    """The psycopg connection below: the hot statements and the queue speak to it directly."""
    raw = await connection.get_raw_connection()
    return cast("psycopg.AsyncConnection[TupleRow]", raw.driver_connection)


def is_timeout(error: BaseException) -> bool:
    """True where the database gave up a statement because it took too long."""
    return isinstance(_cause(error), psycopg.errors.QueryCanceled)


def is_unavailable(error: BaseException) -> bool:
    """True where the database is away or overloaded, so that trying again later helps."""
    if isinstance(error, exc.TimeoutError):  # no connection of the pool came free
        return True
    cause = _cause(error)
    if isinstance(cause, psycopg.errors.QueryCanceled):
        return False
    return isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)


def _cause(error: BaseException) -> Any:
    return error.orig if isinstance(error, exc.DBAPIError) else error

"""The pool of connections: what dies unused is replaced before anybody meets it."""

from __future__ import annotations

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc.db.engine import driver_connection


async def _backends(engine: AsyncEngine, count: int) -> set[int]:
    """The server's process ids behind `count` connections that are held at once."""
    held = [await engine.connect() for _ in range(count)]
    query = text("SELECT pg_backend_pid()")
    found = {(await connection.execute(query)).scalar_one() for connection in held}
    for connection in held:
        await connection.close()
    return found


async def test_connections_that_died_unused_are_replaced_without_an_error(
    engine: AsyncEngine, database_url: str
) -> None:
    before = await _backends(engine, 3)
    with psycopg.connect(database_url, autocommit=True) as admin:
        for pid in before:
            # Waits until the process has gone, up to two seconds.
            admin.execute("SELECT pg_terminate_backend(%s, 2000)", [pid])
    after = await _backends(engine, 3)
    assert len(after) == 3
    assert not after & before


async def test_a_connection_that_was_closed_below_the_pool_is_replaced(
    engine: AsyncEngine,
) -> None:
    async with engine.connect() as connection:
        driver = await driver_connection(connection)
        pid = driver.info.backend_pid
    await driver.close()
    assert pid not in await _backends(engine, 1)


async def test_a_connection_in_good_health_is_kept(engine: AsyncEngine) -> None:
    assert await _backends(engine, 1) == await _backends(engine, 1)

"""What every list tells besides its items: that the user watches, and how far each account was read.

One narrow statement on the driver's connection: it runs with every list, and the cursors of
hundreds of feeds, which the whole rows would carry along, are of no use there.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import LiteralString, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.db.engine import driver_connection


class Reading(NamedTuple):
    """How the last reads of a connection, or of one of its parts, went."""

    source: str
    last_success_at: datetime | None
    next_attempt_at: datetime | None
    permanent: bool
    failures: int
    gap_until: datetime | None = None


class Standing(NamedTuple):
    """An active watch, and the readings of the user's connections and of their parts."""

    interval: timedelta
    connections: list[Reading]
    parts: list[Reading]


_STANDING: LiteralString = """
SELECT sync_interval, is_part, source, last_success_at, next_attempt_at, permanent, failures,
  gap_until
FROM watches LEFT JOIN (
  SELECT false AS is_part, user_id, source, last_success_at, next_attempt_at, permanent, failures,
    NULL::timestamptz AS gap_until
  FROM connections WHERE user_id = %(user_id)s
  UNION ALL
  SELECT true, user_id, source, last_success_at, next_attempt_at, permanent, failures, gap_until
  FROM connection_parts WHERE user_id = %(user_id)s
) AS readings USING (user_id)
WHERE user_id = %(user_id)s AND unwatched_at IS NULL
"""


async def get_standing(connection: AsyncConnection, user_id: str) -> Standing | None:
    """None where the user does not watch."""
    driver = await driver_connection(connection)
    async with driver.cursor(binary=True) as cursor:
        await cursor.execute(_STANDING, {"user_id": user_id})
        rows = await cursor.fetchall()
    if not rows:
        return None
    readings: dict[bool | None, list[Reading]] = {False: [], True: [], None: []}
    for row in rows:
        readings[row[1]].append(Reading._make(row[2:]))
    return Standing(timedelta(seconds=rows[0][0]), readings[False], readings[True])

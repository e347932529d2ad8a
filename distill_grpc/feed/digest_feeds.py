"""A user's digests as a feed behind a secret address: RSS 2.0, Atom (RFC 4287), JSON Feed 1.1."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed import digest_pages, preferring, watching
from distill_grpc.feed.link_tokens import new_token, token_hash
from distill_grpc.feed.periods import following
from distill_grpc.feed.store import preferences, summaries
from distill_grpc.syndication import Entry, Feed, write

ENTRIES = 30
_RUNNING = 2  # dates at most whose period is not over in every time zone: left out
_NAMESPACE = uuid.UUID("5f0d2f8c-6a0b-4f3e-9a57-1f6c1d0c9f3e")


async def create(connection: AsyncConnection, user_id: str, now: datetime) -> str:
    """A new token for the user's feed; the one before stops working. Raises NOT_WATCHING."""
    await watching.require_watch(connection, user_id)
    token = new_token()
    if not await preferences.update_preferences(connection, user_id, feed_hash=token_hash(token)):
        await preferences.upsert_preferences(
            connection,
            user_id,
            **preferring.DEFAULTS,
            credits_available=False,
            feed_hash=token_hash(token),
            updated_at=clock.whole_seconds(now),
        )
    return token


async def revoke(connection: AsyncConnection, user_id: str) -> None:
    """Ends the user's feed; raises NOT_FOUND where there is none."""
    row = await preferences.get_preferences(connection, user_id, lock=True)
    if row is None or row.feed_hash is None:
        raise DistillError(ErrorReason.NOT_FOUND, "There is no feed of digests.")
    await preferences.update_preferences(connection, user_id, feed_hash=None)


async def read(connection: AsyncConnection, token: str, kind: str, address: str) -> bytes:
    """The feed of a token in one of `syndication.TYPES`; `address` is its own. Raises NOT_FOUND."""
    row = await preferences.get_by_feed(connection, token_hash(token))
    if row is None:
        raise DistillError(ErrorReason.NOT_FOUND, "There is no such feed, or it was ended.")
    kept = [
        digest
        for period in preferences.SCHEDULES
        for digest in await summaries.list_kept(
            connection, row.user_id, period, row.tz, ENTRIES + _RUNNING
        )
        if digest.generated_at >= preferring.end_of(period, digest.date, digest.tz)
    ]
    kept.sort(key=lambda digest: (following(digest.period, digest.date), digest.period))
    kept = kept[-ENTRIES:][::-1]
    return write(_feed(kept, address, row.updated_at), kind)


def _feed(kept: Sequence[Row[Any]], address: str, since: datetime) -> Feed:
    return Feed(
        id=f"urn:uuid:{uuid.uuid5(_NAMESPACE, address)}",
        title="Distill digests",
        description="What mattered in your feeds",
        author="Distill",
        address=address,
        updated=kept[0].generated_at if kept else since,
        entries=[
            Entry(
                # The same for a digest that was made anew: readers show it once.
                id=f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest_pages.identity(row))}",
                title=digest_pages.title(row),
                html=digest_pages.as_html(row),
                text=digest_pages.as_text(row),
                published=row.generated_at,
                updated=row.generated_at,
            )
            for row in kept
        ],
    )

"""Pushes: a platform says that something is new, and the next sync comes at once.

A push is a hint, never content: it is proven by its signature, makes the user's watch due and ends
the pause of the parts that it concerns. What is stored comes through a sync like any other. A
platform's own window (`retry_at`) holds all the same.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from prometheus_client import Counter
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.encryption import Keyring
from distill_grpc.feed.store import pushes
from distill_grpc.sources.base import Source
from distill_grpc.sources.pushes import webhooks_of

MISSES = Counter(
    "distill_push_misses_total", "News that polling found and no hub had pushed.", ["source"]
)

# Two syncs that pushes bring about lie at least this far apart.
SPACING = timedelta(seconds=10)
# A hub may take this long until its push counts as missing.
PATIENCE = timedelta(minutes=15)
# Misses in a row after which none of a hub's subscriptions is relied on.
MANY_MISSES = 3
# How long deliveries are remembered.
REMEMBERED = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Secrets:
    """What an endpoint's row seals: the secret part of its address, and the secret that signs."""

    key: str
    secret: str


@dataclass(frozen=True, slots=True)
class Pushing:
    """Our side of pushes. `public_url` is where platforms reach the REST door."""

    keyring: Keyring
    public_url: str

    def url(self, row: Row[Any]) -> str:
        """The address of an endpoint."""
        return f"{self.public_url.rstrip('/')}/webhooks/{row.source}/{self.opened(row).key}"

    def opened(self, row: Row[Any]) -> Secrets:
        """The secrets of an endpoint; raises `CannotDecrypt`."""
        found = self.keyring.open(row.sealed, context=endpoint_context(row.user_id, row.id))
        return Secrets(**orjson.loads(found))

    async def follow_account(
        self,
        connection: AsyncConnection,
        user_id: str,
        source: Source,
        credentials: Mapping[str, Any],
        now: datetime,
    ) -> None:
        """Gives an account that was just connected an address where its platform pushes for accounts.

        It has one as long as the secret that signs is among its credentials. Parts that are gone are
        no longer subscribed to.
        """
        name = source.info.name
        webhooks = webhooks_of(source)
        if webhooks is not None and credentials.get(webhooks.secret):
            if await pushes.get_of_part(connection, user_id, name, "") is None:
                await self._insert(connection, user_id, name, part="", created_at=now)
        elif webhooks is not None:
            await pushes.delete_of_account(connection, user_id, name)
        await pushes.leave_orphans(connection, user_id, name, now)

    async def offered(
        self,
        connection: AsyncConnection,
        user_id: str,
        source: str,
        part: str,
        *,
        hub: str,
        topic: str,
        now: datetime,
    ) -> None:
        """A part named its hub, or none: subscribes, or ends what was subscribed to elsewhere."""
        known = await pushes.get_of_part(connection, user_id, source, part)
        if known is not None and (known.hub, known.topic) == (hub, topic):
            if known.due_at is None:  # nobody watched for a while
                await pushes.update_endpoint(connection, user_id, known.id, due_at=now, failures=0)
            return
        if known is not None:
            await pushes.update_endpoint(
                connection, user_id, known.id, state="leaving", due_at=now, failures=0
            )
        if hub:
            await self._insert(
                connection,
                user_id,
                source,
                part=part,
                hub=hub,
                topic=topic,
                created_at=now,
                due_at=now,
            )

    async def _insert(
        self, connection: AsyncConnection, user_id: str, source: str, **values: Any
    ) -> None:
        own = Secrets(key=secrets.token_urlsafe(24), secret=secrets.token_urlsafe(32))
        identity = uuid.uuid4()
        sealed = self.keyring.seal(
            orjson.dumps({"key": own.key, "secret": own.secret}),
            context=endpoint_context(user_id, identity),
        )
        await pushes.insert_endpoint(
            connection,
            user_id=user_id,
            id=identity,
            source=source,
            key_hash=key_hash(own.key),
            sealed=sealed,
            **values,
        )


def key_hash(key: str) -> bytes:
    """What is stored of the secret part of an address, to find it by."""
    return hashlib.sha256(key.encode()).digest()


def is_relied_on(endpoint: Row[Any] | None, now: datetime) -> bool:
    """Whether a part is pushed so well that polling it once a day is enough."""
    return (
        endpoint is not None
        and endpoint.hub is not None
        and endpoint.state == "active"
        and endpoint.lease_until > now
        and endpoint.misses == 0
        and endpoint.hub_misses < MANY_MISSES
    )


async def end_pushes(
    connection: AsyncConnection,
    row: Row[Any],
    *,
    state: str,
    message: str | None,
    due_at: datetime | None,
    now: datetime,
) -> None:
    """Ends what a hub pushed for a part, which from then on is polled as usual."""
    if row.state == "active":
        await pushes.make_due(connection, row.user_id, now, SPACING)
        await pushes.resume_polling(connection, row.user_id, row.source, row.part)
    await pushes.settle_endpoint(
        connection, row.user_id, row.id, state=state, message=message, due_at=due_at
    )


def endpoint_context(user_id: str, identity: UUID) -> tuple[str, ...]:
    """Names the place of an endpoint's sealed secrets."""
    return ("push_endpoints", "sealed", user_id, str(identity))

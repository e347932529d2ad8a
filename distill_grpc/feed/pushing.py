"""Pushes: a platform says that something is new, and the next sync comes at once.

A push is a hint, never content: it is proven by its signature, makes the user's watch due and ends
the pause of the parts that it concerns. What is stored comes through a sync like any other. A
platform's own window (`retry_at`) holds all the same.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import structlog
from prometheus_client import Counter
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.encryption import CannotDecrypt, Keyring
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed.store import connections, pushes
from distill_grpc.sources import websub
from distill_grpc.sources.base import Source
from distill_grpc.sources.pushes import Answer, Forged, Push, Webhooks, webhooks_of, websub_of

log = structlog.get_logger()

PUSHES = Counter(
    "distill_pushes_total", "Pushes that came in, by source and what became of them.",
    ["source", "outcome"],
)  # fmt: skip
MISSES = Counter(
    "distill_push_misses_total", "News that polling found and no hub had pushed.", ["source"]
)

MAX_BODY = 1 << 20
# Two syncs that pushes bring about lie at least this far apart.
SPACING = timedelta(seconds=10)
# A hub may take this long until its push counts as missing.
PATIENCE = timedelta(minutes=15)
# Misses in a row after which none of a hub's subscriptions is relied on.
MANY_MISSES = 3
# How long deliveries are remembered.
REMEMBERED = timedelta(days=7)
# A part of a lease after which it is renewed, and when a hub is asked again that refused.
RENEWED_AFTER = 0.75
AFTER_DENIAL = timedelta(days=7)

OpenCredentials = Callable[[Row[Any]], Mapping[str, Any]]


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
        found = self.keyring.open(row.sealed, context=_context(row.user_id, row.id))
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

    async def receive(
        self,
        connection: AsyncConnection,
        source: Source,
        key: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        open_credentials: OpenCredentials,
        now: datetime,
    ) -> None:
        """Takes a push.

        Raises NOT_FOUND for an address that is not known (GONE where hubs push, who then stop), and
        AUTHENTICATION_FAILED for a wrong signature (which hubs are not told).
        """
        name = source.info.name
        hubs = websub_of(source) is not None
        if len(body) > MAX_BODY:
            raise DistillError(
                ErrorReason.PAYLOAD_TOO_LARGE, details={"limit": f"{MAX_BODY} bytes"}
            )
        row = await pushes.find_by_key(connection, name, key_hash(key))
        if row is None or row.state in {"leaving", "denied"}:
            PUSHES.labels(name, "unknown").inc()
            raise DistillError(ErrorReason.GONE if hubs else ErrorReason.NOT_FOUND)
        try:
            webhooks = webhooks_of(source)
            secret = await self._secret(connection, row, webhooks, open_credentials)
            push = _proven(webhooks if row.hub is None else None, secret, headers, body)
        except (Forged, CannotDecrypt):
            PUSHES.labels(name, "forged").inc()
            log.warning("push_refused", source=name, endpoint=str(row.id))
            if row.hub is not None:
                return  # W3C WebSub, section 7.1.1: answered as if it had been good
            raise DistillError(
                ErrorReason.AUTHENTICATION_FAILED, "The signature does not match the body."
            ) from None
        await self._take(connection, row, push, now)

    async def confirm(
        self,
        connection: AsyncConnection,
        source: Source,
        key: str,
        *,
        mode: str,
        topic: str,
        challenge: str,
        lease_seconds: int | None,
        reason: str,
        now: datetime,
    ) -> Answer:
        """Answers a hub's question for our intent (W3C WebSub, section 5.3); raises NOT_FOUND."""
        row = await pushes.find_by_key(connection, source.info.name, key_hash(key))
        if row is None or row.hub is None or row.topic != topic:
            raise DistillError(ErrorReason.NOT_FOUND)
        text = Answer("text/plain; charset=utf-8", challenge.encode())
        if mode == "denied":
            if row.state != "leaving":
                await end_pushes(
                    connection,
                    row,
                    state="denied",
                    message=f"The hub refused: {reason[:300]}" if reason else "The hub refused.",
                    due_at=now + AFTER_DENIAL,
                    now=now,
                )
            return Answer("text/plain; charset=utf-8", b"")
        wanted = "unsubscribe" if row.state == "leaving" else "subscribe"
        if mode != wanted or not challenge:
            raise DistillError(ErrorReason.NOT_FOUND)
        if mode == "unsubscribe":
            await pushes.delete_endpoint(connection, row.user_id, row.id)
            return text
        lease = websub.lease_of(lease_seconds)
        await pushes.update_endpoint(
            connection,
            row.user_id,
            row.id,
            state="active",
            message=None,
            failures=0,
            lease_until=now + lease,
            due_at=now + lease * RENEWED_AFTER,
        )
        log.info("push_subscribed", endpoint=str(row.id), seconds=int(lease.total_seconds()))
        return text

    async def respond(
        self,
        connection: AsyncConnection,
        source: Source,
        key: str,
        token: str,
        *,
        open_credentials: OpenCredentials,
    ) -> Answer:
        """Answers a platform's challenge; raises NOT_FOUND where it has none to make."""
        row = await pushes.find_by_key(connection, source.info.name, key_hash(key))
        webhooks = webhooks_of(source)
        if row is not None and webhooks is not None:
            secret = await _credential(connection, row, webhooks.secret, open_credentials)
            answer = webhooks.respond(secret, token) if secret else None
            if answer is not None:
                await pushes.update_endpoint(connection, row.user_id, row.id, state="active")
                return answer
        raise DistillError(ErrorReason.NOT_FOUND)

    async def _secret(
        self,
        connection: AsyncConnection,
        row: Row[Any],
        webhooks: Webhooks | None,
        open_credentials: OpenCredentials,
    ) -> str:
        """What signs the pushes to an endpoint; empty where nothing does, and none is taken."""
        if row.hub is not None:
            return self.opened(row).secret
        if webhooks is None:
            return ""
        return await _credential(connection, row, webhooks.secret, open_credentials)

    async def _take(
        self, connection: AsyncConnection, row: Row[Any], push: Push, now: datetime
    ) -> None:
        if not await pushes.insert_delivery(connection, row.user_id, row.id, push.id, now):
            PUSHES.labels(row.source, "repeated").inc()
            return
        if push.news:
            await pushes.make_due(connection, row.user_id, now, SPACING)
            await pushes.mark_pushed(connection, row.user_id, row.source, row.part)
        active = {} if row.hub is not None else {"state": "active"}
        await pushes.update_endpoint(
            connection, row.user_id, row.id, last_delivery_at=now, misses=0, **active
        )
        if row.hub is not None:
            await pushes.forgive_hub(connection, row.hub)
        PUSHES.labels(row.source, "taken" if push.news else "greeting").inc()

    async def _insert(
        self, connection: AsyncConnection, user_id: str, source: str, **values: Any
    ) -> None:
        own = Secrets(key=secrets.token_urlsafe(24), secret=secrets.token_urlsafe(32))
        identity = uuid.uuid4()
        sealed = self.keyring.seal(
            orjson.dumps({"key": own.key, "secret": own.secret}),
            context=_context(user_id, identity),
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
    await pushes.update_endpoint(
        connection, row.user_id, row.id, state=state, message=message, due_at=due_at
    )


def _proven(
    webhooks: Webhooks | None, secret: str, headers: Mapping[str, str], body: bytes
) -> Push:
    """The push of a platform, or of a hub where `webhooks` is None; raises `Forged`."""
    if not secret:
        raise Forged
    receive = websub.receive if webhooks is None else webhooks.receive
    return receive(secret, headers, body)


async def _credential(
    connection: AsyncConnection, row: Row[Any], name: str, open_credentials: OpenCredentials
) -> str:
    """A credential of the account that an endpoint belongs to; empty where it is not there."""
    account = await connections.get_connection(connection, row.user_id, row.source)
    if account is None:
        return ""
    try:
        return str(open_credentials(account).get(name) or "")
    except DistillError:  # no key opens them any more
        return ""


def _context(user_id: str, identity: UUID) -> tuple[str, ...]:
    return ("push_endpoints", "sealed", user_id, str(identity))

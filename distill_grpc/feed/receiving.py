"""What comes in at our addresses: pushes, and the questions by which platforms prove them.

Wrong signatures, unknown addresses and repeated deliveries have no effect; each platform is answered
as its protocol says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from prometheus_client import Counter
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.encryption import CannotDecrypt
from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed import pushing
from distill_grpc.feed.pushing import Pushing, key_hash
from distill_grpc.feed.store import connections, pushes
from distill_grpc.sources import websub
from distill_grpc.sources.base import Source
from distill_grpc.sources.pushes import Answer, Forged, Push, Webhooks, webhooks_of, websub_of

log = structlog.get_logger()

PUSHES = Counter(
    "distill_pushes_total",
    "Pushes that came in, by source and what became of them.",
    ["source", "outcome"],
)

MAX_BODY = 1 << 20
# The part of a lease after which it is renewed.
RENEWED_AFTER = 0.75
# When a hub is asked again that refused.
AFTER_DENIAL = timedelta(days=7)
_TEXT = "text/plain; charset=utf-8"

OpenCredentials = Callable[[Row[Any]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Receiver:
    """Takes pushes and answers questions. `open_credentials` unseals what a connection row holds."""

    pushing: Pushing
    open_credentials: OpenCredentials

    async def receive(
        self,
        connection: AsyncConnection,
        source: Source,
        key: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
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
            secret = await self._secret(connection, row, webhooks)
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
        text = Answer(_TEXT, challenge.encode())
        if mode == "denied":
            if row.state != "leaving":
                await pushing.end_pushes(
                    connection,
                    row,
                    state="denied",
                    message=f"The hub refused: {reason[:300]}" if reason else "The hub refused.",
                    due_at=now + AFTER_DENIAL,
                    now=now,
                )
            return Answer(_TEXT, b"")
        wanted = "unsubscribe" if row.state == "leaving" else "subscribe"
        if mode != wanted or not challenge:
            raise DistillError(ErrorReason.NOT_FOUND)
        if mode == "unsubscribe":
            await pushes.delete_endpoint(connection, row.user_id, row.id)
            return text
        lease = websub.lease_of(lease_seconds)
        if not await pushes.settle_endpoint(
            connection,
            row.user_id,
            row.id,
            state="active",
            message=None,
            failures=0,
            lease_until=now + lease,
            due_at=now + lease * RENEWED_AFTER,
        ):
            raise DistillError(ErrorReason.NOT_FOUND)  # it was unsubscribed meanwhile
        log.info("push_subscribed", endpoint=str(row.id), seconds=int(lease.total_seconds()))
        return text

    async def respond(
        self,
        connection: AsyncConnection,
        source: Source,
        key: str,
        token: str,
    ) -> Answer:
        """Answers a platform's challenge; raises NOT_FOUND where it has none to make."""
        row = await pushes.find_by_key(connection, source.info.name, key_hash(key))
        webhooks = webhooks_of(source)
        if row is not None and webhooks is not None:
            secret = await _credential(connection, row, webhooks.secret, self.open_credentials)
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
    ) -> str:
        """What signs the pushes to an endpoint; empty where nothing does, and none is taken."""
        if row.hub is not None:
            return self.pushing.opened(row).secret
        if webhooks is None:
            return ""
        return await _credential(connection, row, webhooks.secret, self.open_credentials)

    async def _take(
        self, connection: AsyncConnection, row: Row[Any], push: Push, now: datetime
    ) -> None:
        if not await pushes.insert_delivery(connection, row.user_id, row.id, push.id, now):
            PUSHES.labels(row.source, "repeated").inc()
            return
        if push.news:
            await pushes.make_due(connection, row.user_id, now, pushing.SPACING)
            await pushes.mark_pushed(connection, row.user_id, row.source, row.part)
        active = {} if row.hub is not None else {"state": "active"}
        await pushes.update_endpoint(
            connection, row.user_id, row.id, last_delivery_at=now, misses=0, **active
        )
        if row.hub is not None:
            await pushes.forgive_hub(connection, row.hub)
        PUSHES.labels(row.source, "taken" if push.news else "greeting").inc()


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

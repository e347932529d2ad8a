"""The end of a subscription by a link in a mail: a page that asks, and one that says it is done."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.mail import unsubscribe_pages
from distill_grpc.publishing.links import SubscriptionLinks
from distill_grpc.publishing.store import accounts
from distill_grpc.publishing.store import subscriptions as store

ACTIVE, CANCELLED = "active", "cancelled"


async def question(connection: AsyncConnection, links: SubscriptionLinks, token: str) -> bytes:
    """The page that asks; raises NOT_FOUND where the token was not made here."""
    _, _, name = await _known(connection, links, token)
    return unsubscribe_pages.question(f"Get no more mails about new posts by {name}?")


async def end(
    connection: AsyncConnection, links: SubscriptionLinks, token: str, *, now: datetime
) -> bytes:
    """Ends the subscription, once; the page that says so. Raises NOT_FOUND as `question`."""
    subscriber_id, creator_id, name = await _known(connection, links, token)
    known = await store.get_subscription(connection, subscriber_id, creator_id)
    if known is not None and known.status == ACTIVE:
        await store.update_subscription(
            connection, subscriber_id, creator_id, status=CANCELLED, cancelled_at=now
        )
    return unsubscribe_pages.done(f"You get no more mails about new posts by {name}.")


async def _known(
    connection: AsyncConnection, links: SubscriptionLinks, token: str
) -> tuple[UUID, UUID, str]:
    pair = links.pair(token)
    creator = None if pair is None else await accounts.get_account(connection, pair[1])
    if pair is None or creator is None:
        raise DistillError(ErrorReason.NOT_FOUND, "This address was not made here.")
    return (*pair, creator.username)

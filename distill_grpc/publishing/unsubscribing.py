"""The end of a subscription by a link in a mail: a page that asks, and one that says it is done.

Looking changes nothing, as programs look at links too (RFC 8058, 3.2).
"""

from __future__ import annotations

from datetime import datetime
from html import escape
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.publishing.links import SubscriptionLinks
from distill_grpc.publishing.store import accounts
from distill_grpc.publishing.store import subscriptions as store

ACTIVE, CANCELLED = "active", "cancelled"


async def question(connection: AsyncConnection, links: SubscriptionLinks, token: str) -> str:
    """The page that asks; raises NOT_FOUND where the token was not made here."""
    _, _, name = await _known(connection, links, token)
    return _page(
        f"Get no more mails about new posts by {name}?",
        '<form method="post"><button type="submit" name="List-Unsubscribe" value="One-Click">'
        "No more mails</button></form>",
    )


async def end(
    connection: AsyncConnection, links: SubscriptionLinks, token: str, *, now: datetime
) -> str:
    """Ends the subscription, once; the page that says so. Raises NOT_FOUND as `question`."""
    subscriber_id, creator_id, name = await _known(connection, links, token)
    known = await store.get_subscription(connection, subscriber_id, creator_id)
    if known is not None and known.status == ACTIVE:
        await store.update_subscription(
            connection, subscriber_id, creator_id, status=CANCELLED, cancelled_at=now
        )
    return _page(f"You get no more mails about new posts by {name}.", "")


async def _known(
    connection: AsyncConnection, links: SubscriptionLinks, token: str
) -> tuple[UUID, UUID, str]:
    pair = links.pair(token)
    creator = None if pair is None else await accounts.get_account(connection, pair[1])
    if pair is None or creator is None:
        raise DistillError(ErrorReason.NOT_FOUND, "This address was not made here.")
    return (*pair, creator.username)


def _page(said: str, more: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Subscription</title></head>'
        f"<body><p>{escape(said)}</p>{more}</body></html>"
    )

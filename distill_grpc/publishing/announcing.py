"""The job `send_new_post_notifications` (seed 001): a delivery for each subscriber of a post.

The mails themselves go out by `notifying.py`. The job may run any number of times, and be ended at
any place: a subscriber has one delivery.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.publishing.feeds import Addresses
from distill_grpc.publishing.pinging import PING_JOB
from distill_grpc.publishing.store import deliveries, outbox
from distill_grpc.publishing.store import posts as store

log = structlog.get_logger()

BATCH = 5_000  # subscribers of one statement


@dataclass(frozen=True, slots=True)
class Announcer:
    """Makes the deliveries of a published post."""

    engine: AsyncEngine
    addresses: Addresses

    async def run(self, post_id: str) -> None:
        """The job. Goes to those who had subscribed when the post was published."""
        wanted = UUID(post_id)
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        async with self.engine.begin() as connection:
            post = await store.get_post(connection, wanted)
            if post is None or post.published_at is None:
                log.warning("announcement_of_no_post", post_id=post_id)
                return
            announcement = await deliveries.insert_announcement(connection, wanted, request_id)
        if announcement.fanned_out_at is not None:
            return
        after = None
        while True:
            async with self.engine.begin() as connection:
                after = await deliveries.insert_deliveries(
                    connection,
                    post.id,
                    post.creator_id,
                    subscribed_before=post.published_at,
                    after=after,
                    limit=BATCH,
                )
                if after is not None:
                    continue
                await deliveries.mark_fanned_out(connection, post.id)
                if self.addresses.hub is not None:
                    payload = {"creator_id": str(post.creator_id), "request_id": request_id}
                    await outbox.insert_entry(
                        connection, PING_JOB, post_id, payload, clock.utc_now()
                    )
                break
        log.info("post_announced", post_id=post_id)

"""What reading an account learns about its pushes: who pushes what, and what nobody pushed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.feed import pushing
from distill_grpc.feed.pushing import Pushing
from distill_grpc.feed.store import pushes
from distill_grpc.sources.base import Page


@dataclass(slots=True)
class PushedParts:
    """The endpoints of one account while it is read. Without `pushing` there are none."""

    user_id: str
    source: str
    pushing: Pushing | None
    _endpoints: dict[str, Row[Any]] = field(default_factory=dict)

    async def load(self, connection: AsyncConnection) -> None:
        """Reads what is subscribed to."""
        if self.pushing is not None:
            rows = await pushes.list_of_user(connection, self.user_id, self.source)
            self._endpoints = {row.part: row for row in rows}

    def has_missed(self, page: Page, known: Row[Any] | None, *, new: int, now: datetime) -> bool:
        """Whether polling found something that a hub should have pushed.

        `known` is the part as it was before it was read, `new` how many items were new. What was
        published after the last read, and so long ago that the push cannot be on its way, is missed.
        """
        endpoint = self._endpoints.get(page.part)
        if not new or known is None or known.last_success_at is None:
            return False
        if known.pushed_at is not None or not pushing.is_relied_on(endpoint, now):
            return False
        latest = now - pushing.PATIENCE
        return any(
            item.published_at is not None and known.last_success_at < item.published_at < latest
            for item in page.items
        )

    def relied_on(self, part: str, now: datetime) -> bool:
        """Whether polling a part once a day is enough."""
        return pushing.is_relied_on(self._endpoints.get(part), now)

    async def learn(
        self, connection: AsyncConnection, page: Page, *, missed: bool, now: datetime
    ) -> None:
        """Stores what a page said of its hub, and what the hub missed."""
        if self.pushing is None:
            return
        endpoint = self._endpoints.get(page.part)
        if missed and endpoint is not None:
            await pushes.add_miss(connection, self.user_id, endpoint.id, endpoint.hub, now)
            pushing.MISSES.labels(self.source).inc()
        if page.hub is not None and (page.hub or endpoint is not None):
            await self.pushing.offered(
                connection,
                self.user_id,
                self.source,
                page.part,
                hub=page.hub,
                topic=page.topic,
                now=now,
            )

    async def read_until(
        self, connection: AsyncConnection, until: datetime, parts: list[str]
    ) -> None:
        """What was pushed for these parts up to `until` has been read."""
        if parts:
            await pushes.clear_pushed(
                connection, self.user_id, self.source, until=until, parts=parts
            )

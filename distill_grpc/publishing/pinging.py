"""Tells a WebSub hub that a creator's feeds have changed (W3C WebSub, 7)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID

from distill_grpc.publishing.feeds import Addresses
from distill_grpc.sources.http import HttpClient
from distill_grpc.syndication import TYPES

PING_JOB = "ping_hub"
_FORM = "application/x-www-form-urlencoded"


class HubRefused(Exception):  # noqa: N818 -- an outcome
    """The hub did not take the ping; it is tried again."""


@dataclass(frozen=True, slots=True)
class HubPinger:
    """Pings the hub that the feeds name."""

    addresses: Addresses
    http: HttpClient

    async def run(self, creator_id: str) -> None:
        """The job; a ping more than needed does no harm."""
        hub = self.addresses.hub
        if hub is None:
            return  # it was taken away since
        feeds = [self.addresses.feed(UUID(creator_id), kind) for kind in TYPES]
        form = urlencode([("hub.mode", "publish"), *(("hub.url", feed) for feed in feeds)])
        answer = await self.http.request(
            "POST", hub, headers={"Content-Type": _FORM}, body=form.encode()
        )
        if answer.status >= 300:
            raise HubRefused(f"the hub answered {answer.status}")

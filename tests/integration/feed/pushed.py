"""Accounts that platforms push to, and what the platforms do."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from distill_grpc.feed.pushing import Pushing
from distill_grpc.feed.receiving import Receiver
from distill_grpc.feed.store import pushes
from distill_grpc.feed.subscribing import Subscriber
from distill_grpc.sources.github_webhooks import GithubWebhooks
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.pushes import Answer
from distill_grpc.sources.websub import WebSub
from tests.integration.feed.scripted import ScriptedSource
from tests.integration.feed.world import USER, World

SECRET = "It's a Secret to Everybody"
TOPIC = "https://blog.example/self"


@dataclass
class Pushed:
    """A world whose source is pushed to."""

    world: World

    @property
    def pushing(self) -> Pushing:
        return self.world.pushing

    @property
    def receiver(self) -> Receiver:
        """What takes pushes."""
        return Receiver(self.pushing, self.world.open_credentials)

    async def endpoint(
        self, part: str = "", user: str = USER, source: str = "scripted"
    ) -> Row[Any]:
        """The endpoint of a part, or of the account."""
        async with self.world.engine.connect() as connection:
            found = await pushes.get_of_part(connection, user, source, part)
        assert found is not None
        return found

    async def endpoints(self) -> list[Row[Any]]:
        """Every endpoint that is there, those that are leaving too."""
        return list(await self.world.ask("SELECT * FROM push_endpoints ORDER BY created_at, id"))

    def key(self, row: Row[Any]) -> str:
        """The secret part of its address."""
        return self.pushing.opened(row).key

    async def deliver(
        self,
        key: str,
        delivery: str = "d-1",
        body: bytes = b"{}",
        *,
        secret: str = SECRET,
        **more: str,
    ) -> None:
        """What GitHub does."""
        signature = "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()
        headers = {"x-hub-signature-256": signature, "x-github-delivery": delivery, **more}
        await self.receive(key, headers, body)

    async def publish(self, row: Row[Any], body: bytes = b"<feed/>", **more: str) -> None:
        """What a hub does."""
        secret = self.pushing.opened(row).secret
        signature = "sha1=" + hmac.digest(secret.encode(), body, "sha1").hex()
        await self.receive(self.key(row), {"x-hub-signature": signature, **more}, body)

    async def receive(self, key: str, headers: dict[str, str], body: bytes) -> None:
        """What POST /webhooks/{source}/{key} does."""
        async with self.world.engine.begin() as connection:
            await self.receiver.receive(
                connection, self.world.source, key, headers, body, now=self.world.now()
            )

    async def confirm(self, row: Row[Any], **changes: Any) -> Answer:
        """What a hub's question does."""
        asked = {
            "mode": "subscribe",
            "topic": row.topic,
            "challenge": "c",
            "lease_seconds": 864_000,
        }
        async with self.world.engine.begin() as connection:
            return await self.receiver.confirm(
                connection,
                self.world.source,
                self.key(row),
                **{"reason": "", **asked, **changes},
                now=self.world.now(),
            )

    def subscriber(self, engine: Any = None) -> Subscriber:
        """A worker's part that asks hubs."""
        return Subscriber(
            engine=engine or self.world.engine,
            sources=self.world.sources,
            pushing=self.pushing,
            now=self.world.now,
        )


class PushedSource(ScriptedSource):
    """Plays a script; its platform pushes for accounts as GitHub does."""

    def __init__(self, name: str = "scripted", parts: tuple[str, ...] = ("a", "b")) -> None:
        super().__init__(name, parts)
        self.webhooks = GithubWebhooks()


class HubbedSource(ScriptedSource):
    """Plays a script; hubs push its parts."""

    def __init__(self, http: HttpClient, parts: tuple[str, ...] = ("a", "b")) -> None:
        super().__init__("scripted", parts)
        self.websub = WebSub(http)

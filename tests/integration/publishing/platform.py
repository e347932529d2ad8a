"""A database with creators and subscribers in it, and the parts that tell them of posts."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc.auth import Caller
from distill_grpc.feed.link_tokens import LinkTokens
from distill_grpc.jobs.queue import JobQueue
from distill_grpc.publishing import posts
from distill_grpc.publishing.analytics import EventProcessor
from distill_grpc.publishing.announcing import Announcer
from distill_grpc.publishing.feeds import Addresses
from distill_grpc.publishing.links import SubscriptionLinks
from distill_grpc.publishing.models import Subscription, User
from distill_grpc.publishing.relaying import Relay

ADDRESSES = Addresses("https://distill.example")
KEY = b"k" * 32
_numbers = itertools.count(1)


def links() -> SubscriptionLinks:
    """Links as the service makes them."""
    tokens = LinkTokens(KEY)
    return SubscriptionLinks(tokens.sign, tokens.read)


def caller(user_id: UUID) -> Caller:
    """A caller as the token of an account makes one."""
    return Caller(
        user_id=str(user_id),
        email="",
        credits_available=True,
        issuer="",
        local=True,
        expires_at=datetime.max.replace(tzinfo=UTC),
    )


async def accounts(engine: AsyncEngine, count: int, role: str = "reader") -> list[UUID]:
    """That many accounts, whose passwords nobody knows."""
    now = datetime.now(UTC) - timedelta(days=2)
    rows = []
    for _ in range(count):
        name = f"{role}-{next(_numbers)}"
        rows.append(
            {
                "id": uuid.uuid4(),
                "email": f"{name}@example.com",
                "email_key": f"{name}@example.com",
                "password_hash": "",
                "username": name,
                "username_key": name,
                "bio": "",
                "role": role,
                "created_at": now,
                "updated_at": now,
            }
        )
    async with engine.begin() as connection:
        await connection.execute(insert(User), rows)
    return [row["id"] for row in rows]


async def subscribe(engine: AsyncEngine, readers: Sequence[UUID], creator: UUID) -> None:
    """Makes them subscribers since yesterday."""
    since = datetime.now(UTC) - timedelta(days=1)
    rows = [
        {
            "subscriber_id": reader,
            "creator_id": creator,
            "id": uuid.uuid4(),
            "status": "active",
            "subscribed_at": since,
        }
        for reader in readers
    ]
    async with engine.begin() as connection:
        await connection.execute(insert(Subscription), rows)


async def publish(
    engine: AsyncEngine, creator: UUID, title: str = "Hello", content: str = "Some *text*."
) -> UUID:
    """A published post."""
    now = datetime.now(UTC)
    async with engine.begin() as connection:
        post = await posts.create(
            connection,
            caller(creator),
            title=title,
            content=posts.render(content, posts.MARKDOWN),
            scheduled_at=None,
            now=now,
        )
        await posts.publish(connection, caller(creator), post.id, now=now)
    return UUID(str(post.id))


async def announce(engine: AsyncEngine, post_id: UUID, addresses: Addresses = ADDRESSES) -> None:
    """Does the job that a worker does."""
    await Announcer(engine, addresses).run(str(post_id))


def processor(engine: AsyncEngine) -> EventProcessor:
    """What a worker counts events with."""
    return EventProcessor(engine, KEY)


def relay(engine: AsyncEngine, database_url: str) -> Relay:
    """The relay of a worker, to the PostgreSQL queue."""
    queue = JobQueue(database_url)
    for name in (posts.NOTIFY_JOB, "process_analytics_event", "ping_hub"):
        queue.handle(name, _nothing)
    return Relay(engine, queue)


async def rows(engine: AsyncEngine, query: str, **values: Any) -> Sequence[Any]:
    """What a query finds."""
    async with engine.connect() as connection:
        return (await connection.execute(text(query), values)).all()


async def execute(engine: AsyncEngine, statement: str, **values: Any) -> None:
    """Changes something behind everybody's back."""
    async with engine.begin() as connection:
        await connection.execute(text(statement), values)


async def _nothing(**_arguments: Any) -> None:
    return None

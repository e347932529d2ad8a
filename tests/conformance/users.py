"""Users in the states that tests begin with."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from distill_grpc import clock
from distill_grpc.db.engine import create_engine
from distill_grpc.feed import ingesting
from distill_grpc.feed.conversion import item_key
from distill_grpc.feed.link_tokens import LinkTokens
from distill_grpc.feed.store import state
from distill_grpc.feed.store.items import upsert_items
from distill_grpc.sources.base import Item
from tests.service import Answer, Door, Service

Json = Any


async def connect(service: Service, user: str, source: str = "rss", **body: Json) -> Answer:
    """Connects a source; in mock mode nothing else is then read for this user."""
    answer = await service.call("PUT", f"/connections/{source}", body, user=user)
    assert answer.status == 200, answer.text[:500]
    return answer


async def watch(service: Service, user: str, *, door: Door = "local", **options: Json) -> Answer:
    """Begins a watch, whose first sync is then on its way."""
    body = {"options": options} if options else None
    answer = await service.call("POST", "/watch", body, user=user, door=door)
    assert answer.status == 201, answer.text[:500]
    return answer


async def collected(service: Service, user: str, *sources: str, **options: Json) -> Json:
    """Watches and waits for the first sync; its `/metadata`. Without `sources`: all of them."""
    for source in sources:
        await connect(service, user, source)
    await watch(service, user, **options)
    return await service.synced(user)


async def syncing(service: Service, user: str, *, pages: int = 4, delay: float = 0.3) -> str:
    """Watches an account that takes its time; the id of the sync that is now going on."""
    feeds = ["https://slow.example/feed.xml"]
    await connect(service, user, settings={"feeds": feeds, "pages": pages, "delay": delay})
    await watch(service, user)
    refused = await service.call("POST", "/sync", user=user)
    assert refused.status == 409, refused.text
    return str(refused.body["details"]["job_id"])


async def store(service: Service, user: str, *items: Item, source: str = "rss") -> list[str]:
    """Stores items as a sync does; their ids, in the order given."""
    now = clock.utc_now()
    rows = ingesting.rows(source, items, since=now - timedelta(days=3650), now=now)
    assert len(rows) == len(items)
    engine = create_engine(service.settings.database_url or "", pool_size=1)
    async with engine.begin() as connection:
        await upsert_items(connection, user, source, rows, now)
    await engine.dispose()
    return [item_key(row["id"]) for row in rows]


async def link_tokens(service: Service) -> LinkTokens:
    """What signs the addresses in this service's mails."""
    engine = create_engine(service.settings.database_url or "", pool_size=1)
    async with engine.begin() as connection:
        key = await state.get_or_insert_value(connection, state.LINK_TOKEN_KEY, b"")
    await engine.dispose()
    return LinkTokens(key)


def story(number: int, *, ago: timedelta = timedelta(hours=1), **changes: Json) -> Item:
    """An item that is like no other; `ago` is how long before now it was published."""
    told: dict[str, Json] = {
        "platform_id": f"story-{number}",
        "published_at": clock.utc_now() - ago,
        "content": f"Story number {number}.",
        "author": "Ada",
        "title": f"Story {number}",
        **changes,
    }
    return Item(**told)

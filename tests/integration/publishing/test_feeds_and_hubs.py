"""Feeds name the hub, and the hub is told when a post is published."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from urllib.parse import parse_qs
from uuid import UUID
from xml.etree import ElementTree as ET

import pytest
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc.publishing import feeds
from distill_grpc.publishing.feeds import Addresses
from distill_grpc.publishing.pinging import PING_JOB, HubPinger, HubRefused
from distill_grpc.sources.http import HttpClient
from tests.integration.publishing import platform


class Hub:
    """A WebSub hub that notes its pings."""

    def __init__(self) -> None:
        self.pings: list[dict[str, list[str]]] = []
        self.status = 204
        self.url = ""

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.pings.append(parse_qs(await request.text()))
        return web.Response(status=self.status)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    found = Hub()
    runner = web.ServerRunner(web.Server(found.answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hub"
    yield found
    await runner.cleanup()


async def test_publishing_pings_the_hub_about_every_feed(engine: AsyncEngine, hub: Hub) -> None:
    addresses = Addresses("https://distill.example", hub.url)
    creator = (await platform.accounts(engine, 1, "creator"))[0]
    await platform.announce(engine, await platform.publish(engine, creator), addresses)
    query = "SELECT payload FROM outbox WHERE job = :job"
    (entry,) = await platform.rows(engine, query, job=PING_JOB)
    entry.payload.pop("request_id")
    async with HttpClient(allow_private_addresses=True) as http:
        pinger = HubPinger(addresses, http)
        await pinger.run(**entry.payload)
        feed = f"https://distill.example/api/v1/creators/{creator}/feed"
        assert hub.pings == [
            {"hub.mode": ["publish"], "hub.url": [f"{feed}.rss", f"{feed}.atom", f"{feed}.json"]}
        ]
        hub.status = 503
        with pytest.raises(HubRefused):
            await pinger.run(**entry.payload)


async def test_without_a_hub_nobody_is_pinged(engine: AsyncEngine) -> None:
    creator = (await platform.accounts(engine, 1, "creator"))[0]
    await platform.announce(engine, await platform.publish(engine, creator))
    assert await platform.rows(engine, "SELECT 1 FROM outbox WHERE job = :job", job=PING_JOB) == []


async def test_every_format_names_itself_and_the_hub(engine: AsyncEngine) -> None:
    addresses = Addresses("https://distill.example", "https://hub.example/")
    creator = (await platform.accounts(engine, 1, "creator"))[0]
    await platform.publish(engine, creator)
    documents = {kind: await read(engine, addresses, creator, kind) for kind in feeds.TYPES}
    links = "{http://www.w3.org/2005/Atom}link"
    for kind in ("rss", "atom"):
        root = ET.fromstring(documents[kind])
        (at,) = [root] if kind == "atom" else root.findall("channel")
        found = {link.get("rel"): link.get("href") for link in at.findall(links)}
        own = f"https://distill.example/api/v1/creators/{creator}/feed.{kind}"
        assert found == {"self": own, "hub": "https://hub.example/"}
    document = json.loads(documents["json"])
    assert document["hubs"] == [{"type": "WebSub", "url": "https://hub.example/"}]
    assert document["feed_url"].endswith("/feed.json")


async def test_a_feed_stays_small_however_large_posts_are(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "LARGEST", 1_000)
    creator = (await platform.accounts(engine, 1, "creator"))[0]
    for number in range(4):
        await platform.publish(engine, creator, f"Post {number}", "word " * 100)
    document = json.loads(await read(engine, platform.ADDRESSES, creator, "json"))
    assert [item["title"] for item in document["items"]] == ["Post 3"]


async def test_the_size_of_a_feed_is_what_goes_over_the_wire(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "LARGEST", 1_500)
    creator = (await platform.accounts(engine, 1, "creator"))[0]
    for number in range(4):
        await platform.publish(engine, creator, f"Post {number}", "\u00e4 & " * 60)
    for kind in feeds.TYPES:
        assert len(await read(engine, platform.ADDRESSES, creator, kind)) < 3_500


async def read(engine: AsyncEngine, addresses: Addresses, creator: UUID, kind: str) -> bytes:
    async with engine.connect() as connection:
        data, _ = await feeds.read(connection, addresses, creator, kind)
    return data

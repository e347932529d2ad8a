"""A worker that is killed while items are embedded: another goes on, and nothing is lost or paid twice."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from distill_grpc import clock
from tests.e2e.serving import serve
from tests.servers.embeddings import MODEL, EmbeddingsServer, embeddings_server, honest
from tests.servers.feeds import Answer, FeedServer
from tests.servers.openai import KEY

ITEMS = 80


async def slow(server: EmbeddingsServer, body: Any) -> Any:
    """Takes its time, so that a kill finds something in flight."""
    await asyncio.sleep(0.7)
    return await honest(server, body)


def feed() -> bytes:
    now = clock.utc_now()
    told = [
        {
            "id": str(number),
            "content_text": f"Topic{number} about subject{number}, said once."
            if number
            else "A jab.",
            "date_published": (now - timedelta(minutes=number)).isoformat(),
        }
        for number in range(ITEMS)
    ]
    shape = {"version": "https://jsonfeed.org/version/1.1", "title": "Feed", "items": told}
    return json.dumps(shape).encode()


async def test_a_killed_worker_loses_no_vector_and_pays_for_one_batch_twice_at_the_most(
    tmp_path: Path,
) -> None:
    async with (
        embeddings_server(slow) as model,
        FeedServer() as feeds,
        serve(
            tmp_path,
            DISTILL_ALLOW_PRIVATE_ADDRESSES="1",
            DISTILL_EMBEDDING_MODEL=MODEL,
            DISTILL_EMBEDDING_BASE_URL=model.url,
            DISTILL_EMBEDDING_API_KEY=KEY,
        ) as distill,
    ):
        url = feeds.serve("/feed", Answer(body=feed(), content_type="application/feed+json"))
        await distill.run("connect", "rss", "--feed", url)
        await distill.run("watch")
        async with asyncio.timeout(20):
            while len(model.requests) < 2:
                await asyncio.sleep(0.05)
        worker = distill.child("worker")
        assert worker is not None
        worker.kill()
        async with asyncio.timeout(60):
            while (await distill.json("status"))["statistics"]["embedded"] < 1:
                await asyncio.sleep(0.5)
        found = await distill.json("search", "vaccine")
        assert [item["content"] for item in found["data"]] == ["A jab."]
    twice = [text for text, count in Counter(model.texts).items() if count > 1]
    assert len(twice) <= 32
    assert max(Counter(model.texts).values()) <= 2
    assert len(set(model.texts)) == ITEMS + 1

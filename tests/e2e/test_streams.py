"""A stream of `distill serve` that is told to stop in the middle of a model's answer."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from distill_grpc.event_reader import EventReader
from tests.e2e.serving import Served, serve
from tests.servers.openai import KEY, MODEL, halting, honest, openai_server

Json = Any


async def headline(served: Served) -> str:
    """Of an item that was collected: what can be asked about."""
    await served.run("watch")
    async with asyncio.timeout(30):
        while True:
            items = (await served.json("recent", "--limit", "50"))["data"]
            titles = [item["title"] for item in items if len(item.get("title", "").split()) > 5]
            if titles:
                return str(max(titles, key=len))
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("in_time", [True, False])
async def test_sigterm_lets_a_stream_end_or_tells_its_client(tmp_path: Path, in_time: bool) -> None:
    async with openai_server(honest, streams=halting) as model:
        settings = {
            "DISTILL_MOCK": "1",
            "DISTILL_OPENAI_API_KEY": KEY,
            "DISTILL_OPENAI_BASE_URL": model.url,
            "DISTILL_SUMMARY_MODEL": MODEL,
        }
        async with serve(tmp_path, **settings) as served, aiohttp.ClientSession() as http:
            question = {"question": await headline(served)}
            named = ("--user-id", "you", "--email", "you@example.com")
            token = (await served.run("token", *named)).strip()
            headers = {"Authorization": f"Bearer {token}"}
            url = f"{served.url}/content/ask:stream"
            async with http.post(url, json=question, headers=headers) as response:
                raw = await asyncio.wait_for(response.content.readuntil(b"\n\n"), 20)
                began = time.monotonic()
                served.process.send_signal(signal.SIGTERM)
                if in_time:
                    await asyncio.sleep(0.5)
                    model.release.set()
                raw += await asyncio.wait_for(response.read(), 20)
            assert await asyncio.wait_for(served.process.wait(), 20) == 0
            assert time.monotonic() - began < (8 if in_time else 16)
    events = EventReader(1 << 20).feed(raw)
    assert events[0].kind == "statement"
    assert events[-1].kind == ("done" if in_time else "error")
    if not in_time:
        assert orjson.loads(events[-1].data)["error"] == "unavailable"
    assert not [line for line in served.log if "Traceback" in line]

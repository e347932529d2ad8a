"""What a stranger does: real feeds, from the first command to the last."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from tests.e2e.serving import serve
from tests.servers.feeds import FeedServer
from tests.servers.site_feeds import site_feeds


async def test_real_feeds_are_connected_synced_read_searched_and_summarised(tmp_path: Path) -> None:
    feeds = site_feeds()
    async with (
        FeedServer() as server,
        serve(tmp_path, DISTILL_ALLOW_PRIVATE_ADDRESSES="1") as distill,
    ):
        urls = [server.serve(f"/{name}", answer) for name, answer in feeds.items()]
        await distill.run("connect", "rss", *(arg for url in urls for arg in ("--feed", url)))
        watched = await distill.run("watch", "--backfill-days", "30")
        assert "watching" in watched.lower()

        status = await distill.json("status")
        assert status["user_status"]["last_sync_status"] == "completed"
        total = status["statistics"]["total_items"]
        assert total > 50
        recent_endpoint = status["available_endpoints"][0]
        assert recent_endpoint["completeness"] == 1.0

        recent = await distill.json("recent", "--hours", "168", "--limit", "500")
        times = [item["timestamp"] for item in recent["data"]]
        assert times == sorted(times, reverse=True)
        assert len({item["id"] for item in recent["data"]}) == len(times) > 10
        assert all("<" not in item.get("title", "") for item in recent["data"])

        found = await distill.json("search", "apple")
        assert found["data"]
        assert all(
            "appl" in (item["content"] + item.get("title", "")).lower() for item in found["data"]
        )

        digest = await distill.json("digest", "weekly")
        content = digest["summary"]["content"]
        assert content["highlights"]
        cited = {i["id"] for c in content["citations"] for i in c["items"]}
        known = await distill.json("recent", "--hours", "168", "--limit", "500")
        assert cited <= {item["id"] for item in known["data"]}

        # Nothing changed: the second sync asks conditionally and stores nothing.
        await distill.run("sync", "--force")
        again = await distill.json("status")
        assert again["statistics"]["total_items"] == total
        assert all(len(server.asked(f"/{name}")) == 2 for name in feeds)

        left = await distill.run("unwatch")
        assert "retained for 7 days" in left


async def test_it_runs_again_with_its_data_and_survives_a_killed_worker(tmp_path: Path) -> None:
    async with serve(tmp_path, DISTILL_MOCK="1") as distill:
        await distill.run("watch")
        before = await distill.json("status")
        worker = distill.child("worker")
        assert worker is not None
        worker.kill()
        async with asyncio.timeout(60):
            while distill.child("worker") in {None, worker}:
                await asyncio.sleep(0.1)
        await distill.run("sync", "--force")
    async with serve(tmp_path, DISTILL_MOCK="1") as distill:
        after = await distill.json("status")
        assert after["user_status"]["since"] == before["user_status"]["since"]
        assert after["statistics"]["total_items"] >= before["statistics"]["total_items"] > 0


async def test_the_banner_s_commands_work_as_printed(tmp_path: Path) -> None:
    async with serve(tmp_path, DISTILL_MOCK="1") as distill:
        script = "\n".join(
            line.strip()
            for line in distill.banner.splitlines()
            if line.strip().startswith(("export TOKEN", "curl"))
        )
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-e",
            "-c",
            script,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        assert '"status":"watching"' in out.decode()
        async with aiohttp.ClientSession() as http, http.get(f"{distill.url}/health") as answer:
            assert (await answer.json())["status"] == "healthy"

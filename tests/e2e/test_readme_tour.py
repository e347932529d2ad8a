"""The README's tour works when it is pasted, line by line."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from tests.e2e.serving import DISTILL, serve
from tests.servers.feeds import FeedServer
from tests.servers.site_feeds import site_feeds

README = Path(__file__).parents[2] / "README.md"
FEED = re.compile(r"https://(?:planetpython\.org/rss20\.xml|daringfireball\.net/feeds/json)")


def tour() -> str:
    """All blocks of the tour, one after the other."""
    return "\n".join(re.findall(r"```sh tour\n(.*?)```", README.read_text(), re.DOTALL))


async def test_the_tour_works_when_pasted(tmp_path: Path) -> None:
    feeds = site_feeds()
    async with (
        FeedServer() as server,
        serve(tmp_path, DISTILL_ALLOW_PRIVATE_ADDRESSES="1") as distill,
    ):
        urls = iter(
            [
                server.serve("/planet.rss", feeds["orchard.rss"]),
                server.serve("/daring.json", feeds["townhall.json"]),
            ]
        )
        script = FEED.sub(lambda _: next(urls), tour())
        script = script.replace(". .venv/bin/activate", f'PATH="{DISTILL.parent}:$PATH"')
        script = script.replace("localhost:8080", distill.url.removeprefix("http://"))
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-e",
            "-x",
            "-c",
            script,
            cwd=tmp_path,
            env=distill.environment | {"DISTILL_URL": distill.url},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 100)
        text = output.decode()
        assert process.returncode == 0, text
        assert '"error"' not in text
        assert '"status":"healthy"' in text
        assert '"highlights":["' in text
        assert "retained for 7 days" in text

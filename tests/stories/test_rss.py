"""Feeds: a reader's life through REST with three sites, one of which moves away."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from structlog.typing import EventDict

from tests.servers.feeds import Answer, FeedServer
from tests.servers.own_feeds import Entry, atom, json_feed, rss
from tests.stories.life import Life, living

SHOWN = 15  # entries of a site's feed


@dataclass
class Site:
    """A site whose feed shows its newest entries; `shown` are all that it ever showed, and where."""

    server: FeedServer
    path: str
    write: Callable[[Iterable[Entry]], bytes]
    content_type: str
    entries: list[Entry] = field(default_factory=list)
    shown: set[tuple[str, str]] = field(default_factory=set)

    @property
    def address(self) -> str:
        return self.server.url(self.path)

    def add(self, count: int) -> None:
        """Publishes entries, the last one now."""
        for number in range(count, 0, -1):
            title = f"{self.path} {len(self.entries)}"
            at = now() - timedelta(minutes=7 * (number - 1))
            self.entries.append(Entry(len(self.entries), title, f"<p>About {title}</p>", at))
        self.publish()

    def publish(self) -> None:
        """Shows what there is now."""
        newest = self.entries[-SHOWN:]
        self.shown |= {(self.path, entry.title) for entry in newest}
        body = self.write(newest)
        etag = f'"{hashlib.sha256(body).hexdigest()[:12]}"'
        self.serve(Answer(body=body, content_type=self.content_type, etag=etag))

    def serve(self, answer: Answer) -> None:
        """Answers so from now on."""
        self.server.serve(self.path, answer)


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


async def test_nothing_is_lost_doubled_or_asked_too_early(
    database_url: str, tmp_path: Path, log_lines: list[EventDict]
) -> None:
    async with (
        FeedServer() as server,
        living(database_url, tmp_path, "rss", log_lines, allow_private_addresses=True) as life,
    ):
        sites = [
            Site(server, "/orchard", rss, "text/xml"),
            Site(server, "/workshop", atom, "application/atom+xml"),
            Site(server, "/townhall", json_feed, "application/feed+json"),
        ]
        await _connect_and_collect(life, sites)
        await _news_edits_and_what_the_feed_drops(life, sites[0])
        await _a_limit(life, sites)
        await _a_feed_that_is_gone(life, sites)

        titles = [item["title"] for item in (await life.stored()).values()]
        assert sorted(titles) == sorted(title for site in sites for _, title in site.shown)
        assert await life.completeness() == 1.0


async def _connect_and_collect(life: Life, sites: list[Site]) -> None:
    wrong = await life.connect(settings={"feeds": ["ftp://a.example/feed"]})
    assert (wrong.status, wrong.body["error"]) == (400, "invalid_argument")
    assert set(wrong.body["details"]) == {"settings.feeds[0]"}
    assert (await life.call("GET", "/connections")).body["connections"] == []

    for site in sites:
        site.add(12)
    good = await life.connect(settings={"feeds": [site.address for site in sites]})
    assert good.status == 200, good.text
    await life.watch(backfill_days=7)
    assert len(await life.stored()) == 36
    titles = {part["title"] for part in (await life.connection())["parts"]}
    assert titles == {"Orchard", "Workshop", "Town hall"}


async def _news_edits_and_what_the_feed_drops(life: Life, site: Site) -> None:
    """An entry that a feed shows no more is old, not deleted: it stays."""
    site.entries[-2] = dataclasses.replace(site.entries[-2], html="<p>Put right</p>")
    site.add(5)
    report = await life.sync()
    assert report["status"] == "completed"
    assert [report[f"items_{kind}"] for kind in ("new", "updated", "deleted")] == [5, 1, 0]
    stored = {item["title"]: item["content"] for item in (await life.stored()).values()}
    assert stored[site.entries[-7].title] == "Put right"
    assert {entry.title for entry in site.entries} <= stored.keys()

    report = await life.sync()
    assert [report[f"items_{kind}"] for kind in ("new", "updated", "deleted")] == [0, 0, 0]
    assert site.server.asked(site.path)[-1].status == 304


async def _a_limit(life: Life, sites: list[Site]) -> None:
    """One site asks to wait; the others are read meanwhile."""
    busy, other = sites[1], sites[2]
    busy.serve(Answer(status=429, headers={"Retry-After": "3"}))
    other.add(1)
    report = await life.sync()
    assert (report["status"], report["items_new"]) == ("partial", 1)
    busy.add(4)
    asked = len(busy.server.asked(busy.path))
    for _ in range(3):
        await life.sync()
    assert len(busy.server.asked(busy.path)) == asked, "asked before the instant that it named"
    assert await life.completeness() < 1.0
    (part,) = [one for one in (await life.connection())["parts"] if one["name"] == busy.address]
    assert part["error"] == "rate_limited"
    await life.goes_on(part["next_attempt"])
    assert {entry.title for entry in busy.entries} <= {
        item["title"] for item in (await life.stored()).values()
    }


async def _a_feed_that_is_gone(life: Life, sites: list[Site]) -> None:
    """One that is gone for good is asked no more until the user names its new address."""
    moved = sites[1]
    old = moved.path
    moved.serve(Answer(status=410))
    assert (await life.sync())["status"] == "partial"
    connection = await life.connection()
    (part,) = [one for one in connection["parts"] if one["name"] == moved.address]
    assert (part["error"], part["state"]) == ("platform_error", "action_required")
    asked = len(moved.server.asked(old))
    await life.sync()
    assert len(moved.server.asked(old)) == asked, "a feed that is gone was asked again"

    moved.path = "/workshop-moved"
    # Under another address entries are other entries; those known from before go with the old one.
    moved.add(2)
    again = await life.connect(settings={"feeds": [site.address for site in sites]})
    assert again.status == 200, again.text
    assert (await life.sync())["status"] == "completed"
    assert (await life.connection())["state"] == "ok"

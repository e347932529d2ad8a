"""Everything recorded from real platforms is stored: file by file a part, through a whole sync.

A file of which nothing is stored has a reason, and it is one of those that stand here.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from structlog.typing import EventDict

from distill_grpc.sources import feed_documents, mail_items, mail_messages
from distill_grpc.sources import github_events as events
from distill_grpc.sources.base import Item, Page, PlatformError, SourceFailure
from distill_grpc.sources.feed_items import FeedMemory
from distill_grpc.sources.feed_items import items_of as feed_items_of
from distill_grpc.sources.x_posts import posts_of
from distill_grpc.sources.youtube_items import items_of as videos_of
from tests.integration.feed.scripted import ScriptedSource
from tests.integration.feed.world import USER, World
from tests.servers.fixtures import fixtures_dir

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)

Found = Iterator[tuple[str, list[Item] | SourceFailure]]


@dataclass(frozen=True)
class Material:
    """Files of one platform; `refused` counts, by reason, those that hold nothing to store."""

    read: Callable[[Path], Found]
    files: int
    items: int
    refused: dict[str, int]


def _github(folder: Path) -> Found:
    for number in range(2, 12):
        entries = json.loads(
            (folder / "events-walk" / "__files" / f"{number}-events.json").read_text()
        )
        told = [events.event(entry, "https://github.com") for entry in entries]
        yield f"{number}-events.json", [item for item in told if item is not None]


def _x(folder: Path) -> Found:
    for path in (
        folder / f"test_client_get_{name}.yaml" for name in ("home_timeline", "list_tweets")
    ):
        match = re.search(r"!!binary \|\n((?:\s+[A-Za-z0-9+/=]+\n)+)", path.read_text())
        assert match is not None
        answer = orjson.loads(gzip.decompress(base64.b64decode("".join(match[1].split()))))
        yield path.name, [post.item for post in posts_of(answer, NOW)]


def _youtube(folder: Path) -> Found:
    for path in sorted(folder.rglob("*.json")):
        told = json.loads(path.read_text())
        if not isinstance(told, dict) or told.get("kind") != "youtube#videoListResponse":
            continue
        videos = {video["id"]: video for video in told["items"]}
        yield str(path.relative_to(folder)), videos_of(videos, dict.fromkeys(videos, NOW))


def _email(folder: Path) -> Found:
    told = b'INTERNALDATE "10-Jan-2024 09:00:00 +0000" RFC822.SIZE 1'
    for path in sorted(folder.rglob("*.eml")):
        document = path.read_bytes()
        id_ = mail_items.identity(document)
        message = mail_messages.read({}, document)
        item = mail_items.item_of(message, id_=id_, folder="INBOX", told=told, now=NOW)
        yield str(path.relative_to(folder)), [item]


def _rss(folder: Path) -> Found:
    for path in sorted(file for file in folder.rglob("*") if file.is_file()):
        document = path.read_bytes()
        name = str(path.relative_to(folder))
        head = document[:1_000].decode("latin-1")
        said = head.partition("Content-type:")[2] or head.partition("Content-Type:")[2]
        header = {"url": "https://a.example/feed", "content_type": said.partition("\n")[0].strip()}
        result = feed_documents.read(header, document)
        if result["kind"] != "feed":
            yield name, PlatformError("This is no feed.", reason=result["kind"])
            continue
        memory = FeedMemory()
        items, _ = feed_items_of(result, part=name, memory=memory, since=ALWAYS, now=NOW)
        yield name, items


MATERIAL = {
    "github": Material(_github, files=10, items=155, refused={}),
    "x": Material(_x, files=2, items=194, refused={}),
    "youtube": Material(_youtube, files=7, items=13, refused={}),
    "email": Material(_email, files=113, items=108, refused={}),
    "rss": Material(_rss, files=599, items=380, refused={"not_a_feed": 1}),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning:feedparser")
@pytest.mark.parametrize("name", MATERIAL)
async def test_every_recorded_file_is_stored(
    world: World, name: str, log_lines: list[EventDict]
) -> None:
    material = MATERIAL[name]
    folder = fixtures_dir() / {"rss": "feeds", "email": "mail"}.get(name, name)
    found = dict(material.read(folder))
    refused = {part: f for part, f in found.items() if isinstance(f, SourceFailure)}
    items = {part: f for part, f in found.items() if not isinstance(f, SourceFailure)}
    pages = [Page(part=part, items=some, cursor=1) for part, some in items.items()]
    pages += [Page(part=part, failure=failure) for part, failure in refused.items()]
    world.sources = {name: ScriptedSource(name, ())}
    world.source.plays(*pages)

    run = await world.sync(await world.watch())
    report = (await world.report(run.id))[name]
    distinct = {item.platform_id for some in items.values() for item in some}
    assert set(await world.stored()) == distinct
    assert report.items_new == len(distinct)
    assert report.parts_done == len(found)
    assert Counter(failure.reason for failure in refused.values()) == material.refused
    assert len(distinct) == material.items
    assert len(found) == material.files
    assert [line for line in log_lines if line["event"] in {"item_refused", "source_broke"}] == []
    whole = await world.ask("SELECT count(*) AS rows FROM items WHERE user_id = :user AND "
                            "(content = '' OR platform_id = '')", user=USER)  # fmt: skip
    assert whole[0].rows == 0

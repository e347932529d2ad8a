"""Recorded answers of the real YouTube, and answers that nobody should send, become items or nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill_grpc.sources import youtube_items
from distill_grpc.sources.youtube_items import items_of, seconds
from tests.conformance.sources.rules import check_items
from tests.servers.fixtures import fixtures_dir
from tests.servers.platform import plain
from tests.servers.reader import Reader
from tests.servers.youtube import YoutubeServer
from tests.unit.sources_youtube.conftest import NOW, TOKEN


def recorded(kind: str) -> list[Path]:
    folder = fixtures_dir() / "youtube" / "apidata"
    found = [
        path for path in sorted(folder.rglob("*.json")) if f"youtube#{kind}" in path.read_text()
    ]
    return [path for path in found if json.loads(path.read_text()).get("kind") == f"youtube#{kind}"]


def videos_of(path: Path) -> dict[str, Any]:
    return {video["id"]: video for video in json.loads(path.read_text())["items"]}


def test_every_recorded_video_is_an_item() -> None:
    paths = recorded("videoListResponse")
    assert len(paths) >= 6
    for path in paths:
        videos = videos_of(path)
        items = items_of(videos, dict.fromkeys(videos, NOW))
        assert [item.platform_id for item in items] == list(videos)
        check_items(items, now=NOW)


async def test_every_recorded_list_of_uploads_is_read(
    youtube: YoutubeServer, reader: Reader
) -> None:
    channel = youtube.add_channel("Recorded")
    paths = recorded("playlistItemListResponse")
    assert len(paths) >= 5
    for path in paths:
        reader.settings = {"channels": [channel], "feeds": False}
        reader.days, reader.cursors = 10_000, {}
        told = json.loads(path.read_text())
        told.pop("nextPageToken", None)
        ids = {
            entry.get("contentDetails", {}).get("videoId")
            or entry["snippet"]["resourceId"]["videoId"]
            for entry in told["items"]
        }
        reader.items.clear()
        details = {
            "items": [{"id": i, "snippet": {"title": "T", "channelTitle": "C"}} for i in ids]
        }
        youtube.fault("/playlistItems", plain(200, json.dumps(told), "application/json"))
        youtube.fault("/videos", plain(200, json.dumps(details), "application/json"))
        pages = await reader.read()
        assert not [page.failure for page in pages if page.failure]
        assert reader.items.keys() == ids


async def test_every_recorded_list_of_subscriptions_is_read(
    youtube: YoutubeServer, reader: Reader
) -> None:
    paths = recorded("subscriptionListResponse")
    assert len(paths) >= 6
    for path in paths:
        reader.credentials, reader.settings, reader.cursors = {"access_token": TOKEN}, {}, {}
        told = json.loads(path.read_text())
        told.pop("nextPageToken", None)
        wanted = [entry["snippet"]["resourceId"]["channelId"] for entry in told["items"]]
        youtube.fault("/subscriptions", plain(200, json.dumps(told), "application/json"))
        pages = await reader.read()
        assert pages[0].failure is None
        # None of them is there on this YouTube, so each of them fails alone.
        assert [page.part for page in pages[1:]] == list(dict.fromkeys(wanted))


@pytest.mark.parametrize(
    ("written", "length"),
    [
        ("PT21M7S", 1_267),
        ("PT15S", 15),
        ("P1DT2H", 93_600),
        ("P0D", 0),
        ("P1W", 604_800),
        ("", None),
        ("P", None),
        ("PT", None),
        ("12:30", None),
        ("PT1.5S", None),
        ("PT99999999999S", None),
    ],
)
def test_durations_are_read(written: str, length: int | None) -> None:
    assert seconds(written) == length


STRANGE = [
    None,
    True,
    7,
    -1,
    2**70,
    1.5,
    "",
    "x" * 300_000,
    "\x00\ud800\u202e",
    [],
    {},
    [None],
    {"a": [{}]},
]


@pytest.mark.parametrize("path", [
    ("snippet",), ("snippet", "title"), ("snippet", "description"), ("snippet", "tags"),
    ("snippet", "channelTitle"), ("snippet", "liveBroadcastContent"), ("contentDetails",),
    ("contentDetails", "duration"), ("statistics",), ("statistics", "viewCount"),
    ("statistics", "likeCount"), ("liveStreamingDetails",), ("status",),
])  # fmt: skip
def test_values_of_any_type_do_no_harm(path: tuple[str, ...]) -> None:
    for value in STRANGE:
        video: dict[str, Any] = {
            "id": "abcdefghijk",
            "snippet": {"title": "T", "tags": ["a"]},
            "contentDetails": {"duration": "PT1S"},
            "statistics": {"viewCount": "1"},
        }
        inner = video
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value
        items = items_of({"abcdefghijk": video}, {"abcdefghijk": NOW})
        check_items(items, now=NOW)
        assert len(items) == 1


def test_one_video_that_breaks_us_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    real = youtube_items.item

    def item(video: Any, video_id: str, appeared: Any) -> Any:
        if video_id == "second":
            raise RuntimeError("a fault of ours")
        return real(video, video_id, appeared)

    monkeypatch.setattr(youtube_items, "item", item)
    videos = {name: {"id": name} for name in ("first", "second", "third")}
    found = items_of(videos, dict.fromkeys(videos, NOW))
    assert [item.platform_id for item in found] == ["first", "third"]

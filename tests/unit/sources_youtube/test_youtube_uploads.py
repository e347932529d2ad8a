"""Every video is found, few units are spent, and what is gone is known to be gone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from distill_grpc.sources.base import RateLimited
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext
from distill_grpc.sources.youtube import YoutubeSource
from tests.servers.platform import Clock, cut, html, plain
from tests.servers.reader import Reader
from tests.servers.youtube import YoutubeServer
from tests.unit.sources_youtube.conftest import KEY, NOW, TOKEN


@pytest.fixture
def channel(youtube: YoutubeServer, reader: Reader) -> str:
    made = youtube.add_channel("Slow Machines", handle="@slowmachines")
    reader.settings = {"channels": [made]}
    return made


def units(youtube: YoutubeServer) -> int:
    return sum(youtube.spent.values())


async def test_a_video_reads_like_a_video(
    youtube: YoutubeServer, reader: Reader, channel: str
) -> None:
    video = youtube.add_video(channel, "How lathes work")
    (page,) = await reader.read()
    item = reader.items[video]
    assert item.content == (
        "New video by Slow Machines (1:02:03): How lathes work\n\nAbout How lathes work"
    )
    assert (item.title, item.author, item.kind) == ("How lathes work", "Slow Machines", "video")
    assert item.url == f"https://www.youtube.com/watch?v={video}"
    assert item.metrics == {"engagement": 9.0, "reach": 100.0, "duration_seconds": 3_723.0}
    assert item.language == "en-GB"
    assert (page.title, page.url) == (
        "Slow Machines",
        f"https://www.youtube.com/channel/{channel}",
    )


async def test_quiet_channels_cost_nothing(
    youtube: YoutubeServer, reader: Reader, channel: str, clock: Clock
) -> None:
    for number in range(20):
        youtube.add_video(channel, f"Video {number}")
    await reader.read()
    spent = units(youtube)
    for _ in range(10):
        clock.advance(hours=2)
        (page,) = await reader.read()
        assert page.unchanged
    assert units(youtube) == spent
    youtube.add_video(channel, "New one")
    await reader.read()
    assert units(youtube) == spent + 1, "the feed named it; only its details were missing"
    assert len(reader.items) == 21


async def test_more_news_than_the_feed_shows_is_read_from_the_list(
    youtube: YoutubeServer, reader: Reader, channel: str, clock: Clock
) -> None:
    youtube.add_video(channel, "First")
    await reader.read()
    clock.advance(hours=1)
    for number in range(120):
        youtube.add_video(channel, f"Video {number}")
    spent = units(youtube)
    await reader.read()
    assert len(reader.items) == 121
    assert units(youtube) - spent == 3 + 3, "three pages, and details for 50 each"


async def test_without_the_feed_the_list_is_read_at_most_once_an_hour(
    youtube: YoutubeServer, reader: Reader, channel: str, clock: Clock
) -> None:
    youtube.add_video(channel, "First")
    await reader.read()
    youtube.feed_status = 404
    youtube.add_video(channel, "Second")
    clock.advance(minutes=30)
    assert (await reader.read())[0].unchanged
    clock.advance(minutes=31)
    await reader.read()
    assert len(reader.items) == 2


async def test_feeds_can_be_switched_off(
    youtube: YoutubeServer, reader: Reader, channel: str, clock: Clock
) -> None:
    reader.settings = {"channels": [channel], "feeds": False}
    youtube.add_video(channel, "First")
    await reader.read()
    youtube.add_video(channel, "Second")
    clock.advance(minutes=30)
    await reader.read()
    assert len(reader.items) == 2
    assert not youtube.asked("/feeds/")


async def test_an_edited_video_comes_again(
    youtube: YoutubeServer, reader: Reader, channel: str, clock: Clock
) -> None:
    video = youtube.add_video(channel, "Befroe")
    await reader.read()
    clock.advance(minutes=30)
    await reader.read()
    clock.advance(minutes=30)
    youtube.edit(video, title="Before")
    await reader.read()
    assert reader.items[video].title == "Before"
    assert len(reader.items) == 1


async def test_an_edit_before_the_first_look_at_the_feed_is_not_missed(
    youtube: YoutubeServer, reader: Reader, channel: str, clock: Clock
) -> None:
    video, other = youtube.add_video(channel, "Befroe"), youtube.add_video(channel, "Other")
    clock.advance(minutes=1)
    await reader.read()
    clock.advance(minutes=10)
    youtube.edit(video, title="Before")
    clock.advance(minutes=10)
    pages = await reader.read()
    assert [item.platform_id for page in pages for item in page.items] == [video]
    assert reader.items[video].title == "Before"
    assert other in reader.items
    assert (await reader.read())[0].unchanged


async def test_an_edit_that_shows_when_the_list_is_read_comes_with_the_next_read(
    youtube: YoutubeServer, reader: Reader, channel: str, clock: Clock
) -> None:
    video = youtube.add_video(channel, "Befroe")
    clock.advance(minutes=1)
    await reader.read()
    clock.advance(hours=25)
    youtube.edit(video, title="Before")
    await reader.read()
    clock.advance(minutes=30)
    await reader.read()
    assert reader.items[video].title == "Before"
    clock.advance(minutes=30)
    assert (await reader.read())[0].unchanged


async def test_deleted_and_private_videos_are_deleted(
    youtube: YoutubeServer, reader: Reader, channel: str, clock: Clock
) -> None:
    videos = [youtube.add_video(channel, f"Video {number}") for number in range(20)]
    await reader.read()
    clock.advance(hours=1)
    await reader.read()
    youtube.delete(videos[12])
    youtube.edit(videos[15], privacy="private")
    clock.advance(hours=1)
    await reader.read()
    assert set(reader.deleted) == {videos[12], videos[15]}
    assert len(reader.items) == 18
    clock.advance(hours=1)
    assert (await reader.read())[0].unchanged


async def test_a_video_that_is_only_unlisted_is_not_deleted(
    youtube: YoutubeServer, reader: Reader, channel: str, clock: Clock
) -> None:
    reader.settings = {"channels": [channel], "feeds": False}
    videos = [youtube.add_video(channel, f"Video {number}") for number in range(5)]
    await reader.read()
    youtube.channels[channel]["videos"].remove(videos[3])
    await reader.read()
    assert reader.deleted == []
    assert len(reader.items) == 5


async def test_a_strange_answer_deletes_nothing(
    youtube: YoutubeServer, reader: Reader, channel: str
) -> None:
    reader.settings = {"channels": [channel], "feeds": False}
    videos = [youtube.add_video(channel, f"Video {number}") for number in range(5)]
    await reader.read()
    youtube.channels[channel]["videos"].remove(videos[3])
    youtube.fault("/videos", plain(200, '{"kind": "x"}', "application/json"))
    assert (await reader.fails()).reason == "unexpected_shape"
    assert reader.deleted == []


async def test_a_premiere_enters_with_an_older_date(
    youtube: YoutubeServer, reader: Reader, channel: str, clock: Clock
) -> None:
    reader.settings = {"channels": [channel], "feeds": False}
    reader.days = 1
    youtube.add_video(channel, "First")
    await reader.read()
    clock.advance(hours=2)
    uploaded = NOW.replace(month=1)
    premiere = youtube.add_video(channel, "Premiere", published=uploaded)
    await reader.read()
    assert reader.items[premiere].published_at == clock()


async def test_shorts_are_left_out_where_they_are_not_wanted(
    youtube: YoutubeServer, reader: Reader, channel: str, clock: Clock
) -> None:
    other = youtube.add_channel("Shorts only")
    reader.settings = {"channels": [channel, other], "shorts": False}
    long = youtube.add_video(channel, "Long")
    youtube.add_video(channel, "Short", short=True)
    youtube.add_video(other, "Short", short=True)
    pages = await reader.read()
    assert not [page.failure for page in pages if page.failure]
    assert reader.items.keys() == {long}
    clock.advance(hours=1)
    assert all(page.unchanged for page in await reader.read())


async def test_handles_are_looked_up_once(
    youtube: YoutubeServer, reader: Reader, channel: str, clock: Clock
) -> None:
    reader.settings = {"channels": ["@slowmachines", "https://www.youtube.com/@nobody"]}
    youtube.add_video(channel, "First")
    pages = {page.part: page for page in await reader.read()}
    assert len(reader.items) == 1
    missing = pages["https://www.youtube.com/@nobody"].failure
    assert missing is not None
    assert missing.reason == "not_found"
    clock.advance(hours=1)
    await reader.read()
    assert (
        len(youtube.asked("forHandle=%40slowmachines") + youtube.asked("forHandle=@slowmachines"))
        == 1
    )


async def test_a_channel_that_is_gone_fails_alone(
    youtube: YoutubeServer, reader: Reader, channel: str
) -> None:
    gone = "UC" + "g" * 22
    youtube.add_video(channel, "First")
    reader.settings = {"channels": [gone, channel]}
    pages = {page.part: page for page in await reader.read()}
    failure = pages[gone].failure
    assert failure is not None
    assert failure.reason == "gone"
    assert len(reader.items) == 1


async def test_subscriptions_are_followed_and_left(
    youtube: YoutubeServer, reader: Reader, clock: Clock
) -> None:
    reader.credentials, reader.settings = {"access_token": TOKEN}, {}
    channels = [youtube.add_channel(f"Channel {number}") for number in range(120)]
    for made in channels:
        youtube.add_video(made, "Hello")
    youtube.subscriptions = [*channels[:60], channels[3], *channels[60:]]
    pages = await reader.read()
    assert len(reader.items) == 120
    assert pages[0].part == "subscriptions"
    assert pages[0].min_interval == 6 * 3_600
    youtube.subscriptions = channels[1:]
    clock.advance(hours=6)
    left = {page.part: page for page in await reader.read()}[channels[0]]
    assert left.ended
    assert channels[0] not in reader.cursors
    asked = len(youtube.asked("subscriptions"))
    await reader.read(skip=frozenset({"subscriptions"}))
    assert len(youtube.asked("subscriptions")) == asked
    assert not youtube.violations


async def test_a_refused_page_token_begins_the_walk_anew(
    youtube: YoutubeServer, reader: Reader, channel: str
) -> None:
    for number in range(120):
        youtube.add_video(channel, f"Video {number}")
    await reader.read(crash_after=1)
    assert len(reader.items) == 50
    youtube.generation = 1
    await reader.read()
    assert len(reader.items) == 120
    reader.credentials, reader.settings = {"access_token": TOKEN}, {}
    youtube.subscriptions = [youtube.add_channel(f"Channel {n}") for n in range(60)]
    youtube.fault("pageToken", youtube.refuse(400, "invalidPageToken"))
    assert not [page.failure for page in await reader.read() if page.failure]


@pytest.mark.parametrize(
    "broken",
    [
        html(200),
        html(404),
        plain(200, "[]", "application/json"),
        plain(200, "{" * 50_000, "application/json"),
        cut(100),
        html(503),
    ],
)
async def test_an_answer_without_sense_loses_nothing(
    broken: Any, youtube: YoutubeServer, reader: Reader, channel: str
) -> None:
    youtube.add_video(channel, "First")
    for resource in ("videos", "playlistItems"):
        youtube.fault(f"/{resource}", broken)
        failure = await reader.fails()
        assert failure.code == "platform_error"
        assert not reader.items
        assert not reader.cursors
    await reader.read()
    assert len(reader.items) == 1


STEPS = st.lists(
    st.tuples(
        st.integers(0, 60),  # new videos
        st.integers(0, 3),  # deleted ones
        st.sampled_from([None, 0, 1, 2]),  # pages after which the reader dies
        st.sampled_from(["", "", "tokens", "html", "feed", "limit"]),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, seed=st.integers(0, 2**32), feeds=st.booleans())
# New videos move everything that was seen to the next page of a walk that was interrupted.
@example(steps=[(51, 0, 1, ""), (48, 0, None, "")], seed=1, feeds=False)
async def test_what_youtube_has_is_what_is_stored(steps: list[Any], seed: int, feeds: bool) -> None:
    clock = Clock(NOW)
    async with (
        YoutubeServer(clock, seed=seed) as server,
        HttpClient(allow_private_addresses=True, now=clock) as http,
    ):
        server.keys.add(KEY)
        channel = server.add_channel("One")
        source = YoutubeSource(SourceContext(http=http, api_urls={"youtube": server.root}))
        settings = {"channels": [channel], "feeds": feeds}
        reader = Reader(source, clock, {"api_key": KEY}, settings)

        def drift() -> None:
            clock.advance(seconds=1)
            if server.chance.random() < 0.3:
                server.add_video(channel, "In between")

        server.drift = drift
        interrupted = False
        for new, gone, crash, trouble in steps:
            clock.advance(hours=3)
            for number in range(new):
                clock.advance(seconds=1)
                server.add_video(channel, f"Video {number}")
            # A deletion while a walk waits for its next page moves a video past it (docs/sources.md).
            for _ in range(0 if interrupted else min(gone, len(server.videos))):
                server.delete(server.chance.choice(sorted(server.videos)))
            server.generation += trouble == "tokens"
            server.feed_status = 500 if trouble == "feed" else 200
            if trouble in {"html", "limit"}:
                limit = server.refuse(403, "rateLimitExceeded")
                server.fault("/videos", html(200) if trouble == "html" else limit)
            # A trouble may wait for a later step, where videos are asked for.
            try:
                pages = await reader.read(crash_after=crash)
            except RateLimited:
                interrupted = True
                continue
            interrupted = crash is not None or any(page.failure for page in pages)
        server.faults.clear()
        server.drift = lambda: None
        server.feed_status = 200
        for _ in range(2):
            clock.advance(days=1, hours=1)
            await reader.read()
        assert reader.items.keys() >= server.videos.keys()
        first_page = server.channels[channel]["videos"][:50]
        depth = min(len(first_page), 40)
        left = reader.items.keys() - server.videos.keys()
        young = sorted(reader.items, reverse=True)[:depth]
        assert not left & set(young), "what was deleted among the newest is gone here too"
        assert reader.items.keys() <= server.served["video"]
        assert not server.violations

"""The walk over one channel's uploads: a playlist, its videos' details, and the free feed before it.

Ids decide what is new, since premieres enter the list with an older date. The list is read where the
feed shows something that it cannot tell itself, where the feed fails (then at most once an hour), and
once a day in any case. Videos that vanished from among others are looked up before they count as
deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime

from distill_grpc.sources import api_json, api_state
from distill_grpc.sources.api_json import instant, list_at, text_at
from distill_grpc.sources.api_pages import endless
from distill_grpc.sources.base import FetchRequest, Json, Page, PlatformError
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.youtube_api import AT_ONCE, YoutubeApi
from distill_grpc.sources.youtube_feed import Glance, glance
from distill_grpc.sources.youtube_items import (
    added,
    entry_id,
    is_hidden,
    items_of,
    published,
)

_MAX_PAGES = 200
_MAX_KNOWN = 500
_GROUND = 30  # known entries on one page that show that nothing new stands behind them
_LIST_EVERY = 86_400  # seconds, where the feed shows nothing new
_LIST_EVERY_WITHOUT_FEED = 3_600
_UNREAD = "?"  # in place of the instant of a change that was seen and not read
_DETAILS = "snippet,contentDetails,statistics,status,liveStreamingDetails"
# Playlists of a channel that have its id in their name: all uploads, and long videos only.
_ALL, _LONG = "UU", "UULF"


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    channel: str = ""  # its id
    floor: int = 0  # epoch seconds: older videos were not wanted
    known: list[str] = field(default_factory=list)  # ids, newest first
    read_at: int = 0  # epoch seconds of the last read, by feed or list
    listed_at: int = 0  # epoch seconds of the last list that was read to its end
    feed_etag: str = ""
    feed_modified: str = ""
    feed: dict[str, str] = field(default_factory=dict)  # video → when it was changed
    walk_token: str = ""  # of the page to read next
    walk_seen: list[str] = field(default_factory=list)
    walk_pages: int = 0
    walk_barren: int = 0  # pages in a row without anything that was not seen in the walk


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploads:
    """Reads the uploads of a channel; `feeds` is the address of the free feeds, empty for none."""

    api: YoutubeApi
    http: HttpClient
    feeds: str
    request: FetchRequest
    part: str

    async def read(self, channel: str, *, shorts: bool) -> AsyncGenerator[Page, None]:
        """Reads what is new, or goes on where a walk was left. Raises a `SourceFailure`."""
        state = api_state.load(_State, self.request.cursors.get(self.part))
        if state.channel != channel:
            state = _State(channel=channel)
        if int(self._since.timestamp()) < state.floor:
            state = replace(_ended(state), known=[], listed_at=0)
        state = replace(state, floor=int(self._since.timestamp()), read_at=self._now)
        playlist = f"{_ALL if shorts else _LONG}{channel.removeprefix('UC')}"
        if self.feeds and state.listed_at and not state.walk_token:
            feed = await glance(
                self.http,
                self.feeds,
                "" if shorts else playlist,
                channel,
                etag=state.feed_etag,
                modified=state.feed_modified,
            )
            if not self._must_list(state, feed):
                yield await self._from_feed(state, feed)
                return
            state = _with_feed_before_list(state, feed)
        async with aclosing(self._from_list(state, playlist)) as pages:
            async for page in pages:
                yield page

    async def _from_feed(self, state: _State, feed: Glance) -> Page:
        """New and changed videos that the feed named, for one unit at most."""
        changed = {
            video: instant(at)
            for video, at in feed.updated.items()
            if video not in state.known or _is_edited(state, video, at)
        }
        if not changed:
            cursor = api_state.dump(_with_feed(state, feed))
            return Page(part=self.part, cursor=cursor, unchanged=True)
        videos = await self._details(changed)
        items = await asyncio.to_thread(items_of, videos, self._instants(videos, changed))
        gone = [v for v in changed if v in state.known and v not in videos]
        known = [v for v in [*changed, *state.known] if v not in gone]
        state = replace(_with_feed(state, feed), known=_distinct(known))
        return Page(
            part=self.part,
            items=items,
            cursor=api_state.dump(state),
            deleted=gone,
            unchanged=not items and not gone,
        )

    async def _from_list(self, state: _State, playlist: str) -> AsyncGenerator[Page, None]:
        restarted = False
        while True:
            try:
                answer = await self._page(playlist, state)
            except PlatformError as failure:
                if failure.reason == "invalidPageToken" and state.walk_token and not restarted:
                    state, restarted = _ended(state), True
                    continue
                if failure.reason != "playlistNotFound":
                    raise
                await self._prove_there(state.channel)
                answer = {}  # a channel without such videos has no list of them
            entries = list_at(answer, "items")
            news, gone = self._sorted(entries, state)
            videos = await self._details(news)
            items = await asyncio.to_thread(items_of, videos, news)
            deleted, missing = await self._vanished(state, entries)
            deleted = [*deleted, *gone]
            token = text_at(answer, "nextPageToken")
            fresh = [v for v in map(entry_id, entries) if v and v not in state.walk_seen]
            first = state.walk_pages == 0
            state = replace(
                state,
                known=[v for v in state.known if v not in {*deleted, *missing}],
                walk_seen=_distinct([*state.walk_seen, *(v for v in fresh if v not in gone)]),
                walk_pages=state.walk_pages + 1,
                walk_barren=0 if fresh else state.walk_barren + 1,
            )
            if token and (token == state.walk_token or state.walk_pages >= _MAX_PAGES):
                cursor = api_state.dump(_ended(state))
                yield Page(part=self.part, items=items, cursor=cursor, failure=endless())
                return
            # What came since the walk began moves what was seen to later pages, but no further than so
            # many of them: pages that repeat under new tokens have no end either.
            repeats = state.walk_barren > len(state.walk_seen) // AT_ONCE + 1
            last = not token or repeats or self._is_ground(entries, state)
            state = self._completed(state) if last else replace(state, walk_token=token)
            yield Page(
                part=self.part,
                items=items,
                cursor=api_state.dump(state),
                title=_title(entries),
                url=f"https://www.youtube.com/channel/{state.channel}",
                last=last,
                deleted=deleted,
                unchanged=first and last and not items and not deleted,
            )
            if last:
                return

    async def _page(self, playlist: str, state: _State) -> Mapping[str, Json]:
        more = {"pageToken": state.walk_token} if state.walk_token else {}
        return await self.api.get(
            "playlistItems",
            {
                "part": "snippet,contentDetails,status",
                "playlistId": playlist,
                "maxResults": str(AT_ONCE),
                **more,
            },
        )

    async def _details(self, ids: Iterable[str]) -> dict[str, Json]:
        """Details of these videos, by id, for a unit per 50; those that nobody may see are missing."""
        wanted, found = list(ids), {}
        for start in range(0, len(wanted), AT_ONCE):
            some = wanted[start : start + AT_ONCE]
            answer = await self.api.get("videos", {"part": _DETAILS, "id": ",".join(some)})
            # Deletions are concluded from what is missing here: no list is not an empty one.
            for video in api_json.listed(answer.get("items")):
                video_id = text_at(video, "id")
                if video_id in some and not is_hidden(video):
                    found[video_id] = video
        return found

    async def _prove_there(self, channel: str) -> None:
        """Raises `PlatformError` (`gone`) where the channel is no more."""
        answer = await self.api.get("channels", {"part": "id", "id": channel})
        if not list_at(answer, "items"):
            raise PlatformError("YouTube has no such channel any more.", reason="gone")

    async def _vanished(
        self, state: _State, entries: Sequence[Json]
    ) -> tuple[list[str], list[str]]:
        """Known videos that stood among the first page's and do not any more: deleted, and all."""
        if state.walk_pages:
            return [], []
        here = {entry_id(entry) for entry in entries}
        depth = max((n for n, video in enumerate(state.known) if video in here), default=0)
        missing = [video for video in state.known[:depth] if video not in here][:AT_ONCE]
        if not missing:
            return [], []
        there = await self._details(missing)
        return [video for video in missing if video not in there], missing

    def _sorted(
        self, entries: Sequence[Json], state: _State
    ) -> tuple[dict[str, datetime | None], list[str]]:
        """The page's new videos that are wanted, with their instants; and known ones now hidden."""
        known = frozenset(state.known)
        seen = known | frozenset(state.walk_seen)
        news: dict[str, datetime | None] = {}
        gone = []
        for entry in entries:
            video = entry_id(entry)
            if not video:
                continue
            if is_hidden(entry):
                if video in known:
                    gone.append(video)
                continue
            moment = self._moment(published(entry), added(entry), state)
            if video not in seen and (moment is None or moment >= self._since):
                news[video] = moment
        return news, gone

    def _moment(
        self, told: datetime | None, entered: datetime | None, state: _State
    ) -> datetime | None:
        """When a video appeared: a premiere in a list that was known enters it later than it is old."""
        if told is not None and told < self._since and state.listed_at and entered is not None:
            return max(told, entered)
        return told

    def _instants(
        self, videos: Mapping[str, Json], changed: Mapping[str, datetime | None]
    ) -> dict[str, datetime | None]:
        told = {
            v: instant(text_at(videos[v], "snippet", "publishedAt")) for v in changed if v in videos
        }
        return {v: at for v, at in told.items() if at is None or at >= self._since}

    def _must_list(self, state: _State, feed: Glance) -> bool:
        """Whether the playlist has to be read, for what the feed does not tell."""
        age = self._now - state.listed_at
        if feed.failed:
            return age >= _LIST_EVERY_WITHOUT_FEED
        if age >= _LIST_EVERY:
            return True
        if feed.unchanged:
            return False
        new = [video for video in feed.updated if video not in state.known]
        if feed.updated and len(new) == len(feed.updated):
            return True  # there may be more of them than the feed shows
        # Where more left the feed than entered it, something was taken away.
        left = [video for video in state.feed if video not in feed.updated]
        return bool(state.feed) and len(left) > len(new)

    def _is_ground(self, entries: Sequence[Json], state: _State) -> bool:
        """Whether so much of the page is known, or older than wanted, that nothing new follows."""
        known = frozenset(state.known)
        old = [
            entry
            for entry in entries
            if entry_id(entry) in known
            or ((moment := published(entry)) is not None and moment < self._since)
        ]
        return len(old) >= min(_GROUND, len(entries))

    def _completed(self, state: _State) -> _State:
        known = _distinct([*state.walk_seen, *state.known])
        return replace(_ended(state), known=known, listed_at=self._now)

    @property
    def _since(self) -> datetime:
        return self.request.since.get(self.part, self.request.default_since)

    @property
    def _now(self) -> int:
        return int(self.request.now.timestamp())


def channel_of(cursor: Json) -> str:
    """The channel's id that a part's cursor holds; empty where it was not looked up yet."""
    return api_state.load(_State, cursor).channel


def last_read(cursor: Json) -> int:
    """When a channel was read last (epoch seconds), as its cursor tells."""
    return api_state.load(_State, cursor).read_at


def _with_feed(state: _State, feed: Glance) -> _State:
    """With what the feed showed; what it showed before stays where it showed nothing."""
    if feed.failed or feed.unchanged:
        return state
    return replace(state, feed_etag=feed.etag, feed_modified=feed.modified, feed=dict(feed.updated))


def _with_feed_before_list(state: _State, feed: Glance) -> _State:
    """As `_with_feed`; edits, which the list does not tell, are left for the next look at the feed."""
    edited = [v for v, at in feed.updated.items() if v in state.known and _is_edited(state, v, at)]
    state = _with_feed(state, feed)
    if not edited:
        return state
    # Without a validator, so that it is shown again.
    left = {**state.feed, **dict.fromkeys(edited, _UNREAD)}
    return replace(state, feed=left, feed_etag="", feed_modified="")


def _is_edited(state: _State, video: str, at: str) -> bool:
    """Whether a known video was changed since it was read: `at` is when the feed says it was."""
    before = state.feed.get(video)
    if before is not None:
        return before != at
    changed = instant(at)  # not in the feed yet: after the list with it was read
    return changed is not None and changed.timestamp() > state.listed_at


def _ended(state: _State) -> _State:
    return replace(state, walk_token="", walk_seen=[], walk_pages=0, walk_barren=0)


def _distinct(ids: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(ids))[:_MAX_KNOWN]


def _title(entries: Sequence[Json]) -> str | None:
    return next((t for e in entries if (t := text_at(e, "snippet", "channelTitle"))), None)

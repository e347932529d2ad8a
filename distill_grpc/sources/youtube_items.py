"""Videos of YouTube as items."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

import structlog

from distill_grpc.sources import api_json, text
from distill_grpc.sources.api_json import at, instant_at, list_at, number_at, text_at
from distill_grpc.sources.base import Item, Json

_log = structlog.get_logger()

VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{6,20}")

_DURATION = re.compile(
    r"P(?:(\d{1,6})W)?(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,6})S)?)?"
)
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,3}")
_LEFT_OUT = frozenset({"thumbnails", "etag", "localized"})


def items_of(videos: Mapping[str, Json], published: Mapping[str, datetime | None]) -> list[Item]:
    """The items of these videos. `published` holds, by id, when each appeared in the channel's list.

    A video that cannot be understood is logged and left out; it does not stop the others.
    """
    items = []
    for video_id, appeared in published.items():
        if video_id not in videos:
            continue
        try:
            items.append(item(videos[video_id], video_id, appeared))
        except Exception as error:
            _log.warning("video_not_understood", why=type(error).__name__)
    return items


def item(video: Json, video_id: str, appeared: datetime | None) -> Item:
    """A video as an item."""
    snippet = at(video, "snippet")
    channel = text.one_line(text_at(snippet, "channelTitle"), text.MAX_AUTHOR)
    title = text.one_line(text_at(snippet, "title"), text.MAX_TITLE)
    length = seconds(text_at(video, "contentDetails", "duration"))
    live = text_at(snippet, "liveBroadcastContent")
    broadcast = at(video, "liveStreamingDetails") is not None
    statistics = at(video, "statistics")
    likes, comments = number_at(statistics, "likeCount"), number_at(statistics, "commentCount")
    measured = {
        "engagement": None
        if likes is None and comments is None
        else (likes or 0) + (comments or 0),
        "reach": number_at(statistics, "viewCount"),
        "duration_seconds": float(length) if length else None,
    }
    description = text.plain_text(text_at(snippet, "description"))
    return Item(
        platform_id=video_id,
        published_at=appeared,
        content=text.shorten(
            f"{_headline(video, channel, title, length)}\n\n{description}".strip(),
            text.MAX_CONTENT,
        ),
        author=channel,
        title=title,
        url=f"https://www.youtube.com/watch?v={video_id}",
        kind="live" if broadcast or live in {"live", "upcoming"} else "video",
        metrics={name: value for name, value in measured.items() if value is not None},
        tags=tuple(_tags(snippet)),
        language=_language(snippet),
        raw=api_json.kept(video, without=_LEFT_OUT),
    )


def seconds(duration: str) -> int | None:
    """The length of an ISO 8601 duration such as `PT1H2M10S`; None where it is none."""
    found = _DURATION.fullmatch(duration)
    if found is None or duration in {"", "P", "PT"}:
        return None
    weeks, days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    return (((weeks * 7 + days) * 24 + hours) * 60 + minutes) * 60 + rest


def is_hidden(entry: Json) -> bool:
    """Whether an entry of a playlist, or a video, is there for its owner only, or not any more."""
    if text_at(entry, "status", "privacyStatus") in {"private", "privacyStatusUnspecified"}:
        return True
    # The names of such entries, in the answers' language of requests without `hl`.
    return text_at(entry, "snippet", "title") in {"Private video", "Deleted video"} and not text_at(
        entry, "contentDetails", "videoPublishedAt"
    )


def entry_id(entry: Json) -> str:
    """The video that an entry of a playlist stands for; empty where it names none."""
    found = text_at(entry, "contentDetails", "videoId") or text_at(
        entry, "snippet", "resourceId", "videoId"
    )
    return found if VIDEO_ID.fullmatch(found) else ""


def published(entry: Json) -> datetime | None:
    """When the video of a playlist's entry was published."""
    return instant_at(entry, "contentDetails", "videoPublishedAt") or added(entry)


def added(entry: Json) -> datetime | None:
    """When the entry was added to the playlist: for a premiere, later than it was uploaded."""
    return instant_at(entry, "snippet", "publishedAt")


def _headline(video: Json, channel: str, title: str, length: int | None) -> str:
    live = text_at(video, "snippet", "liveBroadcastContent")
    starts = instant_at(video, "liveStreamingDetails", "scheduledStartTime")
    by = f" by {channel}" if channel else ""
    if live == "live":
        what = f"Live now{by}"
    elif live == "upcoming":
        when = f" for {starts:%Y-%m-%d %H:%M} UTC" if starts else ""
        what = f"Announced{by}{when}"
    else:
        what = f"New video{by}" + (f" ({_clock(length)})" if length else "")
    return f"{what}: {title}" if title else what


def _clock(length: int) -> str:
    hours, rest = divmod(length, 3_600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def _tags(snippet: Json) -> list[str]:
    named = [text.one_line(t, 60) for t in list_at(snippet, "tags") if isinstance(t, str)]
    return [tag for tag in named if tag][:20]


def _language(snippet: Json) -> str:
    told = text_at(snippet, "defaultAudioLanguage") or text_at(snippet, "defaultLanguage")
    return told if _LANGUAGE.fullmatch(told) else ""

"""A channel's free feed, which says for nothing whether there is something new.

It shows the newest 15 videos and fails in waves for living channels (404, 500), so that its failing
says nothing about the channel. Only ids and instants are taken from it, by pattern: no XML is parsed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from yarl import URL

from distill_grpc.sources.base import PlatformError
from distill_grpc.sources.http import HttpClient

ADDRESS = "https://www.youtube.com/feeds/videos.xml"

_MAX_BYTES = 2 * 1024 * 1024
_MAX_ENTRIES = 100
_VIDEO = re.compile(rb"<yt:videoId>([A-Za-z0-9_-]{6,20})</yt:videoId>")
_UPDATED = re.compile(rb"<updated>([0-9TZ:.+-]{10,40})</updated>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What a feed showed. `failed`: nothing; `unchanged`: the same as last time."""

    failed: bool = False
    unchanged: bool = False
    etag: str = ""
    modified: str = ""
    updated: Mapping[str, str] = field(default_factory=dict)  # video → when it was changed


async def glance(
    http: HttpClient, address: str, playlist: str, channel: str, *, etag: str, modified: str
) -> Glance:
    """Looks at the feed of a playlist, or of a channel where `playlist` is empty. Never raises."""
    query = {"playlist_id": playlist} if playlist else {"channel_id": channel}
    known = {"If-None-Match": etag, "If-Modified-Since": modified}
    try:
        response = await http.get(
            str(URL(address).with_query(query)),
            headers={"Accept": "application/atom+xml", **{k: v for k, v in known.items() if v}},
            max_bytes=_MAX_BYTES,
        )
    except PlatformError:
        return Glance(failed=True)
    if response.status == 304 and (etag or modified):
        return Glance(unchanged=True, etag=etag, modified=modified)
    if response.status != 200 or b"<feed" not in response.body[:2_000]:
        return Glance(failed=True)
    updated: dict[str, str] = {}
    for entry in response.body.split(b"<entry>", _MAX_ENTRIES + 1)[1 : _MAX_ENTRIES + 1]:
        video, changed = _VIDEO.search(entry), _UPDATED.search(entry)
        if video:
            updated.setdefault(video[1].decode(), changed[1].decode() if changed else "")
    return Glance(
        etag=response.headers.get("ETag", "")[:500],
        modified=response.headers.get("Last-Modified", "")[:100],
        updated=updated,
    )

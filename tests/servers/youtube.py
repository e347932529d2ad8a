"""The YouTube Data API and the channels' feeds, as far as Distill reads them, with quota and faults.

Shapes follow the discovery document and recorded answers of the real one. The quota is counted by
project and begins anew at midnight Pacific time.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from tests.servers.platform import Account, Answering, PlatformServer, http_date

PACIFIC = ZoneInfo("America/Los_Angeles")
_RESOURCES = frozenset({"channels", "playlistItems", "videos", "subscriptions", "search"})


class YoutubeServer(PlatformServer):
    """One YouTube: channels with videos, a user with subscriptions, keys and tokens."""

    def __init__(self, clock: Callable[[], datetime], *, seed: int = 0) -> None:
        super().__init__(clock, seed=seed)
        self.quota = 10_000
        self.spent: defaultdict[tuple[str, str], int] = defaultdict(int)  # (project, day) → units
        self.refused: set[tuple[str, str]] = set()  # those who know that their day is spent
        self.channels: dict[str, dict[str, Any]] = {}
        self.videos: dict[str, dict[str, Any]] = {}
        self.subscriptions: list[str] = []
        self.keys: set[str] = set()
        self.feed_status = 200
        self.drift: Callable[[], None] = lambda: None  # between two pages of a list
        self.generation = 0  # tokens of pages of earlier generations are refused
        self._count = 0

    @property
    def root(self) -> str:
        """The API's address."""
        return f"{self.origin}/youtube/v3"

    # What happens at YouTube.

    def add_account(self, token: str, login: str = "You", **more: Any) -> Account:
        self.accounts[token] = Account(login=login, id=1, **more)
        return self.accounts[token]

    def add_channel(self, title: str, *, handle: str = "") -> str:
        self._count += 1
        channel = f"UC{self._count:022d}"
        self.channels[channel] = {"title": title, "handle": handle, "videos": []}
        return channel

    def add_video(self, channel: str, title: str, *, short: bool = False, **more: Any) -> str:
        self._count += 1
        video = f"vid{self._count:08d}"
        now = self.clock()
        self.videos[video] = {
            "channel": channel,
            "title": title,
            "description": f"About {title}",
            "published": now,
            "added": now,
            "updated": now,
            "privacy": "public",
            "short": short,
            "views": 100,
            "live": "none",
        } | more
        self.channels[channel]["videos"].insert(0, video)
        return video

    def edit(self, video: str, **more: Any) -> None:
        self.videos[video] |= {"updated": self.clock()} | more

    def delete(self, video: str) -> None:
        self.channels[self.videos.pop(video)["channel"]]["videos"].remove(video)

    # Faults that only YouTube has.

    def refuse(self, status: int, reason: str, google: str = "", message: str = "no"):
        async def answer(request: web.Request, real: Answering) -> web.Response:
            return _error(status, reason, google, message)

        return answer

    # The server.

    def holder(self, request: web.Request) -> str:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return token or request.headers.get("X-Goog-Api-Key", "")

    async def respond(self, request: web.Request) -> web.Response:
        if request.path == "/feeds/videos.xml":
            return self._feed(request)
        resource = request.path.removeprefix("/youtube/v3/")
        if resource not in _RESOURCES:
            return web.Response(status=404, text="<html>404</html>", content_type="text/html")
        if "key" in request.query or "access_token" in request.query:
            self.violations.append(f"a secret in an address: {request.path_qs}")
        if resource == "search":
            self.violations.append("search was used")
        if refused := self._refused(request):
            return refused
        answer = getattr(self, f"_{resource}")(request)
        assert isinstance(answer, web.Response)
        return answer

    def _refused(self, request: web.Request) -> web.Response | None:
        """The refusal of who must not ask, or whose day is spent; counts a unit otherwise."""
        holder = self.holder(request)
        token = self.accounts.get(holder)
        if token is None and holder not in self.keys:
            if "Authorization" in request.headers:
                return _error(401, "authError", "UNAUTHENTICATED", "Invalid Credentials")
            return _error(400, "badRequest", "INVALID_ARGUMENT", "API key not valid.")
        expired = token and token.expires_at and token.expires_at <= self.clock()
        if token and (token.revoked or expired):
            return _error(401, "authError", "UNAUTHENTICATED", "Invalid Credentials")
        day = (("project" if token else holder), f"{self.clock().astimezone(PACIFIC):%Y-%m-%d}")
        if day in self.refused:
            self.violations.append(f"asked after the quota was spent: {request.path_qs}")
        self.spent[day] += 1
        if self.spent[day] > self.quota:
            self.refused.add(day)
            message = "The request cannot be completed because you have exceeded your quota."
            return _error(403, "quotaExceeded", "", message)
        return None

    def _subscriptions(self, request: web.Request) -> web.Response:
        if self.holder(request) not in self.accounts:
            return _error(401, "required", "UNAUTHENTICATED", "Login Required")
        if request.query.get("order") != "alphabetical":
            self.violations.append("subscriptions in an order that repeats entries")
        rows = [
            {
                "kind": "youtube#subscription",
                "id": f"sub{number}",
                "snippet": {
                    "title": self.channels[channel]["title"],
                    "resourceId": {"kind": "youtube#channel", "channelId": channel},
                },
            }
            for number, channel in enumerate(self.subscriptions)
        ]
        return self._list(request, "subscriptionListResponse", rows)

    def _channels(self, request: web.Request) -> web.Response:
        query = request.query
        if query.get("mine"):
            account = self.accounts.get(self.holder(request))
            if account is None:
                return _error(401, "required", "UNAUTHENTICATED", "Login Required")
            rows = [{"id": "UC" + "m" * 22, "snippet": {"title": account.login}}]
            return self._list(request, "channelListResponse", rows)
        ids = query.get("id", "").split(",") if "id" in query else []
        if len(ids) > 50:
            return _error(400, "invalidFilters")
        handle = query.get("forHandle", "")
        rows = [
            {"kind": "youtube#channel", "id": key, "snippet": {"title": channel["title"]}}
            for key, channel in self.channels.items()
            if key in ids or (handle and channel["handle"] == handle)
        ]
        return self._list(request, "channelListResponse", rows)

    def _playlistItems(self, request: web.Request) -> web.Response:  # noqa: N802
        playlist = request.query.get("playlistId", "")
        found = self._of_playlist(playlist)
        if found is None:
            return _error(404, "playlistNotFound", "", "The playlist cannot be found.")
        rows = [self._entry(video, playlist) for video in found]
        return self._list(request, "playlistItemListResponse", rows)

    def _videos(self, request: web.Request) -> web.Response:
        ids = request.query.get("id", "").split(",")
        if len(ids) > 50:
            return _error(400, "invalidFilters")
        there = [i for i in ids if i in self.videos and self.videos[i]["privacy"] != "private"]
        self.served["video"] |= set(there)
        return self._list(request, "videoListResponse", [self._video(i) for i in there], most=50)

    def _list(
        self, request: web.Request, kind: str, rows: Sequence[dict[str, Any]], *, most: int = 0
    ) -> web.Response:
        size = most or min(int(request.query.get("maxResults", "5")), 50)
        start = 0
        if token := request.query.get("pageToken"):
            generation, _, place = token.partition("-")
            if int(generation) != self.generation:
                message = "The request specifies an invalid page token."
                return _error(400, "invalidPageToken", "INVALID_ARGUMENT", message)
            start = int(place)
        body: dict[str, Any] = {
            "kind": f"youtube#{kind}",
            "etag": "x",
            "pageInfo": {"totalResults": len(rows), "resultsPerPage": size},
        }
        if start + size < len(rows):
            body["nextPageToken"] = f"{self.generation}-{start + size}"
        page = rows[start : start + size]
        if page or kind != "channelListResponse":
            body["items"] = page  # the real one leaves `items` out for unknown channels
        self.drift()
        return _json(200, body)

    def _of_playlist(self, playlist: str) -> list[str] | None:
        kind = "UULF" if playlist.startswith("UULF") else "UU"
        channel = self.channels.get(f"UC{playlist.removeprefix(kind)}")
        if channel is None:
            return None
        found = [v for v in channel["videos"] if kind == "UU" or not self.videos[v]["short"]]
        return found if found or kind == "UU" else None

    def _entry(self, video: str, playlist: str) -> dict[str, Any]:
        told = self.videos[video]
        hidden = told["privacy"] == "private"
        details = {"videoId": video}
        if not hidden:
            details["videoPublishedAt"] = _stamp(told["published"])
        return {
            "kind": "youtube#playlistItem",
            "id": f"entry-{video}",
            "snippet": {
                "publishedAt": _stamp(told["added"]),
                "channelId": told["channel"],
                "title": "Private video" if hidden else told["title"],
                "description": "This video is private." if hidden else told["description"],
                "channelTitle": self.channels[told["channel"]]["title"],
                "playlistId": playlist,
                "resourceId": {"kind": "youtube#video", "videoId": video},
            },
            "contentDetails": details,
            "status": {"privacyStatus": told["privacy"]},
        }

    def _video(self, video: str) -> dict[str, Any]:
        told = self.videos[video]
        return {
            "kind": "youtube#video",
            "id": video,
            "snippet": {
                "publishedAt": _stamp(told["published"]),
                "channelId": told["channel"],
                "title": told["title"],
                "description": told["description"],
                "channelTitle": self.channels[told["channel"]]["title"],
                "tags": ["testing"],
                "liveBroadcastContent": told["live"],
                "defaultAudioLanguage": "en-GB",
            },
            "contentDetails": {"duration": "PT1H2M3S"},
            "statistics": {"viewCount": str(told["views"]), "likeCount": "7", "commentCount": "2"},
            "status": {"privacyStatus": told["privacy"]},
        }

    def _feed(self, request: web.Request) -> web.Response:
        if self.feed_status != 200:
            return web.Response(status=self.feed_status, text="<html>", content_type="text/html")
        channel = request.query.get("channel_id", "")
        playlist = request.query.get("playlist_id", "") or f"UU{channel.removeprefix('UC')}"
        found = self._of_playlist(playlist)
        if found is None:
            return web.Response(status=404, text="<html>", content_type="text/html")
        shown = [v for v in found if self.videos[v]["privacy"] == "public"][:15]
        entries = "".join(
            f"<entry><id>yt:video:{v}</id><yt:videoId>{v}</yt:videoId>"
            f"<published>{_stamp(self.videos[v]['published'])}</published>"
            f"<updated>{_stamp(self.videos[v]['updated'])}</updated></entry>"
            for v in shown
        )
        return web.Response(
            text=f'<?xml version="1.0"?><feed xmlns:yt="y">{entries}</feed>',
            content_type="text/xml",
            headers={"Date": http_date(self.clock())},
        )


def midnight(moment: datetime) -> datetime:
    """The next midnight Pacific time."""
    day = moment.astimezone(PACIFIC).date() + timedelta(days=1)
    return datetime.combine(day, datetime.min.time(), PACIFIC)


def _json(status: int, body: Any) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps(body).encode(),
        headers={"Content-Type": "application/json; charset=UTF-8"},
    )


def _error(status: int, reason: str, google: str = "", message: str = "no") -> web.Response:
    error: dict[str, Any] = {
        "code": status,
        "message": message,
        "errors": [{"domain": "youtube.test", "reason": reason, "message": message}],
    }
    if google:
        error["status"] = google
    return _json(status, {"error": error})


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

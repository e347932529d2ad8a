"""A small X to play the platform: people, posts, timelines, and a clock that only tests move."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = 1_288_834_974_657


@dataclass
class XPost:
    """A post; `seen_at` is when timelines begin to show it."""

    id: int
    text: str
    author: str
    at: datetime
    seen_at: datetime
    history: list[int] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)
    deleted: bool = False


class XWorld:
    """Who wrote what, and which timelines show it.

    `me` is the user of every token. Timelines are `home`, `mentions` and `list:<id>`.
    """

    def __init__(self, now: datetime = datetime(2024, 1, 10, 10, 0, tzinfo=UTC)) -> None:
        self.now = now
        self.me = "2244994945"
        self.people = {self.me: "distill_reader", "100": "mara_codes", "101": "okoro_builds"}
        self.posts: dict[int, XPost] = {}
        self.timelines: dict[str, list[int]] = {"home": [], "mentions": []}
        self.own_lists: list[str] = []
        self.reach = {"home": 3_200, "mentions": 800}
        self._sequence = 0

    def pass_time(self, **units: float) -> None:
        """Moves the clock, as `timedelta` takes it."""
        self.now += timedelta(**units)

    def publish(
        self,
        text: str,
        *,
        on: Iterable[str] = ("home",),
        author: str = "100",
        at: datetime | None = None,
        late: timedelta = timedelta(0),
        **more: Any,
    ) -> XPost:
        """A post of the instant `at`, shown on these timelines from `late` after it."""
        at = at or self.now
        id_ = self._new_id(at)
        post = XPost(id_, text, author, at, at + late, [id_], more)
        self.posts[id_] = post
        for name in on:
            self.timelines.setdefault(name, []).append(id_)
        return post

    def edit(self, post: XPost, text: str) -> XPost:
        """A new version of a post: another id, which the timelines show instead."""
        id_ = self._new_id(self.now)
        newer = XPost(id_, text, post.author, self.now, self.now, [*post.history, id_], post.more)
        self.posts[id_] = newer
        for shown in self.timelines.values():
            if post.id in shown:
                shown[shown.index(post.id)] = id_
        return newer

    def delete(self, post: XPost) -> None:
        """Takes a post away for good."""
        post.deleted = True

    def shown(self, timeline: str) -> list[XPost]:
        """What a timeline shows now, newest first, as far as it reaches."""
        posts = [self.posts[id_] for id_ in self.timelines.get(timeline, [])]
        live = [p for p in posts if not p.deleted and p.seen_at <= self.now]
        live.sort(key=lambda post: -post.id)
        live = live[: self.reach.get(timeline, 10**6)]
        if timeline == "home":
            live = [post for post in live if post.at >= self.now - timedelta(days=7)]
        return live

    def first_ids(self, timeline: str) -> set[str]:
        """The ids by which Distill must know what a timeline shows."""
        return {str(post.history[0]) for post in self.shown(timeline)}

    def _new_id(self, at: datetime) -> int:
        self._sequence = (self._sequence + 1) % 4096
        return ((int(at.timestamp() * 1000) - EPOCH) << 22) + self._sequence

    def rendered(self, post: XPost, spelling: str, *, full: bool = True) -> dict[str, Any]:
        """A post as the API prints it, in one of its two spellings."""
        record: dict[str, Any] = {
            "id": str(post.id),
            "text": post.text,
            f"edit_history_{spelling}_ids": [str(id_) for id_ in post.history],
        }
        if not full:
            return record
        return record | {
            "author_id": post.author,
            "conversation_id": str(post.history[0]),
            "created_at": post.at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "lang": "en",
            "public_metrics": {"retweet_count": 1, "reply_count": 2, "like_count": 3,
                               "quote_count": 0, "bookmark_count": 0, "impression_count": 90},
            **post.more,
        }  # fmt: skip

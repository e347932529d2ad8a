"""What the platforms say about themselves, and how their items look, for playing them.

Facts (scopes, limits) are the platforms' own; everything else (people, projects, stories) is made up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from random import Random

from distill_grpc.sources import email, github_settings, rss, x, youtube_settings
from distill_grpc.sources.base import Json, SourceInfo
from distill_grpc.sources.mock_stories import Telling


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A platform to be played."""

    info: SourceInfo
    parts: tuple[str, ...]  # of an account whose settings name none
    parts_setting: str  # the setting that names parts; empty where the platform knows them
    render: Callable[[str, Telling, str, Random], Rendered]  # (part, telling, slot's id, chance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """An item in the shape of its platform; `platform_id` and instant are added by the player."""

    id: str
    content: str
    author: str
    title: str
    url: str
    kind: str
    thread_id: str = ""
    metrics: Mapping[str, float]
    tags: tuple[str, ...] = ()
    raw: Json


_REPOSITORIES = (
    "harbor-labs/tidewater",
    "quillworks/inkpress",
    "northmoss/lantern",
    "fennel/relay",
)
_PEOPLE = ("mara-lindt", "okoro", "jun-hayashi", "sofia-brandt", "dev-raman", "teodor")
_CHANNELS = ("Slow Machines", "The Compiler Room", "Field Notes Weekly", "Signal & Noise")
_HANDLES = ("lantern_dev", "mara_codes", "citydesk", "okoro_builds", "rust_weekly", "junhayashi")
_SENDERS = (
    ("Mara Lindt", "mara@harborlabs.example"),
    ("Northmoss Billing", "billing@northmoss.example"),
    ("Weekly Brief", "brief@signalnoise.example"),
    ("Sofia Brandt", "sofia.brandt@quillworks.example"),
)
_BLOGS = {
    "https://blog.harborlabs.example/feed.xml": "Harbor Labs Engineering",
    "https://citydesk.example/news/rss": "City Desk",
    "https://fieldnotes.example/feed.json": "Field Notes",
}


def _github(_part: str, telling: Telling, slot: str, chance: Random) -> Rendered:
    repository = chance.choice(_REPOSITORIES)
    actor = chance.choice(_PEOPLE)
    kind, noun, path = chance.choice(
        (
            (
                "release",
                "ReleaseEvent",
                f"releases/tag/v{chance.randint(1, 9)}.{chance.randint(0, 30)}.0",
            ),
            ("issue", "IssuesEvent", f"issues/{chance.randint(100, 4999)}"),
            ("pull_request", "PullRequestEvent", f"pull/{chance.randint(100, 4999)}"),
        )
    )
    url = f"https://github.example/{repository}/{path}"
    comments = chance.randint(0, 40)
    return Rendered(
        id=f"2{slot}",
        content=f"{telling.text}\n\nSee {repository} for the discussion.",
        author=actor,
        title=f"[{repository}] {telling.title}",
        url=url,
        kind=kind,
        thread_id=f"{repository}/{path}",
        metrics={
            "engagement": float(comments),
            "reach": float(comments * 25 + chance.randint(0, 90)),
        },
        tags=telling.tags,
        raw={
            "id": f"2{slot}",
            "type": noun,
            "actor": {"login": actor},
            "repo": {"name": repository, "url": f"https://api.github.example/repos/{repository}"},
            "payload": {"action": "published", "title": telling.title, "html_url": url},
            "public": True,
        },
    )


def _youtube(part: str, telling: Telling, slot: str, chance: Random) -> Rendered:
    channel = part if part in _CHANNELS else chance.choice(_CHANNELS)
    video = f"mk{slot}"
    views = chance.randint(400, 250_000)
    likes = views // chance.randint(15, 60)
    return Rendered(
        id=video,
        content=f"{telling.text}\n\nChapters: 0:00 Intro, 1:20 {telling.title}, 8:45 What it means.",
        author=channel,
        title=telling.title,
        url=f"https://youtube.example/watch?v={video}",
        kind="video",
        metrics={"engagement": float(likes), "reach": float(views)},
        tags=telling.tags,
        raw={
            "kind": "youtube#playlistItem",
            "snippet": {
                "title": telling.title,
                "channelTitle": channel,
                "resourceId": {"kind": "youtube#video", "videoId": video},
            },
            # The platform's numbers are strings.
            "statistics": {"viewCount": str(views), "likeCount": str(likes)},
            "contentDetails": {"duration": f"PT{chance.randint(3, 48)}M{chance.randint(0, 59)}S"},
        },
    )


def _x(part: str, telling: Telling, slot: str, chance: Random) -> Rendered:
    handle = chance.choice(_HANDLES)
    post = f"19{slot}"
    likes, reposts = chance.randint(0, 900), chance.randint(0, 200)
    conversation = f"19{slot[:-1]}0"
    text = f"{telling.short} #{telling.tags[0].replace(' ', '')}"
    if part == "mentions":
        text = f"@you {text}"
    return Rendered(
        id=post,
        content=text,
        author=handle,
        title="",
        url=f"https://x.example/{handle}/status/{post}",
        kind="post",
        thread_id=conversation,
        metrics={"engagement": float(likes + reposts), "reach": float((likes + 1) * 40)},
        tags=telling.tags,
        raw={
            "id": post,
            "text": text,
            "author_id": str(2_244_994_000 + chance.randint(0, 900)),
            "conversation_id": conversation,
            "public_metrics": {"like_count": likes, "retweet_count": reposts, "reply_count": 0},
        },
    )


def _email(part: str, telling: Telling, slot: str, chance: Random) -> Rendered:
    name, address = chance.choice(_SENDERS)
    message_id = f"<{slot}.{chance.randint(1000, 9999)}@{address.partition('@')[2]}>"
    return Rendered(
        id=message_id,
        content=f"Hello,\n\n{telling.text}\n\nLet me know what you think before Friday.\n\n{name}",
        author=f"{name} <{address}>",
        title=telling.title,
        url="",
        kind="mail",
        thread_id=message_id,
        metrics={},
        raw={
            "message_id": message_id,
            "from": f"{name} <{address}>",
            "to": "you@example.com",
            "subject": telling.title,
            "folder": part,
            "flags": ["\\Seen"] if chance.random() < 0.4 else [],
        },
    )


def _rss(part: str, telling: Telling, slot: str, chance: Random) -> Rendered:
    blog = _BLOGS.get(part, part.partition("://")[2].partition("/")[0])
    url = f"{part.rstrip('/')}/articles/{slot}"
    comments = chance.randint(0, 60)
    return Rendered(
        id=f"{sha256(part.encode()).hexdigest()[:10]}:{slot}",
        content=telling.text,
        author=blog,
        title=telling.title,
        url=url,
        kind="article",
        metrics={"engagement": float(comments)},
        tags=telling.tags,
        raw={
            "id": url,
            "title": telling.title,
            "link": url,
            "tags": list(telling.tags),
            "html": f"<p>{telling.text}</p>",
        },
    )


PLATFORMS: Mapping[str, Platform] = {
    "email": Platform(
        info=email.INFO,
        parts=email.DEFAULT_FOLDERS,
        parts_setting="folders",
        render=_email,
    ),
    "github": Platform(
        info=github_settings.INFO,
        parts=("notifications", "received_events"),
        parts_setting="",
        render=_github,
    ),
    "rss": Platform(
        info=rss.INFO,
        parts=tuple(_BLOGS),
        parts_setting="feeds",
        render=_rss,
    ),
    "x": Platform(
        info=x.INFO,
        parts=x.DEFAULT_TIMELINES,
        parts_setting="timelines",
        render=_x,
    ),
    "youtube": Platform(
        info=youtube_settings.INFO,
        parts=_CHANNELS[:2],
        parts_setting="channels",
        render=_youtube,
    ),
}

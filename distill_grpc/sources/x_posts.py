"""Posts of X become items: whole texts, plain links, who said it, and how far it went.

X spells its fields in two ways (`edit_history_tweet_ids` and `edit_history_post_ids`, and so on), by
the version of its API; both are read. Ids are strings of 64-bit numbers whose upper bits are the
instant of the post ("snowflakes").
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from distill_grpc.sources import text
from distill_grpc.sources.base import Item, Json

_SNOWFLAKES_BEGIN = 1_288_834_974_657  # milliseconds since 1970
_FIRST_SNOWFLAKE = 1 << 35  # smaller ids were counted one by one, until November 2010
_MAX_ID = (1 << 63) - 1
_MAX_ENTITIES = 200
_MAX_TAGS = 20
_ENGAGEMENT = ("like_count", "retweet_count", "repost_count", "reply_count", "quote_count",
               "bookmark_count")  # fmt: skip
_KINDS = {"retweeted": "repost", "reposted": "repost", "quoted": "quote", "replied_to": "reply"}
_DEEPEST_RAW = 30


@dataclass(frozen=True, slots=True)
class Post:
    """A post as it is walked over: its ids, its instant and what it becomes."""

    id: int  # of the version that was served; each edit has a new one
    first: int  # of its first version: what identifies it
    item: Item


def snowflake(instant: datetime) -> int:
    """The smallest id that a post of this instant can have."""
    return max(0, int(instant.timestamp() * 1000) - _SNOWFLAKES_BEGIN) << 22


def instant_of(id_: int) -> datetime | None:
    """When the post of this id was written, or None where the id does not tell."""
    if not _FIRST_SNOWFLAKE <= id_ <= _MAX_ID:
        return None
    return datetime.fromtimestamp(((id_ >> 22) + _SNOWFLAKES_BEGIN) / 1000, UTC)


def number(value: Json) -> int | None:
    """A 64-bit id out of its text, or None for anything else."""
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 19:
        return None
    found = int(value)
    return found if found <= _MAX_ID else None


def posts_of(answer: Mapping[str, Json], now: datetime) -> list[Post]:
    """The posts of a page, as served; what is no post is left out."""
    included = _included(answer)
    found = (_post(entry, included, now) for entry in records(answer.get("data")))
    return [post for post in found if post is not None]


def resources_of(answer: Mapping[str, Json]) -> tuple[list[str], list[str]]:
    """The ids of the posts and of the users that an answer holds: what X charges for."""
    included = _mapping(answer.get("includes"))
    posts = [
        *records(answer.get("data")),
        *records(included.get("tweets")),
        *records(included.get("posts")),
    ]
    return _ids(posts), _ids(records(included.get("users")))


def missing_of(answer: Mapping[str, Json]) -> frozenset[int]:
    """The ids of posts that X says are gone; those that it only hides are not among them."""
    ids = (
        number(error.get("resource_id") or error.get("value"))
        for error in records(answer.get("errors"))
        if error.get("resource_type") in {"tweet", "post"}
        and str(error.get("type", "")).endswith("/resource-not-found")
    )
    return frozenset(id_ for id_ in ids if id_ is not None)


def records(value: Json) -> list[Mapping[str, Json]]:
    """The objects of a JSON array; nothing where it is something else."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


@dataclass(frozen=True, slots=True)
class _Included:
    """What an answer holds beside its posts, by id."""

    users: Mapping[str, Mapping[str, Json]]
    posts: Mapping[str, Mapping[str, Json]]

    def handle(self, post: Mapping[str, Json]) -> str:
        """The name of a post's author, as it stands in addresses; empty where it is not told."""
        name = self.users.get(_string(post.get("author_id")), {}).get("username")
        return text.one_line(_string(name), text.MAX_AUTHOR)


def _included(answer: Mapping[str, Json]) -> _Included:
    included = _mapping(answer.get("includes"))
    posts = [*records(included.get("tweets")), *records(included.get("posts"))]
    return _Included(
        {_string(user.get("id")): user for user in records(included.get("users"))},
        {_string(post.get("id")): post for post in posts},
    )


def _post(entry: Mapping[str, Json], included: _Included, now: datetime) -> Post | None:
    id_ = number(entry.get("id"))
    if id_ is None:
        return None
    history = entry.get("edit_history_tweet_ids") or entry.get("edit_history_post_ids")
    first = number(history[0]) if isinstance(history, list) and history else None
    first = id_ if first is None else first
    return Post(id_, first, _item(entry, id_, first, included, now))


def _item(
    entry: Mapping[str, Json], id_: int, first: int, included: _Included, now: datetime
) -> Item:
    references = _references(entry)
    kind, shown, said = "post", entry, _said(entry)
    for how, referenced in references:
        kind = _KINDS[how] if kind in {"post", "reply"} else kind
        other = included.posts.get(referenced)
        if other is None:
            continue
        name = included.handle(other) or "somebody"
        if _KINDS[how] == "repost":
            # A repost's own text is cut off, and nobody likes it but the original.
            shown, said = other, f"RT @{name}: {_said(other)}"
        elif _KINDS[how] == "quote":
            said = f"{said}\n\nQuoting @{name}: {_said(other)}".strip()
    handle = included.handle(entry)
    published = instant_of(first) or _instant(entry.get("created_at"))
    return Item(
        platform_id=str(first),
        published_at=min(published, now) if published else None,
        content=text.shorten(said, text.MAX_CONTENT) or "(no text)",
        author=handle,
        url=f"https://x.com/{handle or 'i'}/status/{id_}",
        kind=kind,
        thread_id=text.one_line(_string(entry.get("conversation_id")), 100),
        metrics=_metrics(shown),
        tags=_tags(shown),
        language=_language(shown.get("lang")),
        raw=_storable(
            {
                "post": entry,
                "author": included.users.get(_string(entry.get("author_id"))),
                "referenced": [
                    included.posts[ref] for _, ref in references if ref in included.posts
                ],
            }
        ),
    )


def _said(post: Mapping[str, Json]) -> str:
    """The whole text of a post as a person reads it, with links that say where they lead."""
    long = _mapping(post.get("note_tweet") or post.get("note_post"))
    whole = long if isinstance(long.get("text"), str) else post
    # Entities first: what an address holds must not be read as one.
    said = html.unescape(_string(whole.get("text")))
    links = [
        *records(_mapping(whole.get("entities")).get("urls")),
        *records(_mapping(post.get("entities")).get("urls")),
    ]
    for link in links[:_MAX_ENTITIES]:
        short = _string(link.get("url"))
        target = _string(link.get("unwound_url")) or _string(link.get("expanded_url"))
        if short and text.is_web_url(target):
            said = said.replace(short, target)
    return text.clean(said).strip()


def _references(post: Mapping[str, Json]) -> list[tuple[str, str]]:
    found = records(post.get("referenced_tweets") or post.get("referenced_posts"))
    named = [(_string(entry.get("type")), _string(entry.get("id"))) for entry in found[:10]]
    return [(how, id_) for how, id_ in named if how in _KINDS]


def _metrics(post: Mapping[str, Json]) -> dict[str, float]:
    """Engagement: what people did with it. Reach: how often it was shown."""
    told = {
        name: float(count)
        for name, count in _mapping(post.get("public_metrics")).items()
        if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 10**15
    }
    if not told:
        return {}
    metrics = {"engagement": sum(told.get(name, 0.0) for name in _ENGAGEMENT)}
    if "impression_count" in told:
        metrics["reach"] = told["impression_count"]
    return metrics


def _tags(post: Mapping[str, Json]) -> tuple[str, ...]:
    long = _mapping(post.get("note_tweet") or post.get("note_post"))
    entities = _mapping(long.get("entities") or post.get("entities"))
    names = (text.one_line(_string(t.get("tag")), 100) for t in records(entities.get("hashtags")))
    return tuple(dict.fromkeys(name for name in names if name))[:_MAX_TAGS]


def _language(told: Json) -> str:
    """BCP 47; X's own codes for `unknown` and kinds of media are none (`und`, `qme`, `zxx`)."""
    name = _string(told)
    known = name.isascii() and name.replace("-", "").isalnum() and len(name) <= 35
    return name if known and name not in {"und", "zxx"} and not name.startswith("q") else ""


def _instant(value: Json) -> datetime | None:
    try:
        instant = datetime.fromisoformat(_string(value))
        return instant.astimezone(UTC) if instant.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _storable(value: Any, depth: int = 0) -> Json:
    """What X sent, without characters and numbers that nobody can store, and not endlessly deep."""
    if depth > _DEEPEST_RAW:
        return None
    if isinstance(value, dict):
        return {text.clean(str(k)): _storable(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list):
        return [_storable(entry, depth + 1) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if abs(value) < 1 << 53 else str(value)
    return text.clean(value) if isinstance(value, str) else value


def _ids(entries: Sequence[Mapping[str, Json]]) -> list[str]:
    return [str(id_) for entry in entries if (id_ := number(entry.get("id"))) is not None]


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _string(value: Json) -> str:
    return value if isinstance(value, str) else ""

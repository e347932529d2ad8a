"""From an item as a source yields it to a row as the database keeps it. Pure functions."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import structlog

from distill_grpc import clock
from distill_grpc.sources.base import Item

log = structlog.get_logger()

MAX_CONTENT = 100_000
MAX_RAW = 1_000_000  # bytes
MAX_PLATFORM_ID = 512  # bytes; the unique key must fit an index page
MAX_TAGS = 20
# PostgreSQL takes no NUL, UTF-8 no lone surrogates.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_SPACES = re.compile(r"\s+")


def item_id(source: str, platform_id: str) -> UUID:
    """The id of an item: derived, so that the same item keeps it for ever."""
    return UUID(bytes=hashlib.sha256(f"{source}\n{platform_id}".encode()).digest()[:16])


def rows(
    source: str, items: Iterable[Item], *, since: datetime, now: datetime
) -> list[dict[str, Any]]:
    """Rows for one upsert: bounded, storable, each id once (the last wins), none before `since`.

    An item that cannot be stored is logged and left out; it does not stop its page.
    """
    found: dict[UUID, dict[str, Any]] = {}
    for item in items:
        try:
            row = _row(source, item, now)
        except Exception as error:  # whatever shape a source gave it
            log.warning("item_refused", source=source, why=f"{type(error).__name__}: {error}"[:200])
            continue
        if row["published_at"] >= since:
            found[row["id"]] = row
    return list(found.values())


def platform_ids(given: Iterable[str]) -> list[str]:
    """Platform ids in the form in which items are kept under them; what can be none is left out."""
    return [_platform_id(text) for text in given if _UNSTORABLE.sub("", text)]


def tag(text: str) -> str:
    """A tag in the one form in which tags are kept: lower case, words joined by dashes."""
    return _SPACES.sub("-", _text(text, 60).strip().casefold())


def _row(source: str, item: Item, now: datetime) -> dict[str, Any]:
    platform_id = _platform_id(item.platform_id)
    published = min(item.published_at or now, now)
    raw = _raw(source, item)
    told: dict[str, Any] = {
        "content": _text(item.content, MAX_CONTENT),
        "title": _text(item.title, 1_000),
        "author": _text(item.author, 500),
        "url": _text(item.url, 2_000),
        "kind": _text(item.kind, 50),
        "thread_id": _text(item.thread_id, 500),
        "language": _text(item.language, 35),
        "metrics": _metrics(item.metrics),
        "ai_tags": _tags(item.tags),
    }
    seen = orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
    return {
        **told,
        "id": item_id(source, platform_id),
        "platform_id": platform_id,
        "published_at": clock.whole_seconds(published),
        "raw": orjson.Fragment(raw),
        "backdated": item.backdated,
        "content_hash": hashlib.sha256(seen).hexdigest()[:32],
        "stored_bytes": len(seen) + len(raw),
    }


def _raw(source: str, item: Item) -> bytes:
    """What the platform sent as JSON; null where it cannot be kept, which costs nobody the item."""
    try:
        raw = orjson.dumps(_storable(item.raw))
    except (TypeError, RecursionError) as error:
        log.warning("raw_not_kept", source=source, why=str(error)[:200])
        return b"null"
    return raw if len(raw) <= MAX_RAW else b"null"


def _metrics(given: Mapping[str, float]) -> dict[str, float]:
    metrics = {_text(name, 100): float(value) for name, value in given.items()}
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _platform_id(given: str) -> str:
    text = _UNSTORABLE.sub("", given)
    if not text:
        raise ValueError("an item without a platform id")
    encoded = text.encode()
    if len(encoded) <= MAX_PLATFORM_ID:
        return text
    return f"sha256:{hashlib.sha256(encoded).hexdigest()}"


def _tags(given: Iterable[str]) -> list[str]:
    tags = (tag(text) for text in given)
    return list(dict.fromkeys(t for t in tags if t))[:MAX_TAGS]


def _text(value: str, limit: int) -> str:
    return _UNSTORABLE.sub("", value)[:limit]


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub("", value)
    if isinstance(value, dict):
        return {_UNSTORABLE.sub("", str(k)): _storable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(v) for v in value]
    if isinstance(value, int) and abs(value) >= 2**63:
        return str(value)
    return value


def plain(text: str, limit: int) -> str:
    """Text from outside in one storable line of at most `limit` characters."""
    return _SPACES.sub(" ", _text(text, 4 * limit)).strip()[:limit]

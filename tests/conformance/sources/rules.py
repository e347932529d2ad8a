"""What every page and item of every source must be, whatever platform it comes from."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from distill_grpc.sources.base import Item, Page, SourceFailure

MAX_SAFE_INT = 2**53  # JSON readers elsewhere keep numbers as doubles
UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def check_pages(pages: Iterable[Page], *, parts: Iterable[str], now: datetime) -> list[Item]:
    """Asserts that the pages are well-formed; returns their items."""
    known, finished = set(parts), set()
    items: list[Item] = []
    for page in pages:
        assert page.part in known
        assert page.part not in finished, "nothing follows a part's last page"
        if page.last:
            finished.add(page.part)
        assert page.failure is None or isinstance(page.failure, SourceFailure)
        if page.failure is not None:
            assert page.failure.message
            assert page.last
        if page.ended:
            assert page.last
            assert page.failure is None
        if page.unchanged:
            assert not page.items
            assert page.failure is None
        assert 0 <= page.waiting <= 86_400
        if page.waiting:
            assert page == Page(part=page.part, waiting=page.waiting), "it says nothing else"
        assert math.isfinite(page.min_interval)
        assert 0 <= page.min_interval <= 86_400
        if page.hub:
            assert all(urlsplit(a).scheme in {"http", "https"} for a in (page.hub, page.topic))
            assert max(len(page.hub.encode()), len(page.topic.encode())) <= 1_000
        check_json(page.cursor)
        assert len(json.dumps(page.cursor)) < 200_000
        items.extend(page.items)
    check_items(items, now=now)
    return items


def check_items(items: Iterable[Item], *, now: datetime) -> None:
    """Asserts that each item can be stored and shown, and that no two have the same id."""
    ids = set()
    for item in items:
        assert 0 < len(item.platform_id) <= 1000
        assert item.platform_id not in ids, f"{item.platform_id!r} is there twice"
        ids.add(item.platform_id)
        if item.published_at is not None:
            assert item.published_at.tzinfo is UTC
            assert item.published_at <= now
        assert 0 < len(item.content) <= 100_000
        assert len(item.title) <= 1_000
        assert len(item.author) <= 500
        assert "\n" not in item.title + item.author
        assert len(item.tags) <= 20
        assert item.kind
        for said in (
            *(item.platform_id, item.content, item.title, item.author, item.url, item.kind),
            *(item.thread_id, item.language, *item.tags),
        ):
            assert not UNWANTED.search(said), repr(said)
        if item.url:
            assert urlsplit(item.url).scheme in {"http", "https"}
            assert urlsplit(item.url).hostname
            assert len(item.url) <= 2_000
        for value in item.metrics.values():
            assert isinstance(value, float)
            assert math.isfinite(value)
        check_json(item.raw)
        assert len(json.dumps(item.raw, ensure_ascii=False).encode()) < 200_000


def check_json(value: Any) -> None:
    """Asserts that the value survives JSON and PostgreSQL's JSONB unchanged."""
    if isinstance(value, dict):
        for name, inner in value.items():
            assert isinstance(name, str)
            check_json(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_json(inner)
    elif isinstance(value, str):
        assert not UNWANTED.search(value), repr(value)
    elif isinstance(value, float):
        assert math.isfinite(value)
    else:
        assert value is None or isinstance(value, bool | int)
        assert abs(value or 0) < MAX_SAFE_INT

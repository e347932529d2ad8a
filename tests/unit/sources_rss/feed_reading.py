"""Writes feeds, and reads one as the core does: keeping its cursor from read to read."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from xml.sax.saxutils import escape

from distill_grpc.sources.base import FetchRequest, Item, Page, SourceFailure
from distill_grpc.sources.rss import RssSource
from tests.conformance.sources.rules import check_items, check_pages

NOW = datetime(2024, 1, 10, 10, 0, tzinfo=UTC)


def item(
    title: str = "",
    *,
    guid: str = "",
    link: str = "",
    hours: float | None = None,
    body: str = "",
    extra: str = "",
) -> str:
    """An RSS item; `hours` before `NOW` it was published, None: it does not say."""
    parts = [f"<title>{escape(title)}</title>"] if title else []
    parts += [f'<guid isPermaLink="false">{escape(guid)}</guid>'] if guid else []
    parts += [f"<link>{escape(link)}</link>"] if link else []
    if hours is not None:
        parts.append(f"<pubDate>{format_datetime(NOW - timedelta(hours=hours))}</pubDate>")
    parts += [f"<description>{escape(body)}</description>"] if body else []
    return f"<item>{''.join(parts)}{extra}</item>"


def feed(*items: str, channel: str = "") -> bytes:
    """An RSS document."""
    head = "<title>Example</title><link>https://blog.example/</link>"
    return (
        "<?xml version='1.0' encoding='utf-8'?>"
        f'<rss version="2.0" xmlns:sy="http://purl.org/rss/1.0/modules/syndication/">'
        f"<channel>{head}{channel}{''.join(items)}</channel></rss>"
    ).encode()


def json_feed(*items: dict[str, Any], **feed: Any) -> bytes:
    """A JSON Feed."""
    head = {"version": "https://jsonfeed.org/version/1.1", "title": "Example"}
    return json.dumps({**head, **feed, "items": items}).encode()


def request_for(
    urls: list[str],
    *,
    cursors: dict[str, Any] | None = None,
    since: datetime = NOW - timedelta(days=365),
    now: datetime = NOW,
) -> FetchRequest:
    """A read of these feeds."""
    return FetchRequest(
        credentials={},
        settings={"feeds": urls},
        cursors=cursors or {},
        since={},
        default_since=since,
        skip=frozenset(),
        now=now,
    )


@dataclass
class Reader:
    """Reads one feed again and again."""

    rss: RssSource
    url: str
    now: datetime = NOW
    since: datetime = NOW - timedelta(days=365)
    cursor: Any = None
    pages: list[Page] = field(default_factory=list)

    async def read(self, **later: float) -> list[Item]:
        """The items of one more read, `later` (as for a timedelta) than the one before."""
        self.now += timedelta(**later)
        stored = {} if self.cursor is None else {self.url: json.loads(json.dumps(self.cursor))}
        request = request_for([self.url], cursors=stored, since=self.since, now=self.now)
        self.pages = [page async for page in self.rss.fetch(request)]
        items = check_pages(self.pages, parts=[self.url], now=self.now)
        check_items(items, now=self.now)
        if self.page.cursor is not None:
            self.cursor = self.page.cursor
        return items

    @property
    def page(self) -> Page:
        return self.pages[-1]

    @property
    def failure(self) -> SourceFailure:
        assert self.page.failure is not None
        return self.page.failure

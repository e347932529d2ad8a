"""Reading what was collected: the latest items, and search (seed 002, /content/recent)."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason, invalid_argument
from distill_grpc.feed import freshness, ingesting
from distill_grpc.feed.freshness import Freshness
from distill_grpc.feed.page_tokens import PageTokens
from distill_grpc.feed.store import items, standing

# Dashes that exclude nothing: not in front of a word or phrase, as in `Title - Site`. PostgreSQL would
# take them for operators all the same, and fails on dozens of them.
_DASHES = re.compile(r'-(?![^\W_]|")')


@dataclass(frozen=True, slots=True)
class Listing:
    """Items, and what to know about them."""

    items: Sequence[items.ItemRow]
    next_page_token: str | None
    freshness: Freshness
    queried_at: datetime


async def list_recent(
    connection: AsyncConnection,
    tokens: PageTokens,
    user_id: str,
    *,
    known_sources: Collection[str],
    hours: int,
    limit: int,
    sources: Sequence[str],
    include_raw: bool,
    page_token: str | None,
    now: datetime,
) -> Listing:
    """Items of the last `hours`, newest first. Pages share the window of the first one."""
    check_sources(sources, known_sources)
    fresh = await _freshness(connection, user_id, now, now - timedelta(hours=hours))
    query = {"list": "recent", "hours": hours, "sources": sorted(sources)}
    filters = items.Filters(
        since=clock.whole_seconds(now) - timedelta(hours=hours),
        sources=sources,
        with_raw=include_raw,
        limit=limit,
    )
    if page_token is not None:
        position = tokens.read(page_token, user_id=user_id, query=query)
        filters.since = datetime.fromtimestamp(position["since"], UTC)
        filters.after = (datetime.fromtimestamp(position["at"], UTC), UUID(position["id"]))
    found = await items.list_recent(connection, user_id, filters)
    token = None
    if len(found) > limit:
        found = found[:limit]
        assert filters.since is not None  # noqa: S101 -- set above
        position = {
            "since": int(filters.since.timestamp()),
            "at": found[-1].published,
            "id": str(found[-1].id),
        }
        token = tokens.make(position, user_id=user_id, query=query)
    return Listing(found, token, fresh, now)


async def search(
    connection: AsyncConnection,
    tokens: PageTokens,
    user_id: str,
    *,
    known_sources: Collection[str],
    text: str,
    sources: Sequence[str],
    tags: Sequence[str],
    authors: Sequence[str],
    since: datetime | None,
    until: datetime | None,
    limit: int,
    page_token: str | None,
    now: datetime,
) -> Listing:
    """Items that match, best first."""
    check_sources(sources, known_sources)
    if since is not None and until is not None and since >= until:
        raise invalid_argument({"until": "must be later than since"})
    fresh = await _freshness(connection, user_id, now, since)
    words = _DASHES.sub(" ", text)
    filters = items.Filters(
        query=words,
        sources=sources,
        tags=[ingesting.tag(name) for name in tags],
        authors=authors,
        since=since,
        until=until,
        limit=limit,
    )
    query = {
        "list": "search",
        "query": text,
        "sources": sorted(sources),
        "tags": sorted(filters.tags),
        "authors": sorted(authors),
        "since": since.isoformat() if since else None,
        "until": until.isoformat() if until else None,
    }
    if page_token is not None:
        position = tokens.read(page_token, user_id=user_id, query=query)
        filters.after = (float(position["rank"]), UUID(position["id"]))
    found = await items.search_items(connection, user_id, filters)
    token = None
    if len(found) > limit:
        found = found[:limit]
        last = {"rank": found[-1].rank, "id": str(found[-1].id)}
        token = tokens.make(last, user_id=user_id, query=query)
    if not found and not await items.has_searchable_words(connection, words):
        fresh = Freshness(
            fresh.fresh_until, fresh.completeness, (*fresh.warnings, "no_searchable_words")
        )
    return Listing(found, token, fresh, now)


def check_sources(sources: Sequence[str], known: Collection[str]) -> None:
    """Raises INVALID_ARGUMENT where a name is no source of this instance."""
    wrong = {
        f"sources[{index}]": f"must be one of {', '.join(known)}"
        for index, name in enumerate(sources)
        if name not in known
    }
    if wrong:
        raise invalid_argument(wrong)


async def _freshness(
    connection: AsyncConnection, user_id: str, now: datetime, since: datetime | None
) -> Freshness:
    """Raises NOT_WATCHING. Asked before the items, so that it never promises more than they hold."""
    known = await standing.get_standing(connection, user_id)
    if known is None:
        raise DistillError(ErrorReason.NOT_WATCHING)
    return freshness.measure(
        known.connections, known.parts, interval=known.interval, now=now, since=since
    )

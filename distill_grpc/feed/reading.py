"""Reading what was collected: the latest items, and search (seed 002, /content/recent)."""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc import clock
from distill_grpc.errors import DistillError, ErrorReason, invalid_argument
from distill_grpc.feed import freshness, hybrid_search, ingesting, search_query, tagging
from distill_grpc.feed.freshness import Freshness
from distill_grpc.feed.page_tokens import PageTokens
from distill_grpc.feed.query_embedding import NOTHING, Sought
from distill_grpc.feed.search_text import END, FOUND
from distill_grpc.feed.store import item_lists, standing


@dataclass(frozen=True, slots=True)
class Listing:
    """Items, and what to know about them."""

    items: Sequence[item_lists.ItemRow]
    next_page_token: str | None
    freshness: Freshness
    queried_at: datetime


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, with what was asked for beside it."""

    listing: Listing
    snippets: Mapping[UUID, str]  # as HTML
    facets: Sequence[tuple[str, str, int]] | None  # (`source`, `author` or `tag`; value; items)


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
    fresh = await get_freshness(connection, user_id, now, now - timedelta(hours=hours))
    query = {"list": "recent", "hours": hours, "sources": sorted(sources)}
    filters = item_lists.Filters(
        since=clock.whole_seconds(now) - timedelta(hours=hours),
        sources=sources,
        with_raw=include_raw,
        limit=limit,
    )
    if page_token is not None:
        position = tokens.read(page_token, user_id=user_id, query=query)
        filters.since = datetime.fromtimestamp(position["since"], UTC)
        filters.after = (datetime.fromtimestamp(position["at"], UTC), UUID(position["id"]))
    found = await item_lists.list_recent(connection, user_id, filters)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is searched for: a query with its qualifiers, and filters that hold beside them."""

    text: str
    sources: Sequence[str] = ()
    tags: Sequence[str] = ()
    authors: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 100
    highlight: bool = False
    facets: bool = False


def meant(wanted: Search, *, known_sources: Collection[str], now: datetime) -> str:
    """What a search looks for by meaning; "" where nothing. Raises what `search` raises."""
    _check(wanted, known_sources)
    query = search_query.parse(wanted.text, known_sources=known_sources, now=now)
    _filters(query, wanted)
    return query.meant


async def search(
    connection: AsyncConnection,
    tokens: PageTokens,
    user_id: str,
    wanted: Search,
    *,
    known_sources: Collection[str],
    page_token: str | None,
    now: datetime,
    sought: Sought = NOTHING,
) -> Found:
    """Items that match, best first; newest first where the query has qualifiers alone.

    With `sought` also those that are near in meaning; pages after the first know them by their token.
    Raises INVALID_ARGUMENT naming the field or the qualifier.
    """
    _check(wanted, known_sources)
    bound = {
        "list": "search, newest of equals first",
        "query": wanted.text,
        "sources": sorted(wanted.sources),
        "tags": sorted(map(ingesting.tag, wanted.tags)),
        "authors": sorted(wanted.authors),
        "since": wanted.since.isoformat() if wanted.since else None,
        "until": wanted.until.isoformat() if wanted.until else None,
    }
    position = tokens.read(page_token, user_id=user_id, query=bound) if page_token else None
    # Spans such as `7d` count back from when the first page was asked for.
    asked = datetime.fromtimestamp(position["asked"], UTC) if position else now
    query = search_query.parse(wanted.text, known_sources=known_sources, now=asked)
    filters = _filters(query, wanted)
    if filters.tags or filters.narrowing.tags or filters.narrowing.not_tags:
        _by_vocabulary(filters, await tagging.list_aliases(connection, user_id))
    fresh = await get_freshness(connection, user_id, now, filters.since)
    searched = filters.query is not None
    near: Sequence[UUID] = ()
    if searched and (sought.meaning is not None or hybrid_search.is_blended(position)):
        page, last, near = await hybrid_search.list_page(
            connection, user_id, filters, sought, demands=query.demands, position=position
        )
    else:
        list_page = _best if searched else _newest
        page, last = await list_page(connection, user_id, filters, position)
    token = None
    if last is not None:
        last["asked"] = position["asked"] if position else int(now.timestamp())
        token = tokens.make(last, user_id=user_id, query=bound)
    nothing = searched and not page
    if nothing and not await item_lists.has_searchable_words(connection, query.words):
        fresh = fresh.warning("no_searchable_words")
    fresh = fresh.warning(*sought.warnings)
    snippets: Mapping[UUID, str] = {}
    if wanted.highlight and searched:
        ids = [row.id for row in page]
        marked = await item_lists.list_snippets(connection, user_id, query.words, ids)
        snippets = {id_: _marked(text) for id_, text in marked.items()}
    facets = (
        await item_lists.count_facets(connection, user_id, filters, near) if wanted.facets else None
    )
    return Found(Listing(page, token, fresh, now), snippets, facets)


def _check(wanted: Search, known_sources: Collection[str]) -> None:
    check_sources(wanted.sources, known_sources)
    if wanted.since is not None and wanted.until is not None and wanted.since >= wanted.until:
        raise invalid_argument({"until": "must be later than since"})


def _filters(query: search_query.SearchQuery, wanted: Search) -> item_lists.Filters:
    if query.problems:
        raise invalid_argument({"query": "; ".join(query.problems)})
    since = max(filter(None, (query.since, wanted.since)), default=None)
    until = min(filter(None, (query.until, wanted.until)), default=None)
    if since is not None and until is not None and since >= until:
        raise invalid_argument({"query": "until: must be later than since"})
    return item_lists.Filters(
        query=query.words if query.words or not query.qualified else None,
        narrowing=query.narrowing,
        sources=wanted.sources,
        tags=[ingesting.tag(name) for name in wanted.tags],
        authors=wanted.authors,
        since=since,
        until=until,
        limit=wanted.limit,
    )


def _by_vocabulary(filters: item_lists.Filters, aliases: Mapping[str, str]) -> None:
    """Puts the tag of the vocabulary in the place of each alias."""
    wanted = filters.narrowing
    filters.tags = [aliases.get(tag, tag) for tag in filters.tags]
    wanted.tags = [aliases.get(tag, tag) for tag in wanted.tags]
    wanted.not_tags = [aliases.get(tag, tag) for tag in wanted.not_tags]


Page = tuple[list[item_lists.ItemRow], dict[str, Any] | None]


async def _best(
    connection: AsyncConnection, user_id: str, filters: item_lists.Filters, position: Any
) -> Page:
    if position is not None:
        filters.after = (datetime.fromtimestamp(position["at"], UTC), UUID(position["id"]))
        filters.after_rank = float(position["rank"])
    page = await item_lists.search_items(connection, user_id, filters)
    if len(page) <= filters.limit:
        return page, None
    page = page[: filters.limit]
    return page, {"rank": page[-1].rank, "at": page[-1].published, "id": str(page[-1].id)}


async def _newest(
    connection: AsyncConnection, user_id: str, filters: item_lists.Filters, position: Any
) -> Page:
    if position is not None:
        filters.after = (datetime.fromtimestamp(position["at"], UTC), UUID(position["id"]))
    page = await item_lists.list_recent(connection, user_id, filters)
    if len(page) <= filters.limit:
        return page, None
    page = page[: filters.limit]
    return page, {"at": page[-1].published, "id": str(page[-1].id)}


def _marked(text: str) -> str:
    """A snippet as HTML: what was found in `<mark>`, everything else as text."""
    safe = html.escape(text)
    return safe.replace(FOUND, "<mark>").replace(END, "</mark>")


def check_sources(sources: Sequence[str], known: Collection[str]) -> None:
    """Raises INVALID_ARGUMENT where a name is no source of this instance."""
    wrong = {
        f"sources[{index}]": f"must be one of {', '.join(known)}"
        for index, name in enumerate(sources)
        if name not in known
    }
    if wrong:
        raise invalid_argument(wrong)


async def get_freshness(
    connection: AsyncConnection, user_id: str, now: datetime, since: datetime | None
) -> Freshness:
    """How fresh a user's items are; asked before them, so that it never promises more than they hold.

    Raises NOT_WATCHING.
    """
    known = await standing.get_standing(connection, user_id)
    if known is None:
        raise DistillError(ErrorReason.NOT_WATCHING)
    return freshness.measure(
        known.connections, known.parts, interval=known.interval, now=now, since=since
    )

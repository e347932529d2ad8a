"""All of a search, page after page, for whoever takes it as a stream.

A connection is held while a page is read, and none while its items travel: a slow reader costs memory for
one page, and no transaction. Pages go on where the one before ended, so what is collected meanwhile moves
nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.feed import reading
from distill_grpc.feed.page_tokens import PageTokens
from distill_grpc.feed.query_embedding import NOTHING, Sought

PAGE = 500  # items that are read at once
MOST = 10_000  # items of a stream: what matches is ranked anew for each page


async def pages(
    reads: AsyncEngine,
    tokens: PageTokens,
    user_id: str,
    wanted: reading.Search,
    *,
    known_sources: Collection[str],
    page_token: str | None,
    now: datetime,
    sought: Sought = NOTHING,
) -> AsyncGenerator[reading.Found, None]:
    """The pages of a search, `MOST` items at the most; raises what `reading.search` raises.

    Each item is on one page, even where it changes in between and comes again.
    """
    wanted = replace(wanted, limit=PAGE, facets=False)
    told: set[UUID] = set()
    for _ in range(MOST // PAGE):
        async with reads.connect() as connection:
            found = await reading.search(
                connection,
                tokens,
                user_id,
                wanted,
                known_sources=known_sources,
                page_token=page_token,
                now=now,
                sought=sought,
            )
        sought = NOTHING  # the token of the next page knows what was near
        items = [row for row in found.listing.items if row.id not in told]
        told.update(row.id for row in items)
        yield replace(found, listing=replace(found.listing, items=items))
        page_token = found.listing.next_page_token
        if page_token is None:
            return
        now = clock.utc_now()

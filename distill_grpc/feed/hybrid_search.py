"""Pages of a search by words and by meaning. See `rank_fusion.py` for how the two become one list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.feed import rank_fusion
from distill_grpc.feed.query_embedding import NEAREST, Sought
from distill_grpc.feed.store import item_lists, vector_search
from distill_grpc.feed.store.item_lists import Filters, ItemRow

Position = Mapping[str, Any]


def is_blended(position: Position | None) -> bool:
    """True where a page token belongs to a walk that began with meaning."""
    return position is not None and "near" in position


async def list_page(
    connection: AsyncConnection,
    user_id: str,
    filters: Filters,
    sought: Sought,
    *,
    demands: str,
    position: Position | None,
) -> tuple[list[ItemRow], dict[str, Any] | None, Sequence[UUID]]:
    """A page, where the next one begins (None at the end), and everything that is near.

    `demands` are phrases and exclusions that hold for what is near too.
    """
    if position is None:
        walk, found, near = await begin(connection, user_id, filters, sought, demands=demands)
    else:
        walk = rank_fusion.from_token(position)
        others = replace(filters, without=walk.near)
        if position["id"] is not None:
            others.after = (datetime.fromtimestamp(position["at"], UTC), UUID(position["id"]))
            others.after_rank = float(position["rank"])
        found = await item_lists.search_items(connection, user_id, others)
        near = await vector_search.list_items(connection, user_id, walk.left)
    page, told, following = rank_fusion.merge(walk, found, near, filters.limit)
    if following is None:
        return page, None, walk.near
    last: dict[str, Any] = {"rank": None, "at": None, "id": None}
    if told:
        end = found[told - 1]
        last = {"rank": end.rank, "at": end.published, "id": str(end.id)}
    elif position is not None:
        last = {name: position[name] for name in last}
    return page, last | rank_fusion.to_token(following), walk.near


async def begin(
    connection: AsyncConnection,
    user_id: str,
    filters: Filters,
    sought: Sought,
    *,
    demands: str = "",
    any_word: bool = False,
) -> tuple[rank_fusion.Walk, list[ItemRow], dict[UUID, ItemRow]]:
    """The walk's beginning, the first that only words find, and what is near; for `fusion.merge`.

    See `search_items` for `any_word`.
    """
    nearest = []
    if sought.meaning is not None:
        nearest = await vector_search.list_nearest(
            connection,
            user_id,
            filters,
            sought.meaning,
            demands=demands,
            floor=sought.floor,
            limit=NEAREST,
        )
    if not nearest:
        found = await item_lists.search_items(connection, user_id, filters, any_word=any_word)
        return rank_fusion.Walk(), found, {}
    placed = await vector_search.search_with_places(
        connection, user_id, filters, nearest, any_word=any_word
    )
    near = {row.id: row for row, _ in placed if row.id in nearest}
    walk = rank_fusion.fuse(nearest, {row.id: place for row, place in placed if row.id in near})
    others = [row for row, _ in placed if row.id not in near]
    near |= await vector_search.list_items(
        connection, user_id, [id_ for id_ in nearest if id_ not in near]
    )
    return walk, others, near

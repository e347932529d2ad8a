"""Pages of a search by words and by meaning. See `fusion.py` for how the two become one list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc.feed import fusion
from distill_grpc.feed.meaning import NEAREST, Sought
from distill_grpc.feed.store import item_lists, nearness
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
        walk = await begin(connection, user_id, filters, sought, demands=demands)
    else:
        walk = fusion.from_token(position)
    others = replace(filters, without=walk.near)
    if position is not None and position["id"] is not None:
        others.after = (float(position["rank"]), UUID(position["id"]))
    found = await item_lists.search_items(connection, user_id, others)
    near = await nearness.list_items(connection, user_id, walk.left)
    page, told, following = fusion.merge(walk, found, near, filters.limit)
    if following is None:
        return page, None, walk.near
    last: dict[str, Any] = {"rank": None, "id": None}
    if told:
        last = {"rank": found[told - 1].rank, "id": str(found[told - 1].id)}
    elif position is not None:
        last = {"rank": position["rank"], "id": position["id"]}
    return page, last | fusion.to_token(following), walk.near


async def begin(
    connection: AsyncConnection,
    user_id: str,
    filters: Filters,
    sought: Sought,
    *,
    demands: str = "",
    any_word: bool = False,
) -> fusion.Walk:
    """What is near, in the order of the fused list; see `search_items` for `any_word`."""
    if sought.meaning is None:
        return fusion.Walk()
    near = await nearness.list_nearest(
        connection,
        user_id,
        filters,
        sought.meaning,
        demands=demands,
        floor=sought.floor,
        limit=NEAREST,
    )
    places = await nearness.list_places(connection, user_id, filters, near, any_word=any_word)
    return fusion.fuse(near, places)

"""Domain to proto: the few shapes that several servicers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from distill_grpc.feed.reading import Listing
from distill_grpc.feed.store.item_lists import ItemRow
from distill_grpc.proto.distill.v1 import content_service_pb2 as pb
from distill_grpc.rpc.instants import set_instant


def item_key(row_id: Any) -> str:
    """An item's id as the API shows it."""
    return f"item_{row_id.hex}"


def fill_item(item: pb.Item, row: ItemRow) -> None:
    """Fills an empty item. On the hot path: plain assignments, no constructors."""
    # Unpacked once: a field of a named tuple costs as much as one of the message.
    (
        key,
        source,
        platform_id,
        published,
        content,
        title,
        author,
        url,
        kind,
        thread_id,
        metrics,
        ai_tags,
        raw,
        _rank,
    ) = row
    item.id = f"item_{key.hex}"
    item.platform_id = platform_id
    item.timestamp.seconds = published
    item.content = content
    item.author = author
    item.source = source
    if metrics != "{}":
        measured = item.metrics  # its `update` is Python's own, and several times slower
        for name, value in orjson.loads(metrics).items():
            measured[name] = value
    if ai_tags:
        item.ai_tags.extend(ai_tags)
    if title:
        item.title = title
    if url:
        item.url = url
    if kind:
        item.kind = kind
    if thread_id:
        item.thread_id = thread_id
    if raw is not None:
        value = orjson.loads(raw)
        item.raw_data.update(value if isinstance(value, dict) else {"value": value})


def set_facets(target: pb.Facets, facets: Sequence[tuple[str, str, int]]) -> None:
    """Fills the counts of a search; they are there where nothing was found, too."""
    target.SetInParent()
    kinds = {"source": target.sources, "author": target.authors, "tag": target.tags}
    for kind, value, items in facets:
        kinds[kind].add(value=value, items=items)


def set_listing(target: pb.ListRecentResponse | pb.SearchResponse, listing: Listing) -> None:
    """Fills an answer of items."""
    for row in listing.items:
        fill_item(target.data.add(), row)
    set_about(target.metadata, listing, len(listing.items))


def set_about(about: pb.ContentMetadata, listing: Listing, count: int) -> None:
    """Fills what there is to say about a list of so many items."""
    set_instant(about.query_time, listing.queried_at)
    set_instant(about.freshness, listing.freshness.fresh_until)
    about.completeness = listing.freshness.completeness
    about.warnings.extend(listing.freshness.warnings)
    about.count = count
    about.has_more = listing.next_page_token is not None
    if listing.next_page_token is not None:
        about.next_page_token = listing.next_page_token

"""Entries of a feed become items: who is who, when it was, and what is only seemingly new.

Feeds repeat ids, change them, leave out dates, and now and then publish their archive anew. What is
needed to see through that is a small memory of the document before, kept in the feed's cursor.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from distill_grpc.sources.base import Item

_MAX_KEY = 500
_MAX_REMEMBERED = 1_000  # entries
_BURST = 0.8  # more than this share of a known feed's entries being new is a republished archive
_BURST_SIZE = 5  # in fewer entries, shares say nothing


@dataclass(frozen=True, slots=True)
class FeedMemory:
    """What is remembered of a feed's entries. Keys are short hashes, instants epoch seconds."""

    known: tuple[str, ...] = ()  # keys and second keys that were seen, latest first
    shared: tuple[str, ...] = ()  # ids that stood at several entries at once
    first_seen: Mapping[str, int] = field(default_factory=dict)  # of entries without a usable date
    newest: int | None = None  # the latest date that was seen


@dataclass(frozen=True, slots=True)
class _Keyed:
    """An entry and what identifies it."""

    entry: Mapping[str, Any]
    key: str
    short: str  # the key's hash, as it is remembered
    second: str  # hash of the address without its host; empty where there is none
    at: int  # epoch seconds


def items_of(
    document: Mapping[str, Any], *, part: str, memory: FeedMemory, since: datetime, now: datetime
) -> tuple[list[Item], FeedMemory]:
    """The document's items that were published at `since` or later, and the memory to keep.

    `document` is a feed as `feed_documents.read` gives it; `part` the feed's address as given.
    """
    present = int(now.timestamp())
    entries = document["entries"]
    if document["truncated"]:
        # Its memory is not kept, so entries whose instant rests on memory wait for the whole.
        entries = [e for e in entries if e["published"] is not None and e["published"] <= present]
    shared = _shared(entries, memory)
    unique = _unique(entries, shared)
    # An address that several entries share says nothing about any of them.
    addresses = Counter(_second_key(entry) for entry, _ in unique)
    keyed = [
        _keyed(e, k, second if addresses[second] == 1 else "", memory, present)
        for e, k in unique
        for second in [_second_key(e)]
    ]
    backdated = _backdated(keyed, memory)
    prefix = hashlib.sha256(part.encode()).hexdigest()[:10]
    items = [
        _item(k, prefix, document, backdated=k.short in backdated)
        for k in keyed
        if k.at >= since.timestamp() and k.entry.get("content")
    ]
    return items, _remember(keyed, shared, memory, present)


def _item(keyed: _Keyed, prefix: str, document: Mapping[str, Any], *, backdated: bool) -> Item:
    entry = keyed.entry
    return Item(
        platform_id=f"{prefix}:{keyed.key}",
        published_at=datetime.fromtimestamp(keyed.at, UTC),
        content=entry["content"],
        author=entry["author"] or document["title"],
        title=entry["title"],
        url=entry["url"],
        kind=entry["kind"],
        metrics=entry["metrics"],
        tags=tuple(entry["tags"]),
        language=entry["language"],
        raw={name: entry[name] for name in _RAW if entry[name]},
        backdated=backdated,
    )


_RAW = ("id", "link", "title", "author", "dates", "tags", "enclosures", "comments", "html")


def _base_key(entry: Mapping[str, Any]) -> str:
    """The feed's id for the entry, else its address, else a hash of what it says.

    Addresses stand without their scheme: feeds that move to https publish nothing new by it.
    """
    key = str(entry["id"] or entry["link"] or f"sha256-{entry['digest']}")
    for scheme in ("https://", "http://"):
        if key.lower().startswith(scheme):
            return key[len(scheme) :]
    return key


def _shared(entries: Sequence[Mapping[str, Any]], memory: FeedMemory) -> tuple[str, ...]:
    """Hashes of the keys that stand, or stood, at several different entries of one document."""
    digests: defaultdict[str, set[str]] = defaultdict(set)
    for entry in entries:
        digests[_short(_base_key(entry))].add(entry["digest"])
    fresh = [key for key, found in digests.items() if len(found) > 1]
    return tuple(dict.fromkeys([*fresh, *memory.shared]))[:_MAX_REMEMBERED]


def _unique(
    entries: Sequence[Mapping[str, Any]], shared: tuple[str, ...]
) -> list[tuple[Mapping[str, Any], str]]:
    """Each entry with a key of its own; an entry that is there twice word for word comes once."""
    ambiguous = frozenset(shared)
    seen: set[tuple[str, str]] = set()
    counts: Counter[str] = Counter()
    result = []
    for entry in entries:
        key = _base_key(entry)
        if (key, entry["digest"]) in seen:
            continue
        seen.add((key, entry["digest"]))
        if _short(key) in ambiguous:
            # Link, title and date tell namesakes apart wherever they stand in the document; where
            # these are the same too, only the place is left.
            key = f"{key}#{entry['twin'][:12]}"
        counts[key] += 1
        if counts[key] > 1:
            key = f"{key}.{counts[key]}"
        result.append((entry, key if len(key) <= _MAX_KEY else _sha256(key)))
    return result


def _keyed(
    entry: Mapping[str, Any], key: str, second: str, memory: FeedMemory, present: int
) -> _Keyed:
    short = _short(key)
    published = entry["published"]
    first_seen = memory.first_seen.get(short)
    if published is None or published > present:
        at = present if first_seen is None else first_seen
    else:
        at = published if first_seen is None else min(published, first_seen)
    return _Keyed(entry, key, short, second, max(at, 0))


def _second_key(entry: Mapping[str, Any]) -> str:
    """What stays of an entry's address where a feed changes its host."""
    address = entry["id"] if "://" in entry["id"] else entry["link"]
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    rest = parts.path + ("?" + parts.query if parts.query else "")
    return _short("//" + rest) if rest.strip("/") else ""


def _backdated(keyed: Sequence[_Keyed], memory: FeedMemory) -> frozenset[str]:
    """Hashes of the keys of entries that only look new."""
    known = frozenset(memory.known)
    if not known:
        return frozenset()
    newest = memory.newest
    enough = len(keyed) >= _BURST_SIZE
    new = [k for k in keyed if k.short not in known]
    # Only dates tell old from new; where there are none, a whole feed that moved does.
    old = [
        k
        for k in new
        if (enough if k.entry["published"] is None else newest is not None and k.at <= newest)
    ]
    moved = {k.short for k in old if k.second in known}
    if enough and len(new) > _BURST * len(keyed):
        moved |= {k.short for k in old if k.entry["published"] is not None}
    return frozenset(moved)


def _remember(
    keyed: Sequence[_Keyed], shared: tuple[str, ...], memory: FeedMemory, present: int
) -> FeedMemory:
    latest = keyed[:_MAX_REMEMBERED]
    keys = [key for k in latest for key in (k.short, k.second) if key]
    dated = [k.at for k in keyed if k.entry["published"] is not None and k.at < present]
    newest = max([*dated, *([] if memory.newest is None else [memory.newest])], default=None)
    return FeedMemory(
        known=tuple(dict.fromkeys([*keys, *memory.known]))[: 2 * _MAX_REMEMBERED],
        shared=shared,
        first_seen={k.short: k.at for k in latest if _needs_memory(k, memory, present)},
        newest=newest,
    )


def _needs_memory(keyed: _Keyed, memory: FeedMemory, present: int) -> bool:
    published = keyed.entry["published"]
    return published is None or published > present or keyed.short in memory.first_seen


def _short(key: str) -> str:
    return _sha256(key)[:10]


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()

"""Tags from the user's own vocabulary: kept, given to new items, and to all when it changes.

Every item remembers the revision of the vocabulary that it was tagged by. So tagging can stop anywhere
and go on at the next sync, and what a source itself called an item stays in `source_tags`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc import clock
from distill_grpc.auth import Caller
from distill_grpc.errors import invalid_argument
from distill_grpc.feed import watching
from distill_grpc.feed.store import tags
from distill_grpc.feed.tag_matching import READ, Tag, Vocabulary, same_word
from distill_grpc.jobs.queue import JobQueue

log = structlog.get_logger()

TAG_JOB = "feed.tag"
BATCH = 200  # items of one transaction


async def list_tags(connection: AsyncConnection, user_id: str) -> list[Tag]:
    """The user's vocabulary."""
    row = await tags.get_vocabulary(connection, user_id)
    return [] if row is None else _tags(row)


async def list_aliases(connection: AsyncConnection, user_id: str) -> dict[str, str]:
    """The tag behind each name and alias of the user's vocabulary, in the form of items."""
    return Vocabulary(await list_tags(connection, user_id)).aliases


async def replace_vocabulary(
    connection: AsyncConnection,
    queue: JobQueue,
    caller: Caller,
    wanted: Sequence[Tag],
    now: datetime,
) -> list[Tag]:
    """Replaces the vocabulary, and enqueues the tagging of what is there.

    Raises NOT_WATCHING, and INVALID_ARGUMENT where names or aliases are empty or mean the same.
    """
    _check(wanted)
    await watching.require_watch(connection, caller.user_id)
    told = [{"name": tag.name, "aliases": list(tag.aliases)} for tag in wanted]
    row = await tags.upsert_vocabulary(connection, caller.user_id, told, clock.whole_seconds(now))
    await queue.enqueue(connection, TAG_JOB, [{"user_id": caller.user_id}])
    return _tags(row)


async def tag_items(engine: AsyncEngine, user_id: str) -> int:
    """Tags what the vocabulary of now has not tagged yet; returns how many items changed.

    In batches, each a transaction; nothing is locked while tags are chosen.
    """
    async with engine.connect() as connection:
        row = await tags.get_vocabulary(connection, user_id)
    if row is None:
        return 0
    vocabulary = Vocabulary(_tags(row))
    changed, after = 0, UUID(int=0)
    while True:
        async with engine.connect() as connection:
            batch = await tags.list_untagged(
                connection, user_id, row.revision, after=after, characters=READ, limit=BATCH
            )
        if batch:
            after = batch[-1].id
            chosen = await asyncio.to_thread(_choose, vocabulary, batch)
            async with engine.begin() as connection:
                changed += await tags.update_tags(connection, user_id, row.revision, chosen)
        if len(batch) < BATCH:
            log.info("items_tagged", user_id=user_id, revision=row.revision, changed=changed)
            return changed


def _choose(
    vocabulary: Vocabulary, batch: Sequence[Row[Any]]
) -> list[tuple[UUID, bytes, list[str]]]:
    return [
        (
            item.id,
            item.content_hash,
            vocabulary.choose(item.title, item.content, item.source_tags, item.language),
        )
        for item in batch
    ]


def _tags(row: Row[Any]) -> list[Tag]:
    return [Tag(tag["name"], tuple(tag["aliases"])) for tag in row.tags]


def _check(wanted: Sequence[Tag]) -> None:
    problems: dict[str, str] = {}
    seen: list[tuple[str, str]] = []
    for index, tag in enumerate(wanted):
        for place, phrase in enumerate((tag.name, *tag.aliases)):
            field = f"tags[{index}].aliases[{place - 1}]" if place else f"tags[{index}].name"
            if not any(map(str.isalnum, phrase)):
                problems[field] = "must have a letter or digit"
            for other, known in seen:
                if same_word(phrase, known):
                    problems[field] = f"must not mean the same as {other}"
                    break
            seen.append((field, phrase))
    if problems:
        raise invalid_argument(problems)

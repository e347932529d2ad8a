"""Tags that a model chooses, for users who want that: in the background, after those found offline.

Offline tags are there with the sync. A job then asks about what no model was asked about under the
present vocabulary, newest first, and may stop anywhere: what it did not come to is left for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc import clock
from distill_grpc.feed.documents import document
from distill_grpc.feed.spending import UserPurse, daily_limit
from distill_grpc.feed.store import preferences, tags
from distill_grpc.feed.tag_matching import Tag
from distill_grpc.feed.turns import Turn
from distill_grpc.jobs.queue import JobQueue
from distill_grpc.llm.tag_choosing import Choice, TagChooser

log = structlog.get_logger()

MODEL_TAG_JOB = "feed.tag_by_model"
BATCH = 64  # items between two looks at what the user wants
CHARACTERS = 4_000  # of an item
# Tags may take the day's tokens down to this share of them: the rest is for digests and answers.
_SHARE = 2


async def enqueue_wanted(connection: AsyncConnection, queue: JobQueue, user_id: str) -> bool:
    """Enqueues the job where the user wants it and there is something to ask; True where it did."""
    told = await preferences.get_preferences(connection, user_id)
    if told is None or not told.tags_by_model:
        return False
    vocabulary = await tags.get_vocabulary(connection, user_id)
    if vocabulary is None or not vocabulary.tags:
        return False
    if not await tags.list_unasked(connection, user_id, vocabulary.revision, characters=0, limit=1):
        return False
    await queue.enqueue(connection, MODEL_TAG_JOB, [{"user_id": user_id}])
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTagger:
    """Tags by a model."""

    engine: AsyncEngine
    chooser: TagChooser | None  # None: no model is set
    llm_daily_tokens: int
    now: Callable[[], datetime] = clock.utc_now

    async def run(self, user_id: str) -> None:
        """The job: asks until nothing is left, or nothing more may be asked. One at a time for a user."""
        if self.chooser is None:
            return
        turn = Turn(engine=self.engine, user_id=user_id, work="tags")
        if not await turn.take():
            return
        async with turn.kept():
            while await self._round(self.chooser, user_id):
                pass

    async def _round(self, chooser: TagChooser, user_id: str) -> bool:
        """Asks about a batch; False where that was the last one for now."""
        async with self.engine.connect() as connection:
            told = await preferences.get_preferences(connection, user_id)
            vocabulary = await tags.get_vocabulary(connection, user_id)
            if told is None or vocabulary is None or not vocabulary.tags:
                return False
            if not told.tags_by_model or not told.credits_available:
                return False
            batch = await tags.list_unasked(
                connection, user_id, vocabulary.revision, characters=CHARACTERS, limit=BATCH
            )
        if not batch:
            return False
        purse = UserPurse(
            engine=self.engine,
            user_id=user_id,
            limit=daily_limit(told.daily_llm_tokens, self.llm_daily_tokens) // _SHARE,
            credits_available=True,
            now=self.now(),
        )
        words = {tag["name"]: tag["aliases"] for tag in vocabulary.tags}
        choice = await chooser.choose(
            [document(row, row.published_at) for row in batch], words, purse
        )
        chosen = [(row, _tags(row, choice)) for row in batch if _is_done(row, choice)]
        async with self.engine.begin() as connection:
            noted = await tags.update_by_model(
                connection,
                user_id,
                vocabulary.revision,
                [(row.id, row.content_hash, found) for row, found in chosen],
            )
        log.info("items_tagged_by_model", asked=len(batch), noted=noted, stopped=choice.stopped)
        return bool(noted) and not choice.stopped


def _is_done(row: Row[Any], choice: Choice) -> bool:
    return str(row.id) in choice.tags or str(row.id) in choice.given_up


def _tags(row: Row[Any], choice: Choice) -> Sequence[str]:
    """The tags of an item; those that it has where the model's are not known."""
    names = choice.tags.get(str(row.id))
    return row.ai_tags if names is None else [Tag(name).key for name in names]

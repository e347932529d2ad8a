"""Items get their vectors: new and changed ones, in the background, paid from their user's budget.

Whose items lack vectors is a row that is due; a tick enqueues, a job works through it batch by batch and
moves the row on. A claim only moves the next look away, so what a killed worker left is found again, and
every batch is stored by itself, so that nothing is asked for twice.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc import clock
from distill_grpc.feed.preferring import Taste
from distill_grpc.feed.spending import UserPurse, daily_limit
from distill_grpc.feed.store import embeddings, preferences
from distill_grpc.feed.store.embeddings import Text
from distill_grpc.jobs.queue import JobQueue
from distill_grpc.llm.embedding import Embedder, EmbeddingFailed
from distill_grpc.llm.fitting import Fitting

log = structlog.get_logger()

TEXTS = Counter(
    "distill_embedded_texts_total", "Texts that got a vector, or none, by outcome.", ["outcome"]
)

EMBED_JOB = "feed.embed"
USERS = 100  # that one tick enqueues
# A job that has not stored a batch by then is taken for lost.
LEASE = timedelta(minutes=3)
READ = 2_000  # characters of an item that its vector stands for
BATCH = 32  # items of one look
_BYTES = 48_000  # of the texts of one request at the most
# Of the day's tokens items may take so much; the rest is for digests and questions.
SHARE = 0.5
_PAUSES = timedelta(seconds=15), timedelta(hours=1)  # after a failure; doubled each time


async def enqueue_due(connection: AsyncConnection, queue: JobQueue, now: datetime) -> int:
    """Enqueues the users whose items lack vectors; returns how many."""
    due = await embeddings.claim_due(connection, now, LEASE, USERS)
    jobs = [{"user_id": row.user_id, "attempt": row.attempt} for row in due]
    await queue.enqueue(connection, EMBED_JOB, jobs)
    return len(jobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemEmbedder:
    """Makes the vectors of items."""

    engine: AsyncEngine
    embedder: Embedder
    llm_daily_tokens: int
    now: Callable[[], datetime] = clock.utc_now

    async def begin(self) -> None:
        """Makes everybody due whose items were embedded by another model, or by none."""
        async with self.engine.begin() as connection:
            count = await embeddings.insert_states(connection, self.embedder.name, self.now())
        if count:
            log.info("embedding_begins", model=self.embedder.name, users=count)

    async def mark_due(self, user_id: str) -> None:
        """Makes a user due where items lack vectors."""
        async with self.engine.begin() as connection:
            await embeddings.mark_due(connection, user_id, self.embedder.name, self.now())

    async def run(self, user_id: str, attempt: int) -> None:
        """The job `feed.embed`: does nothing where the user is in other hands."""
        seen: set[tuple[UUID, bytes]] = set()
        while True:
            async with self.engine.begin() as connection:
                now = self.now()
                state = await embeddings.hold(connection, user_id, attempt, now + LEASE)
                if state is None:
                    log.info("embedding_not_ours", user_id=user_id)
                    return
                rows = await embeddings.list_pending(
                    connection,
                    user_id,
                    self.embedder.name,
                    self.embedder.dimensions,
                    characters=READ,
                    limit=BATCH,
                )
                if not rows:
                    # Under the lock of the state: who stores items from now on makes it due again.
                    await embeddings.release(connection, user_id, attempt, due_at=None, failures=0)
                    return
                wishes = await preferences.get_preferences(connection, user_id)
            daily = daily_limit(Taste.of(wishes).daily_llm_tokens, self.llm_daily_tokens)
            # What the user's last token said; whoever never said anything had credits to watch with.
            if wishes is not None and not wishes.credits_available:
                daily = 0
            texts = [_text(row) for row in rows]
            failed = await self._embed(user_id, texts, int(SHARE * daily), now)
            read = {(text.item_id, text.content_hash) for text in texts}
            if failed is None and read <= seen:
                # Vectors of one size follow those of another: nothing would ever be finished.
                failed = EmbeddingFailed("garbage", charged=True)
            seen |= read
            if failed is not None:
                await self._put_off(user_id, attempt, state.failures, failed)
                return

    async def _embed(
        self, user_id: str, texts: Sequence[Text], limit: int, now: datetime
    ) -> EmbeddingFailed | None:
        """Stores what these texts mean, as far as the user's budget goes; why it ended early, if so."""
        async with self.engine.begin() as connection:
            known = await embeddings.reuse_vectors(
                connection, user_id, self.embedder.name, self.embedder.dimensions, texts
            )
            nothing = {text.text_hash: None for text in texts if not text.text}
            await embeddings.insert_vectors(
                connection, user_id, self.embedder.name, texts, dict(nothing)
            )
        TEXTS.labels("reused").inc(len(known))
        known |= nothing.keys()
        new = {text.text_hash: text.text for text in texts if text.text_hash not in known}
        purse = UserPurse(
            engine=self.engine,
            user_id=user_id,
            limit=limit,
            credits_available=True,
            now=now,
        )
        work = Fitting(self.embedder, purse)
        left = list(new.items())
        while left and work.failed is None:
            count = _first(left, self.embedder.together, min(_BYTES, limit // 4))
            made = await work.embed(left[:count])
            left = left[count:]
            async with self.engine.begin() as connection:
                await embeddings.insert_vectors(
                    connection, user_id, self.embedder.name, texts, made
                )
            for vector in made.values():
                TEXTS.labels("unfit" if vector is None else "embedded").inc()
        return work.failed

    async def _put_off(
        self, user_id: str, attempt: int, failures: int, failed: EmbeddingFailed
    ) -> None:
        now = self.now()
        if failed.why == "budget":
            # Tomorrow there is a new one; not all users at the same second.
            tomorrow = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
            due_at, failures = tomorrow + timedelta(seconds=random.uniform(0, 300)), 0
        else:
            first, most = _PAUSES
            pause = min(first * 2 ** min(failures, 12), most) * random.uniform(0.8, 1.2)
            due_at = now + max(pause, timedelta(seconds=failed.retry_after or 0.0))
            failures += 1
        log.warning("embedding_put_off", user_id=user_id, why=failed.why, failures=failures)
        async with self.engine.begin() as connection:
            await embeddings.release(connection, user_id, attempt, due_at=due_at, failures=failures)


def _text(row: Row[Any]) -> Text:
    """What stands for an item: its headline and its beginning."""
    text = "\n\n".join(part for part in (row.title.strip(), row.content.strip()) if part)
    return Text(row.id, hashlib.sha256(text.encode()).digest(), row.content_hash, text)


def _first(texts: Sequence[tuple[bytes, str]], together: int, most: int) -> int:
    """How many of the first texts go into one request; one that is too large goes alone."""
    size = 0
    for count, (_, text) in enumerate(texts[:together]):
        size += len(text.encode())
        if count and size > most:
            return count
    return min(len(texts), together)

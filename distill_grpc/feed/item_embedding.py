"""Items get their vectors: new and changed ones, in the background, paid from their user's budget.

Whose items lack vectors is a row that is due; each worker claims one user at a time, works through batch by
batch and moves the row on. A claim only moves the next look away, so what a killed worker left is found
again, and every batch is stored by itself, so that nothing is asked for twice. This goes on beside the queue:
a slow model keeps no sync waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.feed.preferring import Taste
from distill_grpc.feed.spending import UserPurse, daily_limit
from distill_grpc.feed.store import embedding_states, embeddings, preferences
from distill_grpc.feed.store.embeddings import Text
from distill_grpc.llm.embedding import Embedder, EmbeddingFailed
from distill_grpc.llm.embedding_batches import Fitting

log = structlog.get_logger()

TEXTS = Counter(
    "distill_embedded_texts_total", "Texts that got a vector, or none, by outcome.", ["outcome"]
)

# A worker that says nothing for this long has lost its claim.
LEASE = timedelta(seconds=12)
TURN = 20  # batches until the next user gets a turn
READ = 2_000  # characters of an item that its vector stands for
BATCH = 32  # items of one look
_BYTES = 48_000  # of the texts of one request at the most
# Of the day's tokens items may take so much; the rest is for digests and questions.
SHARE = 0.5
_AFTER_FAULT = timedelta(minutes=5)
_PAUSES = timedelta(seconds=15), timedelta(hours=1)  # after a failure; doubled each time


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
            count = await embedding_states.insert_states(connection, self.embedder.name, self.now())
        if count:
            log.info("embedding_begins", model=self.embedder.name, users=count)

    async def mark_due(self, user_id: str) -> None:
        """Makes a user due where items lack vectors."""
        async with self.engine.begin() as connection:
            await embedding_states.mark_due(connection, user_id, self.embedder.name, self.now())

    async def work(self) -> int:
        """Embeds the items of those who are due, until nobody is; returns how many turns it took."""
        turns = 0
        while True:
            async with self.engine.begin() as connection:
                claim = await embedding_states.claim_due(connection, self.now(), LEASE)
            if claim is None:
                return turns
            await self.take_turn(claim.user_id, claim.attempt)
            turns += 1

    async def take_turn(self, user_id: str, attempt: int) -> None:
        """Embeds items of a user who was claimed, and says when somebody looks again."""
        try:
            async with self._kept(user_id, attempt):
                due_at, failures = await self._go_through(user_id, attempt)
        except asyncio.CancelledError:
            # The worker stops: others need not wait for the claim to end.
            await asyncio.shield(self._release(user_id, attempt, self.now(), 0))
            raise
        except Exception:
            # Whatever it is, it is about this user: others go on.
            log.exception("embedding_broke_off", user_id=user_id)
            due_at, failures = self.now() + _AFTER_FAULT, 0
        if due_at is not None:
            await self._release(user_id, attempt, due_at, failures)

    async def _go_through(self, user_id: str, attempt: int) -> tuple[datetime | None, int]:
        """When the user is due again, and the failures in a row; None where that is settled."""
        seen: set[tuple[UUID, bytes]] = set()
        for _ in range(TURN):
            async with self.engine.begin() as connection:
                now = self.now()
                state = await embedding_states.hold(connection, user_id, attempt, now + LEASE)
                if state is None:
                    log.info("embedding_not_ours", user_id=user_id)
                    return None, 0
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
                    await embedding_states.release(
                        connection, user_id, attempt, due_at=None, failures=0
                    )
                    return None, 0
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
                log.warning("embedding_put_off", user_id=user_id, why=failed.why)
                return _put_off(failed, state.failures, self.now())
        return self.now(), 0

    async def _embed(
        self, user_id: str, texts: Sequence[Text], limit: int, now: datetime
    ) -> EmbeddingFailed | None:
        """Stores what these texts mean, as far as the user's budget goes; why it ended early, if so."""
        async with self.engine.begin() as connection:
            known = await embeddings.reuse_vectors(
                connection, user_id, self.embedder.name, self.embedder.dimensions, texts
            )
            empty = {text.text_hash for text in texts if not text.text}
            if empty:
                await embeddings.insert_vectors(
                    connection, user_id, self.embedder.name, texts, dict.fromkeys(empty)
                )
        TEXTS.labels("reused").inc(len(known))
        new = {text.text_hash: text.text for text in texts if text.text_hash not in known | empty}
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

    async def _release(self, user_id: str, attempt: int, due_at: datetime, failures: int) -> None:
        async with self.engine.begin() as connection:
            await embedding_states.release(
                connection, user_id, attempt, due_at=due_at, failures=failures
            )

    @contextlib.asynccontextmanager
    async def _kept(self, user_id: str, attempt: int) -> AsyncIterator[None]:
        """Keeps the claim alive in the background."""

        async def beat() -> None:
            while True:
                await asyncio.sleep(LEASE.total_seconds() / 3)
                try:
                    async with self.engine.begin() as connection:
                        await embedding_states.hold(
                            connection, user_id, attempt, self.now() + LEASE
                        )
                except Exception as error:  # the lease leaves time for more than one attempt
                    log.warning("claim_not_extended", why=type(error).__name__)

        beating = asyncio.create_task(beat())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait({beating})


def _put_off(failed: EmbeddingFailed, failures: int, now: datetime) -> tuple[datetime, int]:
    """When to try again after a failure, and the failures in a row."""
    if failed.why == "budget":
        # Tomorrow there is a new one; not all users at the same second.
        tomorrow = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
        return tomorrow + timedelta(seconds=random.uniform(0, 300)), 0
    first, most = _PAUSES
    pause = min(first * 2 ** min(failures, 12), most) * random.uniform(0.8, 1.2)
    return now + max(pause, timedelta(seconds=failed.retry_after or 0.0)), failures + 1


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

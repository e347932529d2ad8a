"""The meaning of what is searched for: a question's vector, made once, paid by whoever asks.

Meaning is a help, never a condition: without credits, budget or an answer in time the words alone are
searched, and a warning says so.
"""

from __future__ import annotations

import time
from array import array
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed.preferring import Taste
from distill_grpc.feed.spending import UserPurse, daily_limit
from distill_grpc.feed.store import embeddings, preferences
from distill_grpc.feed.store.embeddings import Meaning
from distill_grpc.llm.embedding import Embedder, EmbeddingFailed

UNAVAILABLE = "meaning_unavailable"
SECONDS = 2.0  # that a search waits for its vector
NEAREST = 50  # items that meaning adds to a search at the most
_CHARACTERS = 1_000  # of a question
_KEPT, _KEPT_SECONDS = 1_000, 600.0  # vectors of questions, in this process
_REST = 15.0  # seconds that a server which failed is left alone by searches


@dataclass(frozen=True, slots=True)
class Sought:
    """What is searched for besides words: the vector, or why there is none."""

    meaning: Meaning | None = None
    floor: float = 0.0  # cosine below which nothing is near
    warnings: tuple[str, ...] = ()


NOTHING = Sought()


@dataclass(slots=True, kw_only=True)
class Seeker:
    """Makes the vectors of questions."""

    engine: AsyncEngine
    embedder: Embedder
    llm_daily_tokens: int
    floor: float
    _kept: OrderedDict[tuple[str, str], tuple[float, Meaning]] = field(default_factory=OrderedDict)
    _resting_until: float = 0.0

    async def seek(
        self, user_id: str, text: str, *, credits_available: bool, now: datetime
    ) -> Sought:
        """The meaning of a text; never raises for want of one. No connection is held meanwhile.

        A user without vectors has nothing to compare, so nothing is asked and nobody is warned.
        """
        text = " ".join(text[:_CHARACTERS].split())
        if not text:
            return NOTHING
        known = self._kept.get((user_id, text))
        if known is not None and known[0] > time.monotonic():
            return Sought(known[1], self.floor)
        async with self.engine.connect() as connection:
            if not await embeddings.is_searchable(connection, user_id, self.embedder.name):
                return NOTHING
            purse = await self._purse(connection, user_id, credits_available, now)
        if time.monotonic() < self._resting_until:
            return Sought(warnings=(UNAVAILABLE,))
        meaning = await self._ask(text, purse)
        if meaning is None:
            return Sought(warnings=(UNAVAILABLE,))
        self._keep((user_id, text), meaning)
        return Sought(meaning, self.floor)

    async def _purse(
        self, connection: AsyncConnection, user_id: str, credits_available: bool, now: datetime
    ) -> UserPurse:
        taste = Taste.of(await preferences.get_preferences(connection, user_id))
        return UserPurse(
            engine=self.engine,
            user_id=user_id,
            limit=daily_limit(taste.daily_llm_tokens, self.llm_daily_tokens),
            credits_available=credits_available,
            now=now,
        )

    async def _ask(self, text: str, purse: UserPurse) -> Meaning | None:
        try:
            told = await self.embedder.embed_query(text, purse, seconds=SECONDS)
        except DistillError as error:
            if error.reason != ErrorReason.INSUFFICIENT_CREDITS:
                raise
            return None
        if isinstance(told, EmbeddingFailed):
            if told.why not in {"budget", "unfit"}:
                # Nobody's search waits for a server that is down, and it is not asked by everybody.
                self._resting_until = time.monotonic() + max(_REST, told.retry_after or 0.0)
            return None
        (vector,) = told.vectors
        return None if vector is None else Meaning(self.embedder.name, array("f", vector))

    def _keep(self, key: tuple[str, str], meaning: Meaning) -> None:
        self._kept[key] = time.monotonic() + _KEPT_SECONDS, meaning
        self._kept.move_to_end(key)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

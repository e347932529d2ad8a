"""What a user may spend on language models: a budget of tokens a day, and credits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed.store import llm_usage
from distill_grpc.llm.base import Usage


def daily_limit(own: int | None, policy: int) -> int:
    """Tokens a day: the user's own limit as far as the operator allows it."""
    return policy if own is None else min(own, policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserPurse:
    """The purse of one user on one day (UTC). See `llm.base.Purse`."""

    engine: AsyncEngine
    user_id: str
    limit: int  # tokens a day
    credits_available: bool
    now: datetime

    async def reserve(self, tokens: int) -> bool:
        """See `Purse`; raises INSUFFICIENT_CREDITS where only the credits are missing."""
        day = self.now.date()
        async with self.engine.begin() as connection:
            if self.credits_available:
                return await llm_usage.reserve(connection, self.user_id, day, tokens, self.limit)
            used = await llm_usage.get_usage(connection, self.user_id, day)
        taken = used.prompt_tokens + used.completion_tokens + used.reserved if used else 0
        if taken + tokens > self.limit:
            return False  # nothing would be asked for with credits either
        raise DistillError(ErrorReason.INSUFFICIENT_CREDITS)

    async def settle(self, reserved: int, spent: Usage) -> None:
        """See `Purse`."""
        async with self.engine.begin() as connection:
            await llm_usage.settle(
                connection,
                self.user_id,
                self.now.date(),
                reserved=reserved,
                prompt=spent.prompt,
                completion=spent.completion,
                cost=spent.cost,
            )

    async def recall(self, keys: Sequence[str]) -> Mapping[str, Any]:
        """See `Purse`."""
        if not keys:
            return {}
        async with self.engine.connect() as connection:
            return await llm_usage.list_remembered(connection, self.user_id, keys)

    async def remember(self, entries: Mapping[str, Any]) -> None:
        """See `Purse`."""
        async with self.engine.begin() as connection:
            await llm_usage.insert_remembered(connection, self.user_id, entries, self.now)

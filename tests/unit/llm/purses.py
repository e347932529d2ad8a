"""A purse in memory that counts to the token, as the one in the database does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distill_grpc.llm.base import Usage


@dataclass
class MemoryPurse:
    """What may be spent and what was."""

    limit: int = 10_000_000
    reserved: int = 0
    spent: int = 0
    cost: int = 0
    calls: int = 0
    highest: int = 0
    memory: dict[str, Any] = field(default_factory=dict)

    async def reserve(self, tokens: int) -> bool:
        if self.reserved + self.spent + tokens > self.limit:
            return False
        self.reserved += tokens
        self.calls += 1
        self.highest = max(self.highest, self.reserved + self.spent)
        return True

    async def settle(self, reserved: int, spent: Usage) -> None:
        self.reserved -= reserved
        self.spent += spent.tokens
        self.cost += spent.cost

    async def recall(self, keys: Sequence[str]) -> Mapping[str, Any]:
        return {key: self.memory[key] for key in keys if key in self.memory}

    async def remember(self, entries: Mapping[str, Any]) -> None:
        self.memory |= entries

"""Reads the played X as the core does: cursors, items and deletions are kept from read to read."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from distill_grpc.sources.base import FetchRequest, Item, Page, RateLimited, SourceFailure
from distill_grpc.sources.budgets import Budget, Quota, SlidingWindow
from distill_grpc.sources.x import XSource
from tests.conformance.sources.rules import check_pages
from tests.servers.x import XServer


@dataclass
class StrictBudgets:
    """Keeps quotas and windows in memory, by the clock of the played X."""

    server: XServer
    spent: dict[tuple[str, str, str], float] = field(default_factory=lambda: defaultdict(float))
    blocked: dict[str, datetime] = field(default_factory=dict)
    learned: list[tuple[str, float | None]] = field(default_factory=list)

    async def reserve(
        self, budget: Budget, holder: str, *, cost: float = 1.0, user: str = ""
    ) -> None:
        now = self.server.world.now
        if self.blocked.get(budget.name, now) > now:
            raise RateLimited("blocked", retry_at=self.blocked[budget.name])
        strategy = budget.strategy
        if isinstance(strategy, Quota):
            period = now.date().isoformat()
            again = now.replace(hour=0, minute=0, second=0) + timedelta(days=1)
        else:
            assert isinstance(strategy, SlidingWindow)
            slot = int(now.timestamp() // strategy.seconds)
            period, again = str(slot), now + timedelta(seconds=strategy.seconds)
        key = budget.name, holder, period
        if self.spent[key] + cost > strategy.limit + 1e-9:
            raise RateLimited("spent", retry_at=again)
        self.spent[key] += cost

    async def learn(
        self,
        budget: Budget,
        holder: str,
        *,
        remaining: float | None = None,
        resets_at: datetime | None = None,
        blocked_until: datetime | None = None,
    ) -> None:
        self.learned.append((budget.name, remaining))
        if blocked_until is not None:
            self.blocked[budget.name] = blocked_until

    def money(self) -> float:
        return sum(cost for (name, _, _), cost in self.spent.items() if name == "x.usd")


@dataclass
class Reader:
    """One user's connection to the played X."""

    source: XSource
    server: XServer
    settings: dict[str, Any] = field(default_factory=dict)
    days: float = 3
    token: str = "token-1"
    cursors: dict[str, Any] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    failure: SourceFailure | None = None

    async def read(self, *, pages: int | None = None) -> list[Page]:
        """One fetch; `pages`: the process dies after so many were stored."""
        now = self.server.world.now
        request = FetchRequest(
            credentials={"access_token": self.token},
            settings=self.settings,
            cursors=json.loads(json.dumps(self.cursors)),
            since={},
            default_since=now - timedelta(days=self.days),
            skip=frozenset(),
            now=now,
            user="user-1",
        )
        seen: list[Page] = []
        self.failure = None
        fetch = self.source.fetch(request)
        try:
            async for page in fetch:
                seen.append(page)
                self._store(page)
                if len(seen) == pages:
                    break
        except SourceFailure as failure:
            self.failure = failure
        finally:
            await fetch.aclose()  # type: ignore[attr-defined]
        check_pages(seen, parts={page.part for page in seen}, now=now + timedelta(minutes=2))
        return seen

    def _store(self, page: Page) -> None:
        for item in page.items:
            self.items[item.platform_id] = item
            self.deleted.discard(item.platform_id)
        for id_ in page.deleted:
            self.items.pop(id_, None)
            self.deleted.add(id_)
        if page.cursor is not None:
            self.cursors[page.part] = json.loads(json.dumps(page.cursor))

    def texts(self) -> set[str]:
        return {item.content for item in self.items.values()}

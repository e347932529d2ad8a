"""Reads a source as the core does: cursors and items of a page are stored together, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from distill_grpc.sources.base import FetchRequest, Item, Page, RateLimited, Source, SourceFailure
from distill_grpc.sources.budgets import Budget
from tests.conformance.sources.rules import check_items, check_json


@dataclass
class Reader:
    """One user's account, and what was stored of it."""

    source: Source
    clock: Callable[[], datetime]
    credentials: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    days: float = 7
    cursors: dict[str, Any] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    gaps: int = 0

    async def read(self, *, crash_after: int | None = None, **changes: Any) -> list[Page]:
        """A fetch; with `crash_after` it dies when so many pages are stored."""
        request = FetchRequest(
            credentials=self.credentials,
            settings=self.settings,
            cursors=dict(self.cursors),
            since=changes.pop("since", {}),
            default_since=self.clock() - timedelta(days=self.days),
            skip=changes.pop("skip", frozenset()),
            now=self.clock(),
            **changes,
        )
        pages: list[Page] = []
        async with aclosing(cast("Any", self.source.fetch(request))) as reading:
            async for page in reading:
                if crash_after is not None and len(pages) >= crash_after:
                    return pages
                pages.append(page)
                self._store(page)
        return pages

    async def fails(self, **changes: Any) -> SourceFailure:
        """The failure with which a fetch ends: the account's, or the first of a part."""
        try:
            pages = await self.read(**changes)
        except SourceFailure as failure:
            return failure
        failures = [page.failure for page in pages if page.failure is not None]
        assert failures, "nothing failed"
        return failures[0]

    def _store(self, page: Page) -> None:
        check_items(page.items, now=self.clock())
        check_json(page.cursor)
        assert not (page.unchanged and page.items)
        for item in page.items:
            self.items[item.platform_id] = item
        for gone in page.deleted:
            self.items.pop(gone, None)
        self.deleted += page.deleted
        self.gaps += page.gap
        if page.cursor is not None:
            self.cursors[page.part] = json.loads(json.dumps(page.cursor))
        if page.ended:
            self.cursors.pop(page.part, None)


class LedgerBudgets:
    """Budgets that write down what happens, and hold back what is blocked."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.reserved: list[tuple[str, str, str]] = []
        self.learnt: list[tuple[str, str, dict[str, Any]]] = []
        self.blocked: dict[tuple[str, str], datetime] = {}

    async def reserve(
        self, budget: Budget, holder: str, *, cost: float = 1.0, user: str = ""
    ) -> None:
        until = self.blocked.get((budget.name, holder))
        if until is not None and self.clock() < until:
            raise RateLimited("Blocked.", retry_at=until)
        self.reserved.append((budget.name, holder, user))

    async def learn(
        self,
        budget: Budget,
        holder: str,
        *,
        remaining: float | None = None,
        resets_at: datetime | None = None,
        blocked_until: datetime | None = None,
    ) -> None:
        told = {"remaining": remaining, "resets_at": resets_at, "blocked_until": blocked_until}
        self.learnt.append(
            (
                budget.name,
                holder,
                {name: value for name, value in told.items() if value is not None},
            )
        )
        if blocked_until is not None:
            before = self.blocked.get((budget.name, holder), blocked_until)
            self.blocked[budget.name, holder] = max(before, blocked_until)

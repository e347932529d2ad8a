"""What reading X costs, and what a user may spend a day.

X charges for every post and every user in an answer, those that it includes beside the posts too; the
same one costs nothing a second time on the same UTC day. What a page costs is known when it has come:
a small advance is reserved before a request, the rest is booked after it. A day's budget is therefore
exceeded by one page at the most, and pages are made small enough that this is a quarter of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from distill_grpc.sources.base import Json, RateLimited
from distill_grpc.sources.budgets import Budget, Budgets, Quota
from distill_grpc.sources.x_posts import resources_of

POST = 0.005  # USD a post read
USER = 0.010  # USD a user read
LIST = 0.005  # USD a list read
DEFAULT_DAILY = 2.0  # USD
LEAST_DAILY, MOST_DAILY = 0.25, 1_000.0

_ADVANCE = 0.0005  # USD; what a request brings costs ten times that or nothing
_SMALLEST_PAGE, _LARGEST_PAGE = 10, 100
_REMEMBERED = 1_000  # resources; what is forgotten is counted again, never too little


class Purse:
    """A user's money for X on one day, and what has been paid for on it."""

    def __init__(
        self, budgets: Budgets, holder: str, daily: float, now: datetime, *, user: str = ""
    ) -> None:
        self._budgets = budgets
        self._holder = holder
        self._user = user
        self._budget = Budget(name="x.usd", strategy=Quota(limit=daily), unit="USD")
        self._paid: dict[str, None] = {}
        self._advance = 0.0
        self.day = now.date().isoformat()
        # Of posts; each may bring an author along.
        affordable = int(daily / 4 / (POST + USER))
        self.page_size = max(_SMALLEST_PAGE, min(_LARGEST_PAGE, affordable))

    def remember(self, cursor: Json) -> None:
        """Takes over what `paid` gave to a cursor, where it is of today."""
        stored = cursor.get("paid") if isinstance(cursor, Mapping) else None
        if isinstance(stored, Mapping) and stored.get("day") == self.day:
            ids = stored.get("ids")
            self._paid |= dict.fromkeys(i for i in ids if isinstance(i, str)) if ids else {}

    def paid(self) -> Json:
        """What has been paid for today, to be kept in a cursor."""
        return {"day": self.day, "ids": list(self._paid)[-_REMEMBERED:]}

    async def open(self) -> None:
        """Before a request. Raises `RateLimited` where the day's money is spent."""
        if self._advance <= 0:
            await self._reserve(_ADVANCE)
            self._advance = _ADVANCE

    async def pay(self, answer: Mapping[str, Json]) -> None:
        """Books what an answer with posts cost; never raises, because it has been served."""
        posts, users = resources_of(answer)
        cost = self._new(posts, "p", POST) + self._new(users, "u", USER)
        await self._book(cost)

    async def pay_user(self, id_: str) -> None:
        """Books the read of one user."""
        await self._book(self._new([id_], "u", USER))

    async def pay_lists(self, ids: Iterable[str]) -> None:
        """Books the read of lists."""
        await self._book(self._new(ids, "l", LIST))

    def _new(self, ids: Iterable[str], kind: str, price: float) -> float:
        fresh = [key for id_ in dict.fromkeys(ids) if (key := kind + id_) not in self._paid]
        self._paid |= dict.fromkeys(fresh)
        return price * len(fresh)

    async def _book(self, cost: float) -> None:
        due, self._advance = cost - self._advance, max(0.0, self._advance - cost)
        step = due
        while step > _ADVANCE / 2:
            try:
                await self._reserve(step)
            except RateLimited:
                step /= 2  # more than is left: all of that is spent, and the next request refused
            else:
                due -= step
                step = min(step, due)

    async def _reserve(self, cost: float) -> None:
        try:
            await self._budgets.reserve(self._budget, self._holder, cost=cost, user=self._user)
        except RateLimited as refused:
            raise RateLimited(
                "Today's money for reading X is spent (settings.daily_usd).",
                reason="budget_spent",
                retry_at=refused.retry_at,
            ) from refused

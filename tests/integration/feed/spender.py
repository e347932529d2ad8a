"""A process that spends from a budget until a moment, and prints how often it could."""

from __future__ import annotations

import asyncio
import json
import sys
import time

from distill_grpc.db.engine import create_engine
from distill_grpc.feed.budgets import PostgresBudgets
from distill_grpc.sources.base import RateLimited
from distill_grpc.sources.budgets import Budget, SlidingWindow


async def spend(order: dict[str, float | str]) -> int:
    engine = create_engine(str(order["database_url"]), pool_size=4, pool_timeout=30)
    budgets = PostgresBudgets(engine, patience=0)
    window = SlidingWindow(limit=float(order["limit"]), seconds=float(order["seconds"]))
    budget = Budget(name="shared", strategy=window)
    allowed = 0

    async def one() -> None:
        nonlocal allowed
        while time.time() < float(order["until"]):
            try:
                await budgets.reserve(budget, "holder")
            except RateLimited:
                await asyncio.sleep(0.01)
            else:
                allowed += 1

    await asyncio.gather(*(one() for _ in range(4)))
    await engine.dispose()
    return allowed


if __name__ == "__main__":
    print(asyncio.run(spend(json.loads(sys.argv[1]))))

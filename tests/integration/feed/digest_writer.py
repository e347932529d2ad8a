"""A process that asks for a digest which a model writes, and prints what wrote it."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import datetime

from distill_grpc.db.engine import create_engine
from distill_grpc.feed.digesting import Digester, Spender
from distill_grpc.feed.periods import period
from distill_grpc.llm.chat import Chat, Prices
from distill_grpc.llm.openai import OpenAiSummariser
from tests.servers.openai import KEY, MODEL


async def write(order: dict[str, str]) -> str:
    engine = create_engine(order["database_url"], pool_timeout=30)
    chat = Chat.open(api_key=KEY, base_url=order["openai_url"], model=MODEL, prices=Prices())
    digester = Digester(engine=engine, summariser=OpenAiSummariser(chat), llm_daily_tokens=200_000)
    now = datetime.fromisoformat(order["now"])
    wanted = period(order["day"], None, "UTC", now)
    row = await digester.get_summary(order["user"], wanted, Spender(credits_available=True), now)
    await engine.dispose()
    await chat.close()
    return str(row.model)


if __name__ == "__main__":
    print(asyncio.run(write(json.loads(sys.argv[1]))))

"""The load generator where there is no wrk: the same load, by aiohttp, in a process of its own.

It takes several times the processor time of wrk, on the cores that the servers need: what is fast is
held back more than what is slow, so that ratios come out smaller.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import statistics
import sys
import time
from pathlib import Path

import aiohttp


async def load(
    origin: str, requests: list[list[str]], *, connections: int, seconds: float
) -> dict[str, float]:
    """Asks as fast as answers come, over so many connections."""
    took: list[float] = []
    counts = {"refused": 0, "broken": 0}
    end = time.perf_counter() + seconds
    start = random.Random(int(os.environ["BENCH_SEED"])).randrange(len(requests))
    walk = itertools.islice(itertools.cycle(requests), start, None)

    async def ask(session: aiohttp.ClientSession) -> None:
        while (begin := time.perf_counter()) < end:
            method, path, token, body = next(walk)
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            if body:
                headers["Content-Type"] = "application/json"
            asked = session.request(method, origin + path, headers=headers, data=body or None)
            try:
                async with asked as response:
                    await response.read()
                    counts["refused"] += response.status >= 300
            except aiohttp.ClientError:
                counts["broken"] += 1
            took.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        await asyncio.gather(*(ask(session) for _ in range(connections)))
    lasted = time.perf_counter() - begin
    parts = statistics.quantiles(took, n=100)
    return {
        "requests": len(took),
        "seconds": lasted,
        **counts,
        "p50_ms": parts[49] * 1000,
        "p99_ms": parts[98] * 1000,
    }


if __name__ == "__main__":
    found = asyncio.run(
        load(
            sys.argv[1],
            [
                line.split("\t")
                for line in Path(os.environ["BENCH_REQUESTS"]).read_text().splitlines()
            ],
            connections=int(sys.argv[2]),
            seconds=float(sys.argv[3]),
        )
    )
    print("BENCH " + json.dumps(found))

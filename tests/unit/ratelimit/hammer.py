"""A process that hammers a limiter, as one machine of a fleet does; prints what it saw as JSON.

    python hammer.py <Redis URL> <file of the machine's own counter> <limit> <key> <calls>

It says `ready` and waits for a line before it begins, so that several begin together. With `-1` calls
it goes on until its input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from pathlib import Path

from distill_grpc.ratelimit import LocalCallLimiter, RedisCallLimiter

AT_ONCE = 50
TIMEOUT = 5.0  # seconds; a busy machine must not look like an outage


async def main(url: str, path: str, limit: int, key: str, calls: int) -> None:
    """Hammers, and prints accepted calls, all calls, the slowest one and whether Redis was away."""
    fallback = LocalCallLimiter(Path(path), limit=limit)
    limiter = RedisCallLimiter(url, limit=limit, fallback=fallback, timeout=TIMEOUT)
    await limiter.hit(f"{key}-warm")
    print("ready", flush=True)
    sys.stdin.readline()
    over = threading.Event()
    if calls < 0:
        threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    accepted = made = 0
    slowest = 0.0
    degraded = False

    async def one() -> None:
        nonlocal accepted, made, slowest, degraded
        while made < calls or (calls < 0 and not over.is_set()):
            made += 1
            began = time.monotonic()
            verdict = await limiter.hit(key)
            slowest = max(slowest, time.monotonic() - began)
            accepted += verdict.allowed
            degraded = degraded or limiter.degraded is not None
            await asyncio.sleep(0)  # a count of this machine alone never waits

    await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    told = {"accepted": accepted, "made": made, "slowest": slowest, "degraded": degraded}
    print(json.dumps({**told, "now": limiter.degraded}), flush=True)
    await limiter.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])))  # type: ignore[call-arg]

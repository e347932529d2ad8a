"""API clients that never stop asking, and count what they are told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import aiohttp

from distill_grpc.auth import LocalIssuer
from tests.chaos.arena import Arena
from tests.servers.ports import held_ports

# What they ask, in turn: method, path and body.
CALLS = (
    ("GET", "/content/recent", None),
    ("GET", "/metadata", None),
    ("POST", "/sync", {"force": True}),
    ("GET", "/connections", None),
    ("POST", "/content/search", {"query": "something"}),
)
PATIENCE = 20.0  # seconds


@dataclass
class Tally:
    """Answers by status, and what must not be in them."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0
    good_at: list[float] = field(default_factory=list)  # moments (monotonic) of answers below 500

    @property
    def total(self) -> int:
        return sum(self.statuses.values())

    def first_good(self, since: float) -> float:
        """Seconds from that moment to the first good answer."""
        return min((at - since for at in self.good_at if at > since), default=float("inf"))


@asynccontextmanager
async def node(world: Arena, database_url: str | None = None) -> AsyncIterator[str]:
    """Core and facade as one process of the production; yields the address of the facade."""
    with held_ports(2) as ports:
        log = (world.folder / "node.log").open("wb")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "distill_grpc",
            "node",
            env={
                **os.environ,
                "DISTILL_DATABASE_URL": database_url or world.database_url,
                "DISTILL_DATA_DIR": str(world.folder),
                "DISTILL_HTTP_ADDRESS": f"127.0.0.1:{ports[0]}",
                "DISTILL_GRPC_ADDRESS": f"127.0.0.1:{ports[1]}",
                "DISTILL_API_CALLS_PER_MINUTE": "1000000",
                "DISTILL_LOG_FORMAT": "json",
                "DISTILL_LOG_LEVEL": "debug",
                "DISTILL_SOURCES": "rss",
            },
            cwd=Path(__file__).parents[2],
            stderr=log,
            stdout=log,
            start_new_session=True,
        )
        address = f"http://127.0.0.1:{ports[0]}"
        try:
            async with asyncio.timeout(30), aiohttp.ClientSession() as session:
                while True:
                    with contextlib.suppress(aiohttp.ClientError):
                        async with session.get(f"{address}/health"):
                            break
                    await asyncio.sleep(0.1)
            yield address
            assert process.returncode is None, f"the node ended with {process.returncode}"
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), 15)
                except TimeoutError:
                    process.kill()
                    await process.wait()
            log.close()


@asynccontextmanager
async def asking(world: Arena, address: str, clients: int = 6) -> AsyncIterator[Tally]:
    """Clients ask while the block runs."""
    tally, stop = Tally(), asyncio.Event()
    issuer = LocalIssuer.load(world.folder)
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        tasks = [
            asyncio.create_task(_ask(world, session, address, issuer, tally, stop, number))
            for number in range(clients)
        ]
        try:
            yield tally
        finally:
            stop.set()
            await asyncio.gather(*tasks)


async def _ask(
    world: Arena,
    session: aiohttp.ClientSession,
    address: str,
    issuer: LocalIssuer,
    tally: Tally,
    stop: asyncio.Event,
    number: int,
) -> None:
    turn = number
    while not stop.is_set():
        user = world.users[turn % len(world.users)]
        method, path, body = CALLS[turn % len(CALLS)]
        turn += 1
        token = issuer.issue(
            user_id=user,
            email=f"{user}@example.com",
            credits_available=True,
            expires_in=timedelta(hours=1),
        )
        headers = {"Authorization": f"Bearer {token}"}
        begun = time.monotonic()
        try:
            async with session.request(
                method, address + path, json=body, headers=headers
            ) as answer:
                text = await answer.text()
                told = await answer.json() if text else {}
        except (TimeoutError, aiohttp.ClientError) as error:
            tally.statuses[0] += 1
            tally.wrong.append(f"{method} {path}: {type(error).__name__}: {error}")
            continue
        ended = time.monotonic()
        tally.statuses[answer.status] += 1
        tally.slowest = max(tally.slowest, ended - begun)
        if answer.status < 500:
            tally.good_at.append(ended)
        _judge(world, user, f"{method} {path}", answer, text, told, tally)
        await asyncio.sleep(0.02)


def _judge(
    world: Arena,
    user: str,
    call: str,
    answer: aiohttp.ClientResponse,
    text: str,
    told: object,
    tally: Tally,
) -> None:
    """I9, I12, and: what cannot be served now is 503 with a time to come back."""
    status = answer.status
    if status >= 400:
        envelope = isinstance(told, dict) and {"error", "message"} <= told.keys()
        if not envelope or "Traceback" in text or "SELECT" in text:
            tally.wrong.append(f"{call}: {status} {text[:200]}")
    if status >= 500 and (status != 503 or "Retry-After" not in answer.headers):
        tally.wrong.append(f"{call}: {status} without a time to come back: {text[:200]}")
    for other in world.users:
        if other != user and f"T-{other}-" in text:
            tally.wrong.append(f"{call}: {user} sees what belongs to {other}")

"""Every process of a fleet is restarted, one after the other, under load: nobody notices."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc.auth import LocalIssuer
from distill_grpc.proto.distill.v1 import connection_service_pb2 as connection
from distill_grpc.proto.distill.v1 import connection_service_pb2_grpc as connections
from distill_grpc.proto.distill.v1 import content_service_pb2 as content
from distill_grpc.proto.distill.v1 import content_service_pb2_grpc as contents
from distill_grpc.proto.distill.v1 import watch_service_pb2 as watch
from distill_grpc.proto.distill.v1 import watch_service_pb2_grpc as watches
from tests.e2e.fleet import DRAIN, fleet
from tests.envoy_door import needs_envoy

# Of each kind of client, in requests a second, and how many it has open where answers take longer.
RATE = 10
MOST_OPEN = 8
# Seconds. A call may meet a core that is being left, but nothing that times out. A roll takes half a
# minute on two cores that have nothing else to do; these are for machines that have.
LONGEST_CALL = 10.0
LONGEST_ROLL = 180.0
LONGEST_REST = 60.0
# So that syncs are going on whenever a worker stops.
PAGES, DELAY = 4, 0.15
RESIDENTS = ("rest", "grpc")

Step = Callable[[], Awaitable[None]]


@dataclass
class Record:
    """What clients saw."""

    sent: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    longest: float = 0.0
    gap: float = 0.0  # the longest time without a good answer
    watching: list[str] = field(default_factory=list)  # users whose watch was acknowledged
    put: dict[str, int] = field(default_factory=dict)  # user → the last acknowledged setting
    _last: float = field(default_factory=time.monotonic)

    async def step(self, name: str, step: Step) -> None:
        """One request; it counts whatever becomes of it."""
        began = time.monotonic()
        self.sent[name] += 1
        try:
            await step()
        except Exception as error:  # each one is a finding
            self.failures.append(f"{name}: {type(error).__name__}: {error}"[:500])
            return
        now = time.monotonic()
        self.longest = max(self.longest, now - began)
        self.gap = max(self.gap, now - self._last)
        self._last = now


class Clients:
    """Steady callers through Envoy: reads and writes, by REST and by gRPC."""

    def __init__(
        self, address: str, issuer: LocalIssuer, http: aiohttp.ClientSession, channel: Any
    ) -> None:
        self.record = Record()
        self._url = f"http://{address}"
        self._issuer = issuer
        self._http = http
        self._connections: Any = connections.ConnectionServiceStub(channel)
        self._contents: Any = contents.ContentServiceStub(channel)
        self._watches: Any = watches.WatchServiceStub(channel)
        self._numbers = itertools.count()
        self._stop = asyncio.Event()

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[Record]:
        """They call all the while."""
        kinds = [
            asyncio.create_task(self._keep_calling(door, begin))
            for door, begin in (("rest", self._by_rest), ("grpc", self._by_grpc))
        ]
        try:
            yield self.record
        finally:
            self._stop.set()
            await asyncio.gather(*kinds)

    async def _keep_calling(self, door: str, steps: Callable[[], list[tuple[str, Step]]]) -> None:
        calls: set[asyncio.Task[None]] = set()
        mixed = itertools.chain.from_iterable(steps() for _ in itertools.count())
        for number in itertools.count():
            if self._stop.is_set():
                break
            name, step = next(mixed)
            task = asyncio.create_task(self.record.step(f"{door} {name}", step))
            calls.add(task)
            task.add_done_callback(calls.discard)
            if number % 2:
                await asyncio.sleep(2 / RATE)
            while len(calls) >= MOST_OPEN:
                await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*calls)

    async def settle_in(self) -> None:
        """Those who read and change their settings all the while begin to watch."""
        for user in RESIDENTS:
            await self._ask("PUT", "/connections/youtube", user, 200, {"settings": {"pages": 1}})
            await self._ask("POST", "/watch", user, 201)

    async def _ask(self, method: str, path: str, user: str, status: int, json: Any = None) -> None:
        headers = {"Authorization": f"Bearer {self._token(user)}"}
        async with self._http.request(
            method, self._url + path, json=json, headers=headers
        ) as answer:
            body = await answer.text()
            assert answer.status == status, f"{answer.status} {body}"

    def _by_rest(self) -> list[tuple[str, Step]]:
        async def put() -> None:
            value = self._next()
            settings = {"pages": 1 + value % 9}
            await self._ask("PUT", "/connections/youtube", "rest", 200, {"settings": settings})
            self.record.put["rest"] = 1 + value % 9

        async def begin() -> None:
            user = f"rest-{self._next()}"
            settings = {"pages": PAGES, "delay": DELAY}
            await self._ask("PUT", "/connections/github", user, 200, {"settings": settings})
            await self._ask("POST", "/watch", user, 201)
            self.record.watching.append(user)

        return [
            *_reads(lambda path: self._ask("GET", path, "rest", 200), 12),
            ("put", put),
            *_reads(lambda path: self._ask("GET", path, "rest", 200), 12),
            ("watch", begin),
        ]

    def _by_grpc(self) -> list[tuple[str, Step]]:
        def metadata(user: str) -> tuple[tuple[str, str], ...]:
            return (("authorization", f"Bearer {self._token(user)}"),)

        async def put_settings(user: str, source: str, **settings: float) -> None:
            request = connection.PutConnectionRequest(source=source, settings=Struct())
            request.settings.update(settings)
            await self._connections.PutConnection(request, timeout=10, metadata=metadata(user))

        async def read() -> None:
            request = content.ListRecentRequest(hours=24, limit=20)
            await self._contents.ListRecent(request, timeout=10, metadata=metadata("grpc"))

        async def put() -> None:
            value = self._next()
            await put_settings("grpc", "youtube", pages=1 + value % 9)
            self.record.put["grpc"] = 1 + value % 9

        async def begin() -> None:
            user = f"grpc-{self._next()}"
            await put_settings(user, "github", pages=PAGES, delay=DELAY)
            answer = await self._watches.Watch(
                watch.WatchRequest(), timeout=10, metadata=metadata(user)
            )
            assert answer.status == watch.WatchResponse.watching
            self.record.watching.append(user)

        reads: list[tuple[str, Step]] = [("read", read)] * 12
        return [*reads, ("put", put), *reads, ("watch", begin)]

    def _next(self) -> int:
        return next(self._numbers)

    def _token(self, user: str) -> str:
        return self._issuer.issue(
            user_id=user,
            email=f"{user}@example.com",
            credits_available=True,
            expires_in=timedelta(minutes=10),
        )


def _reads(ask: Callable[[str], Awaitable[Any]], number: int) -> list[tuple[str, Step]]:
    paths = itertools.cycle(("/content/recent?hours=24&limit=20", "/metadata", "/connections"))

    def read(path: str) -> Step:
        async def step() -> None:
            await ask(path)

        return step

    return [("read", read(next(paths))) for _ in range(number)]


@needs_envoy
@pytest.mark.timeout(400)
async def test_a_rolling_restart_fails_no_request_and_loses_no_item(
    database_url: str, engine: AsyncEngine, tmp_path: Path
) -> None:
    begun = datetime.now(UTC)
    async with fleet(database_url, tmp_path) as (roles, envoy):
        issuer = LocalIssuer.load(tmp_path / "data")
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http,
            grpc.aio.insecure_channel(envoy.address) as channel,
        ):
            clients = Clients(envoy.address, issuer, http, channel)
            await clients.settle_in()
            async with clients.at_work() as record:
                await asyncio.sleep(0.5)
                stopped: dict[str, float] = {}
                start = time.monotonic()
                for role in roles:
                    stopped[role.name] = await role.stop()
                    await role.start()
                    await envoy.until_all_healthy()
                took = time.monotonic() - start
        last = await _last_syncs(engine)
        runs = await _rows(engine, "SELECT user_id, status, attempt FROM sync_runs")
    sent = record.sent.total()
    print(
        f"\n{record.failures[:20]}"
        f"\n{sent} requests ({dict(record.sent)}), {len(record.failures)} failed,"
        f" {len(record.watching)} syncs, {sum(run.attempt > 1 for run in runs)} handed over;"
        f" longest call {record.longest:.2f} s, longest gap {record.gap:.2f} s, roll {took:.1f} s,"
        f" last syncs {last:.1f} s later;"
        f" stops {', '.join(f'{name} {seconds:.1f}' for name, seconds in stopped.items())}"
    )
    assert record.failures == []
    assert sent > 200
    assert record.longest < LONGEST_CALL
    assert record.gap < LONGEST_CALL
    assert took < LONGEST_ROLL
    assert min(seconds for name, seconds in stopped.items() if "worker" not in name) >= DRAIN
    assert max(seconds for name, seconds in stopped.items() if "worker" in name) < 10

    assert {run.user_id for run in runs if run.status == "completed"} == {
        *RESIDENTS,
        *record.watching,
    }
    items = await _rows(
        engine,
        "SELECT user_id, platform_id FROM items WHERE published_at BETWEEN :oldest AND :begun",
        oldest=begun - timedelta(days=6),
        begun=begun - timedelta(seconds=1),
    )
    assert len(set(items)) == len(items), "an item is there twice"
    found = {user: {i.platform_id for i in items if i.user_id == user} for user in record.watching}
    expected = set().union(*found.values())
    assert len(expected) > 100
    lost = {user: len(expected - names) for user, names in found.items() if names != expected}
    assert lost == {}
    assert await _settings(engine) == record.put


async def _rows(engine: AsyncEngine, sql: str, **values: Any) -> list[Any]:
    async with engine.connect() as reading:
        return list((await reading.execute(text(sql), values)).all())


async def _last_syncs(engine: AsyncEngine) -> float:
    """Waits until the syncs that were still to be done are; returns the seconds that it took."""
    began = time.monotonic()
    query = "SELECT user_id, status, attempt, worker FROM sync_runs WHERE status IN ('queued', 'running')"
    while left := await _rows(engine, query):
        assert time.monotonic() - began < LONGEST_REST, left
        await asyncio.sleep(0.1)
    return time.monotonic() - began


async def _settings(engine: AsyncEngine) -> dict[str, int]:
    rows = await _rows(engine, "SELECT user_id, settings FROM connections WHERE source = 'youtube'")
    return {row.user_id: row.settings["pages"] for row in rows}

"""Workers as processes of their own: killed, frozen and stopped in the middle of a sync."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc.db.engine import create_engine
from tests.databases import fresh_database
from tests.integration.feed.waiting import until
from tests.service import Service, start_service

WEEK = timedelta(days=7)
INTERRUPTED = ("killed", "frozen", "leaving")


class Worker:
    """A process that was started with `distill worker`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log


class Scene:
    """A service without a worker, and worker processes as they are wanted."""

    def __init__(self, service: Service, engine: AsyncEngine, folder: Path) -> None:
        self.service = service
        self.engine = engine
        self._folder = folder
        self._stack = AsyncExitStack()
        self._started = 0

    async def __aenter__(self) -> Scene:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def worker(self, concurrency: int) -> Worker:
        """Starts a worker."""
        return await self._stack.enter_async_context(self._worker(concurrency))

    @asynccontextmanager
    async def _worker(self, concurrency: int) -> AsyncIterator[Worker]:
        self._started += 1
        log = self._folder / f"worker-{self._started}.log"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("DISTILL_")}
        settings = {
            "DATABASE_URL": self.service.settings.database_url or "",
            "DATA_DIR": str(self.service.settings.data_dir),
            "MOCK": "1",
            "WORKER_CONCURRENCY": str(concurrency),
            "LOG_FORMAT": "json",
        }
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "distill_grpc",
                "worker",
                env=kept | {f"DISTILL_{name}": value for name, value in settings.items()},
                cwd=self._folder,
                stdout=out,
                stderr=out,
            )
        try:
            yield Worker(process, log)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def all_registered(self) -> bool:
        """True once every worker that was started looks for jobs."""
        async with self.engine.connect() as connection:
            query = text("SELECT count(*) FROM procrastinate_workers")
            return bool((await connection.execute(query)).scalar_one() == self._started)

    async def begin(self, user: str, *, pages: int, delay: float) -> None:
        """A user whose sync takes `2 * pages * delay` seconds."""
        settings = {"pages": pages, "delay": delay}
        put = await self.service.call(
            "PUT", "/connections/github", {"settings": settings}, user=user
        )
        assert put.status == 200, put.text
        assert (await self.service.call("POST", "/watch", user=user)).status == 201

    async def run(self, user: str) -> Any:
        """The newest run of a user."""
        async with self.engine.connect() as connection:
            query = text(
                "SELECT status, attempt, worker, lease_until FROM sync_runs WHERE user_id = :user"
                " ORDER BY queued_at DESC LIMIT 1"
            )
            return (await connection.execute(query, {"user": user})).one()

    async def shows(self, user: str, least: int) -> None:
        """Waits until that many items are stored while the sync still runs."""

        async def enough() -> bool:
            return len(await self.stored(user)) >= least

        await until(enough, timeout=60)
        assert (await self.run(user)).status == "running"

    async def ended(self, user: str) -> float:
        """Waits until the sync of a user has ended; returns when."""

        async def over() -> bool:
            return (await self.run(user)).status not in {"queued", "running"}

        await until(over, timeout=60)
        return time.monotonic()

    async def taken_over(self, user: str) -> float:
        """Waits until a second worker has the sync of a user; returns when."""

        async def second() -> bool:
            return bool((await self.run(user)).attempt >= 2)

        await until(second, timeout=60)
        return time.monotonic()

    async def stored(self, user: str) -> dict[str, datetime]:
        """Every item of a user: platform id → when it was published."""
        async with self.engine.connect() as connection:
            query = text("SELECT platform_id, published_at FROM items WHERE user_id = :user")
            rows = (await connection.execute(query, {"user": user})).all()
        found = {row.platform_id: row.published_at for row in rows}
        assert len(found) == len(rows), "an item is there twice"
        return found


@dataclass
class Aftermath:
    """Three workers were killed, frozen and asked to stop at the same time; what became of it.

    Times are seconds from then. Items are those that every sync of the test could see.
    """

    ended: dict[str, float] = field(default_factory=dict)
    taken_over: dict[str, float] = field(default_factory=dict)
    left: float = 0.0
    exit_code: int | None = None
    runs: dict[str, Any] = field(default_factory=dict)
    items: dict[str, set[str]] = field(default_factory=dict)
    before_the_thaw: Any = None
    after_the_thaw: Any = None


@pytest.fixture(scope="module")
async def aftermath(
    postgres: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Aftermath]:
    """Lets it all happen, once for all tests here."""
    folder = tmp_path_factory.mktemp("workers")
    with fresh_database(postgres) as database_url:
        engine = create_engine(database_url)
        async with (
            start_service(database_url, folder / "data", worker=False, mock=True) as service,
            Scene(service, engine, folder) as scene,
        ):
            yield await happened(scene)
        await engine.dispose()


async def happened(scene: Scene) -> Aftermath:
    found = Aftermath()
    begun = datetime.now(UTC)
    workers = [await scene.worker(concurrency=1) for _ in range(3)]
    await until(scene.all_registered, timeout=60)
    by_pid = {worker.process.pid: worker for worker in workers}
    await scene.begin("killed", pages=20, delay=0.1)
    await scene.begin("frozen", pages=20, delay=0.1)
    await scene.begin("leaving", pages=63, delay=0.12)  # longer than the grace
    of: dict[str, Worker] = {}
    for user in INTERRUPTED:
        await scene.shows(user, 6)
        of[user] = by_pid[int((await scene.run(user)).worker.split(":")[1])]
    of["killed"].process.send_signal(signal.SIGKILL)
    of["frozen"].process.send_signal(signal.SIGSTOP)
    of["leaving"].process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    await scene.worker(concurrency=8)
    await scene.begin("reference", pages=1, delay=0)

    async def leave() -> None:
        found.exit_code = await of["leaving"].process.wait()
        found.left = time.monotonic() - start

    async def end(user: str) -> None:
        found.taken_over[user] = await scene.taken_over(user) - start
        found.ended[user] = await scene.ended(user) - start

    await asyncio.gather(leave(), scene.ended("reference"), *(end(user) for user in INTERRUPTED))
    found.before_the_thaw = await scene.stored("frozen"), await scene.run("frozen")
    of["frozen"].process.send_signal(signal.SIGCONT)
    await until(_mentions(of["frozen"], "sync_lease_lost"), timeout=60)
    found.after_the_thaw = await scene.stored("frozen"), await scene.run("frozen")
    oldest = datetime.now(UTC) - WEEK
    for user in (*INTERRUPTED, "reference"):
        found.runs[user] = await scene.run(user)
        stored = await scene.stored(user)
        found.items[user] = {name for name, at in stored.items() if oldest <= at <= begun}
    return found


def _mentions(worker: Worker, event: str) -> Callable[[], Any]:
    async def mentioned() -> bool:
        return event in worker.log.read_text()

    return mentioned


@pytest.mark.parametrize("user", INTERRUPTED)
def test_every_item_is_there_once_as_without_the_interruption(
    aftermath: Aftermath, user: str
) -> None:
    assert len(aftermath.items["reference"]) > 100
    assert aftermath.items[user] == aftermath.items["reference"]


@pytest.mark.parametrize("user", INTERRUPTED)
def test_another_worker_finishes_the_sync_within_half_a_minute(
    aftermath: Aftermath, user: str
) -> None:
    assert (aftermath.runs[user].status, aftermath.runs[user].attempt) == ("completed", 2)
    assert aftermath.ended[user] < 30


def test_a_worker_that_thaws_writes_nothing_late(aftermath: Aftermath) -> None:
    assert aftermath.after_the_thaw == aftermath.before_the_thaw


def test_a_worker_that_is_asked_to_stop_goes_in_time_and_hands_over_at_once(
    aftermath: Aftermath,
) -> None:
    assert aftermath.exit_code == 0
    assert aftermath.left < 10
    assert aftermath.taken_over["leaving"] - aftermath.left < 5  # no lease was waited for

"""Where a scenario takes place: a database, a platform, users with feeds, and a fleet of workers."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import psycopg
from sqlalchemy import event, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc.auth import Caller
from distill_grpc.db.engine import create_engine
from distill_grpc.encryption import Keyring
from distill_grpc.errors import DistillError
from distill_grpc.feed import connecting, syncing, watching
from distill_grpc.feed.policy import Policy
from distill_grpc.feed.sealing import Vault
from distill_grpc.feed.store import watches
from distill_grpc.feed.tokens import TokenKeeper
from distill_grpc.jobs.queue import JobQueue
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext
from distill_grpc.sources.rss import RssSource
from tests.chaos.auditor import Auditor, dumped
from tests.chaos.fleet import Fleet, Nursery, until
from tests.chaos.platform import Feed, Platform
from tests.databases import create_database, drop_database

# By how much the times of leases and heartbeats are divided where a scenario is not about them.
QUICK = 4.0


class Arena:
    """One scenario's world. `pace` divides the engine's own times."""

    def __init__(
        self,
        *,
        seed: int,
        platform: Platform,
        engine: AsyncEngine,
        database_url: str,
        folder: Path,
        nursery: Nursery,
        pace: float,
        sandbox: bool,
    ) -> None:
        self.random = Random(f"arena {seed}")
        self.platform = platform
        self.engine = engine
        self.database_url = database_url
        self.folder = folder
        self.auditor = Auditor(engine, platform)
        self.pace = pace
        self.fleet = Fleet(
            nursery,
            folder,
            {
                "database_url": database_url,
                "data_dir": str(folder),
                "pace": pace,
                "items_per_page": self.random.choice((2, 3, 5)),
                "http_timeout": 1.5,
                "sandbox": sandbox,
            },
        )
        self.users: list[str] = []
        self._queue = JobQueue(database_url)
        http = HttpClient(allow_private_addresses=True)
        self._source = RssSource(SourceContext(http=http))
        self._tokens = TokenKeeper(
            engine=self.engine,
            patient=self.engine,
            vault=Vault(Keyring.load((), folder)),
            http=http,
            guarded=http,
        )

    async def populate(self, users: int, feeds: int, entries: int) -> None:
        """Users who watch feeds that have entries. They sync whenever the scheduler looks."""
        for _ in range(users):
            user = f"u{len(self.users)}"
            own = [self.platform.add_feed(user, number) for number in range(feeds)]
            for feed in own:
                for _ in range(self.random.randint(entries // 2, entries)):
                    self.platform.publish(feed, late=self.random.random() < 0.5)
            await self.connect(user)
            await self.watch(user)
            self.users.append(user)

    def feeds(self, user: str) -> list[Feed]:
        """A user's feeds."""
        return [feed for feed in self.platform.feeds.values() if feed.owner == user]

    async def connect(self, user: str) -> None:
        """What PUT /connections/rss does."""
        await connecting.connect(
            self.engine,
            user,
            source=self._source,
            credentials=None,
            settings={"feeds": [self.platform.url(f.path) for f in self.feeds(user)]},
            tokens=self._tokens,
        )

    async def watch(self, user: str) -> None:
        """What POST /watch does; then a sync is due each second."""
        async with self.engine.begin() as connection:
            await watching.watch(
                connection,
                self._queue,
                _caller(user),
                sources=("rss",),
                backfill_days=3,
                default_backfill_days=7,
                sync_frequency=None,
                policy=Policy(),
                now=datetime.now(UTC),
            )
            await watches.update_watch(
                connection, user, sync_interval=1, next_sync_at=datetime.now(UTC)
            )

    async def unwatch(self, user: str) -> None:
        """What POST /unwatch does; notes what the user had when it was acknowledged."""
        async with self.engine.begin() as connection:
            await watching.unwatch(connection, user, policy=Policy(), now=datetime.now(UTC))
        (row,) = await self.ask("SELECT count(*) FROM items WHERE user_id = :user", user=user)
        self.auditor.left[user] = row[0]

    async def ask(self, sql: str, **values: Any) -> list[Any]:
        """Rows of a query."""
        async with self.engine.connect() as connection:
            return list((await connection.execute(text(sql), values)).all())

    async def active(self) -> dict[str, Any]:
        """Active runs by user."""
        rows = await self.ask(
            "SELECT user_id, id, attempt, status FROM sync_runs WHERE status IN ('queued', 'running')"
        )
        return {row.user_id: row for row in rows}

    @asynccontextmanager
    async def stirred(self, every: float = 0.1) -> AsyncIterator[None]:
        """People publish, edit and delete while the block runs."""
        stop = asyncio.Event()

        async def stir() -> None:
            while not stop.is_set():
                self.platform.stir(self.random.choice(list(self.platform.feeds.values())))
                await asyncio.sleep(every)

        task = asyncio.create_task(stir())
        try:
            yield
        finally:
            stop.set()
            await task

    async def resumed(self, held: Mapping[str, Any], since: float, *, within: float) -> float:
        """Waits until every run that was active has got an owner again or is over; how long."""

        async def gone_on() -> bool:
            now = await self.active()
            return all(
                user not in now
                or now[user].id != run.id
                or (now[user].status == "running" and now[user].attempt > run.attempt)
                for user, run in held.items()
            )

        await until(gone_on, f"runs are taken over: {sorted(held)}", timeout=within)
        return time.monotonic() - since

    async def settle(self, *, within: float = 40.0) -> None:
        """No more faults; everybody gets one more whole sync, and all work ends."""
        self.platform.faults.clear()
        self.platform.delay = 0.0
        begun = datetime.now(UTC)
        staying = [user for user in self.users if user not in self.auditor.left]

        async def read_again() -> bool:
            # By a run that began after the last change, not by one that ended after it.
            read = await self.ask(
                "SELECT p.user_id FROM connection_parts p GROUP BY 1 HAVING bool_and("
                "coalesce(p.last_success_at >= (SELECT min(started_at) FROM sync_runs r"
                " WHERE r.user_id = p.user_id AND r.started_at >= :begun), false))",
                begun=begun,
            )
            behind = set(staying) - {row.user_id for row in read}
            for user in behind - (await self.active()).keys():
                await self.sync(user)
            return not behind

        try:
            await until(read_again, "everything is read once more", timeout=within)
        except AssertionError as error:
            raise AssertionError(f"{self.folder}: {error}: {await self.active()}") from None
        async with self.engine.begin() as connection:
            # Nothing more comes by itself.
            await connection.execute(
                text("UPDATE watches SET next_sync_at = now() + interval '1 day'")
            )

        async def at_rest() -> bool:
            jobs = await self.ask("SELECT 1 FROM procrastinate_jobs")
            return not jobs and not await self.active()

        await until(at_rest, "all runs and jobs come to an end", timeout=within)
        # A run that ended meanwhile made its user due again.
        async with self.engine.begin() as connection:
            await connection.execute(
                text("UPDATE watches SET next_sync_at = now() + interval '1 day'")
            )
        await until(at_rest, "all runs and jobs come to an end", timeout=within)

    async def sync(self, user: str) -> None:
        """A forced run for a user who has none."""
        with contextlib.suppress(DistillError):  # the scheduler was quicker
            async with self.engine.begin() as connection:
                await syncing.enqueue(
                    connection,
                    self._queue,
                    user,
                    uuid.uuid4(),
                    trigger="request",
                    force=True,
                    now=datetime.now(UTC),
                )

    async def conclude(self) -> None:
        """Settles, stops the workers, and audits; raises AssertionError where anything is wrong."""
        if self.fleet.alive:
            await self.settle()
            await self.fleet.stop()
        finding = await self.auditor.audit()
        await self._check_leftovers()
        assert not finding.faults(), f"{self.folder}\n{dumped(finding)}"

    async def _check_leftovers(self) -> None:
        """I13: stopped workers leave no connection behind; I10: no log line holds a secret."""

        async def gone() -> bool:
            return not await self.ask(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name IN ('distill', 'distill-jobs')"
            )

        await until(gone, "connections of stopped workers close", timeout=5)
        rows = await self.ask("SELECT id FROM procrastinate_workers")
        known = len([w for w in self.fleet.workers if w.code != 0])
        # One whose connection was cut could not sign off; it began anew under another number.
        known += sum(w.log.read_bytes().count(b'"worker_ended"') for w in self.fleet.workers)
        if len(rows) > known:
            self.auditor.finding.other.append(f"{len(rows)} workers still registered, {known} died")
        for log in self.folder.glob("*.log"):
            if b"SEKRET" in log.read_bytes():
                self.auditor.finding.leaks.append(f"{log.name} holds a secret")


@asynccontextmanager
async def arena(
    postgres: str,
    nursery: Nursery,
    seed: int,
    *,
    pace: float = QUICK,
    faults: Mapping[str, float] | None = None,
    sandbox: bool = True,
) -> AsyncIterator[Arena]:
    """An arena on a fresh database; its folder stays where the scenario fails.

    Without `sandbox`, workers parse feeds themselves, which saves most of the machine's time.
    """
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    async with fresh_database(postgres) as database_url:
        engine = create_engine(database_url, pool_size=2, pool_timeout=30)
        event.listen(engine.sync_engine, "connect", _name)
        try:
            async with Platform(seed, faults=faults) as platform:
                world = Arena(
                    seed=seed,
                    platform=platform,
                    engine=engine,
                    database_url=database_url,
                    folder=folder,
                    nursery=nursery,
                    pace=pace,
                    sandbox=sandbox,
                )
                try:
                    yield world
                finally:
                    await world.fleet.stop()
        finally:
            await engine.dispose()
    await asyncio.to_thread(shutil.rmtree, folder)


@asynccontextmanager
async def fresh_database(postgres: str) -> AsyncIterator[str]:
    """A fresh database; unlike the fixture's, it survives a restart of the server."""
    name = f"chaos_{uuid.uuid4().hex}"
    await asyncio.to_thread(_administer, postgres, create_database, name)
    yield make_url(postgres).set(database=name).render_as_string(hide_password=False)
    await asyncio.to_thread(_administer, postgres, drop_database, name)


def _administer(postgres: str, act: Callable[[psycopg.Connection, str], None], name: str) -> None:
    address = make_url(postgres).set(database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True) as admin:
        act(admin, name)


def _name(connection: Any, _: Any) -> None:
    """Tells the harness's connections from those of the production."""
    with connection.cursor() as cursor:
        cursor.execute("SET application_name = 'chaos'")
    connection.commit()


def _caller(user: str) -> Caller:
    return Caller(
        user_id=user,
        email=f"{user}@example.com",
        credits_available=True,
        issuer="",
        local=True,
        expires_at=datetime.max.replace(tzinfo=UTC),
    )

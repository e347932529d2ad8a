"""A database with users in it, and workers for their syncs: the production code, wired by a test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import app
from distill_grpc.app import Parts
from distill_grpc.auth import Caller
from distill_grpc.encryption import Keyring
from distill_grpc.feed import connecting, syncing, watching
from distill_grpc.feed.collecting import Collector
from distill_grpc.feed.models import ConnectionPart
from distill_grpc.feed.policy import Policy
from distill_grpc.feed.pushing import Pushing
from distill_grpc.feed.query_embedding import Seeker
from distill_grpc.feed.sealing import Vault
from distill_grpc.feed.store import connections, runs, watches
from distill_grpc.feed.tokens import TokenKeeper
from distill_grpc.jobs.queue import JobQueue
from distill_grpc.llm.offline import OfflineSummariser
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import Registry
from tests.integration.feed.scripted import ScriptedSource

USER = "user_1"


def caller(user: str = USER) -> Caller:
    """A caller as the token of a user makes one."""
    return Caller(
        user_id=user,
        email=f"{user}@example.com",
        credits_available=True,
        issuer="",
        local=True,
        expires_at=datetime.max.replace(tzinfo=UTC),
    )


def keeper(engine: AsyncEngine, keyring: Keyring, http: HttpClient, **options: Any) -> TokenKeeper:
    """What keeps tokens."""
    return TokenKeeper(
        **{
            "engine": engine,
            "patient": engine,
            "vault": Vault(keyring),
            "http": http,
            "guarded": http,
            **options,
        }
    )


@dataclass
class World:
    """Users, sources and workers. `ahead` is how far the workers' clocks run before ours."""

    engine: AsyncEngine
    queue: JobQueue
    sources: dict[str, ScriptedSource]
    policy: Policy = field(default_factory=Policy)
    ahead: timedelta = timedelta(0)
    key: bytes = field(default_factory=lambda: os.urandom(32))
    seeker: Seeker | None = None  # where items are found by meaning

    def __post_init__(self) -> None:
        self.keyring = Keyring([self.key])
        self.http = HttpClient(allow_private_addresses=True)  # reaches the servers of a test
        self.tokens = keeper(self.engine, self.keyring, self.http)

    @property
    def pushing(self) -> Pushing:
        """Our side of pushes, as if platforms reached us under a name."""
        return Pushing(self.keyring, "https://distill.example.com")

    def now(self) -> datetime:
        """The instant of this world."""
        return datetime.now(UTC) + self.ahead

    def open_credentials(self, row: Row[Any]) -> Mapping[str, Any]:
        """What a connection's row seals."""
        return self.tokens.vault.open_credentials(row)

    @property
    def source(self) -> ScriptedSource:
        """The only, or the first, source."""
        return next(iter(self.sources.values()))

    def add_source(self, name: str, parts: tuple[str, ...] = ("a",)) -> ScriptedSource:
        """One more source."""
        self.sources[name] = ScriptedSource(name, parts)
        return self.sources[name]

    def parts(self, engine: AsyncEngine | None = None) -> Parts:
        """What a worker stands on."""
        return Parts(
            engine=engine or self.engine,
            queue=self.queue,
            sources=Registry(self.sources),
            policy=self.policy,
            tokens=self.tokens,
            summariser=OfflineSummariser(),
            http=HttpClient(allow_private_addresses=False),
            pushing=self.pushing,
            seeker=self.seeker,
        )

    def collector(self, engine: AsyncEngine | None = None) -> Collector:
        """A worker, wired as in production."""
        return replace(app.build_collector(self.parts(engine)), now=self.now)

    async def connect(
        self,
        user: str = USER,
        source: str | None = None,
        settings: Mapping[str, Any] | None = None,
        credentials: Mapping[str, Any] | None = None,
    ) -> None:
        """What PUT /connections/{source} does."""
        await connecting.connect(
            self.engine,
            user,
            source=self.sources[source or self.source.info.name],
            credentials=credentials,
            settings=settings,
            tokens=self.tokens,
            now=self.now,
            pushing=self.pushing,
        )

    async def watch(self, user: str = USER, *, connects: bool = True, **options: Any) -> UUID:
        """What POST /watch does, after connecting every source; returns the first run."""
        for name in self.sources if connects else ():
            await self.connect(user, name)
        await self.change_watch(user, **options)
        async with self.engine.connect() as connection:
            active = await runs.get_active(connection, user)
        assert active is not None
        return UUID(str(active.id))

    async def change_watch(self, user: str = USER, **options: Any) -> None:
        """What POST /watch does alone."""
        async with self.engine.begin() as connection:
            await watching.watch(
                connection,
                self.queue,
                caller(user),
                sources=tuple(self.sources),
                **{
                    "backfill_days": None,
                    "default_backfill_days": 7,
                    "sync_frequency": None,
                    **options,
                },
                policy=self.policy,
                now=self.now(),
            )

    async def unwatch(self, user: str = USER) -> None:
        """What POST /unwatch does."""
        async with self.engine.begin() as connection:
            await watching.unwatch(connection, user, policy=self.policy, now=self.now())

    async def request(self, user: str = USER, *, force: bool = True) -> UUID:
        """What POST /sync does; returns the run."""
        async with self.engine.begin() as connection:
            queued = await syncing.request_sync(
                connection,
                self.queue,
                caller(user),
                sources=tuple(self.sources),
                types=(),
                force=force,
                policy=self.policy,
                now=self.now(),
            )
        return queued.run_id

    async def queue_run(self, user: str = USER, trigger: str = "schedule", **options: Any) -> UUID:
        """One more run."""
        run_id = uuid.uuid4()
        async with self.engine.begin() as connection:
            await syncing.enqueue(
                connection, self.queue, user, run_id, trigger=trigger, now=self.now(), **options
            )
        return run_id

    async def sync(
        self,
        run_id: UUID | None = None,
        user: str = USER,
        trigger: str = "schedule",
        **options: Any,
    ) -> Row[Any]:
        """Runs a sync to its end and returns the run; made here, a scheduled one is a regular one."""
        if run_id is None and trigger == "schedule":
            await self._let_an_interval_pass(user)
        run_id = run_id or await self.queue_run(user, trigger, **options)
        await self.collector().run(user, str(run_id))
        return await self.run(run_id, user)

    async def _let_an_interval_pass(self, user: str) -> None:
        """Parts that the next regular sync would read may be read now."""
        due = ConnectionPart.next_attempt_at <= self.now() + self.policy.sync_frequency
        async with self.engine.begin() as connection:
            await connection.execute(
                update(ConnectionPart)
                .where(ConnectionPart.user_id == user, due, ConnectionPart.failures == 0)
                .values(next_attempt_at=None)
            )

    async def run(self, run_id: UUID, user: str = USER) -> Row[Any]:
        """A run as it is now."""
        async with self.engine.connect() as connection:
            found = await runs.get_run(connection, user, run_id)
        assert found is not None
        return found

    async def report(self, run_id: UUID, user: str = USER) -> dict[str, Row[Any]]:
        """How each source of a run went."""
        async with self.engine.connect() as connection:
            return {row.source: row for row in await runs.list_sources(connection, user, run_id)}

    async def connection(self, source: str | None = None, user: str = USER) -> Row[Any]:
        """A connection as it is now."""
        async with self.engine.connect() as connection:
            name = source or self.source.info.name
            found = await connections.get_connection(connection, user, name)
        assert found is not None
        return found

    async def part(self, part: str, source: str | None = None, user: str = USER) -> Row[Any]:
        """A part as it is now."""
        async with self.engine.connect() as connection:
            rows = await connections.list_parts(connection, user, source or self.source.info.name)
        return next(row for row in rows if row.part == part)

    async def watched(self, user: str = USER) -> Row[Any]:
        """A watch as it is now."""
        async with self.engine.connect() as connection:
            found = await watches.get_watch(connection, user)
        assert found is not None
        return found

    async def stored(self, user: str = USER) -> list[str]:
        """Platform ids of everything that is stored for a user, in order."""
        return [
            row.platform_id
            for row in await self.ask(
                "SELECT platform_id FROM items WHERE user_id = :user ORDER BY platform_id",
                user=user,
            )
        ]

    async def ask(self, sql: str, **values: Any) -> Sequence[Row[Any]]:
        """Rows of a query."""
        async with self.engine.connect() as connection:
            return (await connection.execute(text(sql), values)).all()

    async def tell(self, sql: str, **values: Any) -> None:
        """Changes what only time or an accident would change."""
        async with self.engine.begin() as connection:
            await connection.execute(text(sql), values)

    async def jobs(self) -> list[str]:
        """The runs that lie in the queue."""
        rows = await self.ask("SELECT args->>'run_id' AS run FROM procrastinate_jobs ORDER BY id")
        return [row.run for row in rows]

    async def end_lease(self) -> None:
        """What the time does to the lease of a worker that says nothing."""
        await self.tell("UPDATE sync_runs SET lease_until = now() - interval '1 second'")

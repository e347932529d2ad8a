"""One source's part of a sync run: what to read, page by page, and what to remember of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from prometheus_client import Counter
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc.db.engine import is_timeout, is_unavailable
from distill_grpc.errors import DistillError
from distill_grpc.feed import ingesting, outcomes
from distill_grpc.feed.outcomes import Verdict
from distill_grpc.feed.policy import Policy
from distill_grpc.feed.pushed_parts import PushedParts
from distill_grpc.feed.read_plan import ReadPlan
from distill_grpc.feed.store import connections, items, pushes, runs
from distill_grpc.feed.tokens import TokenKeeper, for_source
from distill_grpc.sources.base import (
    FetchRequest,
    NoPlatformAuth,
    Page,
    PlatformError,
    Source,
    SourceFailure,
    TokenExpired,
)

log = structlog.get_logger()

ITEMS = Counter("distill_items_total", "Items stored, by source and kind.", ["source", "kind"])
FAILURES = Counter(
    "distill_source_failures_total", "Reads that failed, by source and code.", ["source", "code"]
)


class LeaseLost(Exception):  # noqa: N818 -- an event, not a fault
    """The run is in other hands, or over: nothing more may be written."""


class ConnectionChanged(Exception):  # noqa: N818 -- an event, not a fault
    """The user changed or removed the connection while it was read."""


@dataclass(slots=True, kw_only=True)
class SourceRun:
    """Reads one connection for one run."""

    engine: AsyncEngine
    source: Source
    policy: Policy
    run: Row[Any]
    watch: Row[Any]
    connection: Row[Any]
    tokens: TokenKeeper
    now: Callable[[], datetime]
    pushed: PushedParts
    _parts: dict[str, Row[Any]] = field(default_factory=dict)
    _skipped: frozenset[str] = frozenset()
    _done: set[str] = field(default_factory=set)
    _failed: dict[str, SourceFailure] = field(default_factory=dict)
    _waiting: set[str] = field(default_factory=set)  # parts of those done that could not be asked
    _had_news: set[str] = field(default_factory=set)
    _can_renew: bool = True  # a token that has expired is renewed once in a run

    async def read(self) -> Verdict:
        """Reads everything that is due; raises `LeaseLost` or `ConnectionChanged`."""
        now = self.now()
        waiting = self._plan.waiting(now)
        if waiting is not None:
            status = "failed" if waiting.permanent else "skipped"
            await self._report(status, waiting)
            return Verdict(status, waiting)
        await self._load_parts()
        try:
            credentials = await self.tokens.current(self.source.info, self.connection)
            request = self._request(credentials, now)
            named = self.source.parts(self.connection.settings) or tuple(self._parts)
        except Exception as error:
            if is_unavailable(error) or is_timeout(error):
                raise  # the database's fault, not the source's
            return await self._conclude(self._meaning(error))
        self._skipped = request.skip
        due = [part for part in named if part not in request.skip]
        self._remember_earlier_attempts(named)
        await self._report("running", None, parts_total=len(due) + len(self._done))
        if due or not named:
            return await self._conclude(await self._walk_with_fresh_token(request))
        if self._done:
            return await self._conclude(None)
        # Nothing is due: how the account did last time stands.
        await self._report("completed", None)
        return Verdict("completed")

    def _remember_earlier_attempts(self, named: tuple[str, ...]) -> None:
        for part in self._plan.read_before().intersection(named):
            self._done.add(part)
            if self._parts[part].failures:
                self._failed[part] = outcomes.last_failure(self._parts[part])

    async def _walk_with_fresh_token(self, request: FetchRequest) -> SourceFailure | None:
        """Walks; where the token has expired, goes on once with another, from the stored cursors."""
        failure = await self._walk(request)
        if not isinstance(failure, TokenExpired):
            return failure
        self._can_renew = False
        try:
            renewed = await self.tokens.renewed(
                self.source.info, self.connection, request.credentials
            )
        except Exception as error:
            if is_unavailable(error) or is_timeout(error):
                raise
            return self._meaning(error)
        if renewed is None:
            return failure
        await self._load_parts()
        return await self._walk(self._request(renewed, self.now()))

    async def _walk(self, request: FetchRequest) -> SourceFailure | None:
        """Goes through the pages; returns the failure of the account as a whole, if any."""
        limit = self.policy.source_deadline.total_seconds()
        try:
            async with asyncio.timeout(limit), _closing(self.source.fetch(request)) as pages:
                async for page in pages:
                    if isinstance(page.failure, TokenExpired) and self._can_renew:
                        return page.failure
                    await self._commit(page)
        except (LeaseLost, ConnectionChanged):
            raise
        except Exception as error:
            if is_unavailable(error) or is_timeout(error):
                raise  # the database's fault, not the source's
            return self._meaning(error)
        return None

    def _meaning(self, error: Exception) -> SourceFailure:
        """The failure that an exception stands for; a fault in a source must not stop the others."""
        if isinstance(error, SourceFailure):
            return error
        if isinstance(error, TimeoutError):
            return PlatformError(
                "Reading took too long; the rest follows next time.", reason="slow"
            )
        if isinstance(error, DistillError):  # no key opens the credentials
            return NoPlatformAuth(error.message)
        log.error("source_broke", source=self._name, exc_info=error)
        return PlatformError("The answer could not be understood.", reason="internal")

    async def _commit(self, page: Page) -> None:
        """Stores a page, its cursor and the part's state in one transaction."""
        now = self.now()
        rows = ingesting.rows(
            self._name, page.items, since=self._plan.floor(page.part, now), now=now
        )
        async with self.engine.begin() as connection:
            await self._prove_ours(connection)
            # Taken under the lock, so that a user's items change in the order of their instants.
            now = self.now()
            counts = await items.upsert_items(connection, self._user_id, self._name, rows, now)
            gone = ingesting.item_ids(self._name, page.deleted) - {row["id"] for row in rows}
            deleted = await items.delete_items(connection, self._user_id, gone)
            if counts.new or counts.updated or deleted:
                self._had_news.add(page.part)
            await self._store_part(connection, page, now, new=counts.new)
            finished = page.last or page.failure is not None
            first = finished and page.part not in self._done
            await runs.add_progress(
                connection,
                self._user_id,
                self.run.id,
                self._name,
                items_new=counts.new,
                items_updated=counts.updated,
                items_deleted=deleted,
                parts_done=int(first),
                parts_failed=int(first and page.failure is not None),
            )
        if finished:
            self._done.add(page.part)
        if page.ended:
            self._parts.pop(page.part, None)
        if page.waiting > 0:
            self._waiting.add(page.part)
        if page.failure is not None:
            self._failed[page.part] = page.failure
            FAILURES.labels(self._name, page.failure.code).inc()
        ITEMS.labels(self._name, "new").inc(counts.new)
        ITEMS.labels(self._name, "updated").inc(counts.updated)
        ITEMS.labels(self._name, "deleted").inc(deleted)

    async def _store_part(
        self, connection: AsyncConnection, page: Page, now: datetime, *, new: int
    ) -> None:
        """What is remembered of the page's part; nothing where the part has ended."""
        if page.ended:
            await connections.delete_part(connection, self._user_id, self._name, page.part)
            await pushes.leave_orphans(connection, self._user_id, self._name, now)
            return
        known = self._parts.get(page.part)
        missed = self.pushed.has_missed(page, known, new=new, now=now)
        state = outcomes.part_state(
            page,
            known,
            had_news=page.part in self._had_news,
            interval=self._interval,
            pushed=not missed and self.pushed.relied_on(page.part, now),
            now=now,
            jitter=_jitter(),
        )
        await connections.upsert_part(connection, self._user_id, self._name, page.part, **state)
        await self.pushed.learn(connection, page, missed=missed, now=now)

    async def _conclude(self, failure: SourceFailure | None) -> Verdict:
        """Writes down how the account as a whole did."""
        now = self.now()
        asked = self._done - self._waiting
        good = asked - self._failed.keys()
        verdict = outcomes.verdict(failure, list(self._failed.values()), some_good=bool(good))
        whole: dict[str, Any] = {"next_attempt_at": None, "retry_at": None}
        if failure is not None:
            # A read that brought something is not one more failure in a row.
            before = 0 if self._had_news else self.connection.failures
            whole = outcomes.failed_state(
                failure, before, interval=self._interval, now=now, jitter=_jitter()
            )
        elif verdict.failure is not None:
            whole |= {
                "error_code": verdict.failure.code,
                "error_message": self._told(verdict.failure),
                "failures": self.connection.failures + 1,
            }
        elif self._waiting and not asked:
            whole = {}  # nobody was asked: how the account did last time stands
        elif not any(row.failures for name, row in self._parts.items() if name not in asked):
            # No failing part was left alone this time: all of the account does well.
            whole |= {"error_code": None, "error_message": None, "failures": 0, "permanent": False}
            whole["last_success_at"] = now
        async with self.engine.begin() as connection:
            await self._prove_ours(connection)
            if whole:
                await connections.update_connection(connection, self._user_id, self._name, **whole)
            if failure is not None and failure.retry_at is not None:
                # What this run would have read is read when it may go on.
                left = self._parts.keys() - self._done - self._skipped
                await connections.end_pauses(connection, self._user_id, self._name, left)
            await self.pushed.read_until(connection, self.run.started_at, self._read(failure))
            await self._store_report(connection, verdict.status, verdict.failure)
        return verdict

    def _read(self, failure: SourceFailure | None) -> list[str]:
        """The known parts that were pushed and need no more reading for it.

        A source need not yield a page for every part that it looked at.
        """
        looked_at = self._done if failure is not None else self._parts.keys() - self._skipped
        return [
            name
            for name, row in self._parts.items()
            if row.pushed_at is not None
            and name not in self._waiting
            and (name in looked_at or name in self._done)
        ]

    def _told(self, failure: SourceFailure) -> str:
        return outcomes.told(failure, self._failed, len(self._parts.keys() | self._done))

    async def _load_parts(self) -> None:
        async with self.engine.connect() as connection:
            rows = await connections.list_parts(connection, self._user_id, self._name)
            await self.pushed.load(connection)
        self._parts = {row.part: row for row in rows}

    async def _report(self, status: str, failure: SourceFailure | None, **counts: int) -> None:
        async with self.engine.begin() as connection:
            await self._prove_ours(connection)
            await self._store_report(connection, status, failure, **counts)

    async def _store_report(
        self, connection: AsyncConnection, status: str, failure: SourceFailure | None, **counts: int
    ) -> None:
        await runs.upsert_source(
            connection,
            self._user_id,
            self.run.id,
            self._name,
            status=status,
            error_code=failure.code if failure else None,
            error_message=self._told(failure) if failure else None,
            retry_at=failure.retry_at if failure else None,
            **counts,
        )

    async def _prove_ours(self, connection: AsyncConnection) -> None:
        if not await runs.lock_held_run(connection, self._user_id, self.run.id, self.run.attempt):
            raise LeaseLost
        if not await runs.lock_revision(
            connection, self._user_id, self._name, self.connection.revision
        ):
            raise ConnectionChanged

    @property
    def _plan(self) -> ReadPlan:
        return ReadPlan(
            policy=self.policy,
            run=self.run,
            watch=self.watch,
            connection=self.connection,
            parts=self._parts,
        )

    def _request(self, credentials: Mapping[str, Any], now: datetime) -> FetchRequest:
        own = for_source(self.source.info, credentials)
        return self._plan.request(own, done=self._done, now=now)

    @property
    def _user_id(self) -> str:
        return str(self.run.user_id)

    @property
    def _name(self) -> str:
        return str(self.connection.source)

    @property
    def _interval(self) -> timedelta:
        return timedelta(seconds=self.watch.sync_interval)


@contextlib.asynccontextmanager
async def _closing(pages: AsyncIterator[Page]) -> AsyncIterator[AsyncIterator[Page]]:
    try:
        yield pages
    finally:
        close = getattr(pages, "aclose", None)
        if close is not None:
            await close()


def _jitter() -> float:
    return random.uniform(-1, 1)

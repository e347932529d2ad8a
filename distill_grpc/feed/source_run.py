"""One source's part of a sync run: what to read, page by page, and what to remember of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from prometheus_client import Counter
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from distill_grpc.db.engine import is_timeout, is_unavailable
from distill_grpc.errors import DistillError
from distill_grpc.feed import ingesting, scheduling
from distill_grpc.feed.policy import Policy
from distill_grpc.feed.store import connections, items, runs
from distill_grpc.sources.base import (
    FetchRequest,
    NoPlatformAuth,
    Page,
    PlatformError,
    RateLimited,
    Source,
    SourceFailure,
    TokenExpired,
)

log = structlog.get_logger()

ITEMS = Counter("distill_items_total", "Items stored, by source and kind.", ["source", "kind"])
FAILURES = Counter(
    "distill_source_failures_total", "Reads that failed, by source and code.", ["source", "code"]
)

# A quiet blog is not an empty one: what its first read shows where nothing is young enough.
QUIET_PART_SHOWS = 50


class LeaseLost(Exception):  # noqa: N818 -- an event, not a fault
    """The run is in other hands, or over: nothing more may be written."""


class ConnectionChanged(Exception):  # noqa: N818 -- an event, not a fault
    """The user changed or removed the connection while it was read."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one source ended: `completed`, `partial`, `failed` or `skipped`."""

    status: str
    failure: SourceFailure | None = None
    changed: bool = False


@dataclass(slots=True, kw_only=True)
class SourceRun:
    """Reads one connection for one run."""

    engine: AsyncEngine
    source: Source
    policy: Policy
    run: Row[Any]
    watch: Row[Any]
    connection: Row[Any]
    open_credentials: Callable[[Row[Any]], Mapping[str, Any]]
    now: Callable[[], datetime]
    _parts: dict[str, Row[Any]] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)
    _failed: dict[str, SourceFailure] = field(default_factory=dict)
    _had_news: set[str] = field(default_factory=set)

    async def read(self) -> Verdict:
        """Reads everything that is due; raises `LeaseLost` or `ConnectionChanged`."""
        now = self.now()
        waiting = self._waiting(now)
        if waiting is not None:
            status = "failed" if waiting.permanent else "skipped"
            await self._report(status, waiting)
            return Verdict(status, waiting)
        async with self.engine.connect() as connection:
            rows = await connections.list_parts(connection, self._user_id, self._name)
        self._parts = {row.part: row for row in rows}
        try:
            request = self._request(now)
            named = self.source.parts(self.connection.settings) or tuple(self._parts)
        except Exception as error:
            return await self._conclude(self._meaning(error))
        due = [part for part in named if part not in request.skip]
        self._remember_earlier_attempts(named)
        await self._report("running", None, parts_total=len(due) + len(self._done))
        if due or not named:
            return await self._conclude(await self._walk(request))
        if self._done:
            return await self._conclude(None)
        # Nothing is due: how the account did last time stands.
        await self._report("completed", None)
        return Verdict("completed")

    def _remember_earlier_attempts(self, named: tuple[str, ...]) -> None:
        for part in self._read_in_this_run().intersection(named):
            self._done.add(part)
            if self._parts[part].failures:
                self._failed[part] = _last_failure(self._parts[part])

    async def _walk(self, request: FetchRequest) -> SourceFailure | None:
        """Goes through the pages; returns the failure of the account as a whole, if any."""
        limit = self.policy.source_deadline.total_seconds()
        try:
            async with asyncio.timeout(limit), _closing(self.source.fetch(request)) as pages:
                async for page in pages:
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
        rows = ingesting.rows(self._name, page.items, since=self._floor(page.part, now), now=now)
        async with self.engine.begin() as connection:
            await self._prove_ours(connection)
            # Taken under the lock, so that a user's items change in the order of their instants.
            now = self.now()
            counts = await items.upsert_items(connection, self._user_id, self._name, rows, now)
            if counts.new or counts.updated:
                self._had_news.add(page.part)
            await connections.upsert_part(
                connection, self._user_id, self._name, page.part, **self._part_state(page, now)
            )
            finished = page.last or page.failure is not None
            first = finished and page.part not in self._done
            await runs.add_progress(
                connection,
                self._user_id,
                self.run.id,
                self._name,
                items_new=counts.new,
                items_updated=counts.updated,
                parts_done=int(first),
                parts_failed=int(first and page.failure is not None),
            )
        if finished:
            self._done.add(page.part)
        if page.failure is not None:
            self._failed[page.part] = page.failure
            FAILURES.labels(self._name, page.failure.code).inc()
        ITEMS.labels(self._name, "new").inc(counts.new)
        ITEMS.labels(self._name, "updated").inc(counts.updated)

    def _part_state(self, page: Page, now: datetime) -> dict[str, Any]:
        known = self._parts.get(page.part)
        state: dict[str, Any] = {"first_seen_at": now}
        if page.last or page.failure is not None:
            state["last_attempt_at"] = now
        if page.cursor is not None:
            state["cursor"] = page.cursor
        if page.title is not None:
            state["title"] = ingesting.plain(page.title, 500)
        if page.url is not None:
            state["url"] = page.url if page.url != page.part else None
        if page.failure is not None:
            return state | self._failed_state(page.failure, known.failures if known else 0, now)
        if not page.last:
            return state
        quiet = 0 if page.part in self._had_news or known is None else known.quiet_reads + 1
        return state | {
            "last_success_at": now,
            "error_code": None,
            "error_message": None,
            "permanent": False,
            "failures": 0,
            "quiet_reads": quiet,
            "retry_at": None,
            "next_attempt_at": scheduling.next_after_success(
                self._interval,
                quiet_reads=quiet,
                min_interval=timedelta(seconds=page.min_interval),
                now=now,
            ),
        }

    def _failed_state(self, failure: SourceFailure, before: int, now: datetime) -> dict[str, Any]:
        failures = before + 1
        return {
            "error_code": failure.code,
            "error_message": ingesting.plain(failure.message, 500),
            "permanent": failure.permanent,
            "failures": failures,
            "retry_at": failure.retry_at,
            "next_attempt_at": scheduling.next_after_failure(
                self._interval, failures=failures, now=now, jitter=random.uniform(-1, 1)
            ),
        }

    async def _conclude(self, failure: SourceFailure | None) -> Verdict:
        """Writes down how the account as a whole did."""
        now = self.now()
        good = self._done - self._failed.keys()
        verdict = _verdict(failure, list(self._failed.values()), some_good=bool(good))
        whole: dict[str, Any] = {"next_attempt_at": None, "retry_at": None}
        if failure is not None:
            # A read that brought something is not one more failure in a row.
            before = 0 if self._had_news else self.connection.failures
            whole = self._failed_state(failure, before, now)
        elif verdict.failure is not None:
            whole |= {
                "error_code": verdict.failure.code,
                "error_message": self._told(verdict.failure),
                "failures": self.connection.failures + 1,
            }
        elif not any(row.failures for name, row in self._parts.items() if name not in self._done):
            # No failing part was left alone this time: all of the account does well.
            whole |= {"error_code": None, "error_message": None, "failures": 0, "permanent": False}
            whole["last_success_at"] = now
        async with self.engine.begin() as connection:
            await self._prove_ours(connection)
            await connections.update_connection(connection, self._user_id, self._name, **whole)
            await self._store_report(connection, verdict.status, verdict.failure)
        return verdict

    def _told(self, failure: SourceFailure) -> str:
        """A failure in words; one of several parts is named, with how many fail like it."""
        message = failure.message
        parts = len(self._parts.keys() | self._done)
        if parts > 1:
            for part, failed in self._failed.items():
                if failed is failure:
                    message = (
                        f"{len(self._failed)} of {parts} parts failed, such as {part}: {message}"
                    )
        return ingesting.plain(message, 500)

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

    def _request(self, now: datetime) -> FetchRequest:
        times = {
            name: scheduling.PartTimes(
                row.last_attempt_at, row.next_attempt_at, row.retry_at, row.permanent
            )
            for name, row in self._parts.items()
        }
        skip = scheduling.parts_to_skip(
            times,
            trigger=self.run.trigger,
            force=self.run.force,
            min_interval=self.policy.sync_min_interval,
            now=now,
        )
        return FetchRequest(
            credentials=self.open_credentials(self.connection),
            settings=self.connection.settings,
            cursors={
                name: row.cursor for name, row in self._parts.items() if row.cursor is not None
            },
            since={name: self._since(row, now) for name, row in self._parts.items()},
            default_since=self._since(None, now),
            skip=skip | self._read_in_this_run(),
            now=now,
            quiet_part_shows=QUIET_PART_SHOWS,
            user=self.connection.user_id,
        )

    def _read_in_this_run(self) -> frozenset[str]:
        """Parts that an earlier attempt of this run, whose worker died, has read to their end."""
        if self.run.attempt == 1:
            return frozenset()
        return frozenset(
            name
            for name, row in self._parts.items()
            if row.last_attempt_at is not None and row.last_attempt_at >= self.run.started_at
        )

    def _floor(self, part: str, now: datetime) -> datetime:
        """Items before this are not stored. What the first read of a part brings is up to its source."""
        known = self._parts.get(part)
        if known is None or known.last_success_at is None:
            return datetime.min.replace(tzinfo=UTC)
        return self._since(known, now)

    def _since(self, part: Row[Any] | None, now: datetime) -> datetime:
        return scheduling.window_start(
            last_success_at=part.last_success_at if part is not None else None,
            backfill=timedelta(days=self.watch.backfill_days),
            retention=self.policy.raw_retention,
            now=now,
        )

    def _waiting(self, now: datetime) -> SourceFailure | None:
        """Why the account must not be asked at all now, or None."""
        row = self.connection
        window = row.retry_at is not None and row.retry_at > now
        pause = row.next_attempt_at is not None and row.next_attempt_at > now
        if row.permanent or window or (pause and self.run.trigger == "schedule"):
            return _last_failure(row)
        return None

    @property
    def _user_id(self) -> str:
        return str(self.run.user_id)

    @property
    def _name(self) -> str:
        return str(self.connection.source)

    @property
    def _interval(self) -> timedelta:
        return timedelta(seconds=self.watch.sync_interval)


_KINDS = {kind.code: kind for kind in (NoPlatformAuth, TokenExpired, RateLimited, PlatformError)}


def _last_failure(row: Row[Any]) -> SourceFailure:
    """The failure that a connection or a part was left with."""
    kind = _KINDS.get(row.error_code, RateLimited if row.retry_at else PlatformError)
    message = row.error_message or "The platform asked to wait."
    return kind(message, permanent=row.permanent, retry_at=row.retry_at)


@contextlib.asynccontextmanager
async def _closing(pages: AsyncIterator[Page]) -> AsyncIterator[AsyncIterator[Page]]:
    try:
        yield pages
    finally:
        close = getattr(pages, "aclose", None)
        if close is not None:
            await close()


def _verdict(
    failure: SourceFailure | None, failed_parts: list[SourceFailure], *, some_good: bool
) -> Verdict:
    if failure is not None:
        status = "skipped" if isinstance(failure, RateLimited) else "failed"
        return Verdict("partial" if some_good else status, failure)
    if not failed_parts:
        return Verdict("completed")
    # What only the user can mend is told first.
    worst = max(failed_parts, key=lambda failed: failed.permanent)
    return Verdict("partial" if some_good else "failed", worst)

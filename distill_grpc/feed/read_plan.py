"""What a run reads of one account: which parts, from where on, and back to when. Decides only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row

from distill_grpc.feed import outcomes, scheduling
from distill_grpc.feed.policy import Policy
from distill_grpc.sources.base import FetchRequest, SourceFailure

# A quiet blog is not an empty one: what its first read shows where nothing is young enough.
QUIET_PART_SHOWS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPlan:
    """The rows that decide: of the run, the watch, the connection, and its parts by name."""

    policy: Policy
    run: Row[Any]
    watch: Row[Any]
    connection: Row[Any]
    parts: Mapping[str, Row[Any]]

    def waiting(self, now: datetime) -> SourceFailure | None:
        """Why the account must not be asked at all now, or None."""
        row = self.connection
        window = row.retry_at is not None and row.retry_at > now
        pause = row.next_attempt_at is not None and row.next_attempt_at > now
        if row.permanent or window or (pause and self.run.trigger == "schedule"):
            return outcomes.last_failure(row)
        return None

    def request(
        self, credentials: Mapping[str, Any], *, done: Collection[str], now: datetime
    ) -> FetchRequest:
        """What the source is asked for; parts that are `done` are left alone."""
        times = {
            name: scheduling.PartTimes(
                row.last_attempt_at,
                row.next_attempt_at,
                row.retry_at,
                row.permanent,
                pushed=row.pushed_at is not None,
            )
            for name, row in self.parts.items()
        }
        skip = scheduling.parts_to_skip(
            times,
            trigger=self.run.trigger,
            force=self.run.force,
            min_interval=self.policy.sync_min_interval,
            now=now,
        )
        return FetchRequest(
            credentials=credentials,
            settings=self.connection.settings,
            cursors={
                name: row.cursor for name, row in self.parts.items() if row.cursor is not None
            },
            since={name: self._since(row, now) for name, row in self.parts.items()},
            default_since=self._since(None, now),
            skip=skip.union(self.read_before(), done),
            now=now,
            quiet_part_shows=QUIET_PART_SHOWS,
            user=self.run.user_id,
            account=self.connection.account or "",
        )

    def read_before(self) -> frozenset[str]:
        """Parts that an earlier attempt of this run, whose worker died, has read to their end."""
        if self.run.attempt == 1:
            return frozenset()
        return frozenset(
            name
            for name, row in self.parts.items()
            if row.last_attempt_at is not None and row.last_attempt_at >= self.run.started_at
        )

    def floor(self, part: str, now: datetime) -> datetime:
        """Items before this are not stored. What the first read of a part brings is up to its source."""
        known = self.parts.get(part)
        if known is None or known.last_success_at is None:
            return datetime.min.replace(tzinfo=UTC)
        return self._since(known, now)

    def _since(self, part: Row[Any] | None, now: datetime) -> datetime:
        return scheduling.window_start(
            first_seen_at=part.first_seen_at if part is not None else now,
            last_success_at=part.last_success_at if part is not None else None,
            backfill=timedelta(days=self.watch.backfill_days),
            retention=self.policy.raw_retention,
            now=now,
        )

"""The invariants of the sync engine, asked of the database and of the platform's ledger.

Named as in the reference on reliability. `sample` holds at every instant, in the middle of anything;
`audit` holds at rest, after everybody had a sync once more.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.chaos.platform import AGENT, Platform

# Requests that a worker may have in flight to one host.
AT_ONCE = 2


@dataclass
class Finding:
    """What an audit counted. Everything but `items` and `samples` must be zero or empty."""

    items: int = 0
    samples: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    overlaps: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    def faults(self) -> dict[str, list[str]]:
        """Everything that must not be there."""
        named = {k: v for k, v in vars(self).items() if isinstance(v, list)}
        return {name: found for name, found in named.items() if found}


class Auditor:
    """Audits one database against one platform."""

    def __init__(self, engine: AsyncEngine, platform: Platform) -> None:
        self._engine = engine
        self._platform = platform
        self.finding = Finding()
        # Users who left, and how many items they had when they were told so.
        self.left: dict[str, int] = {}
        # Processes that were frozen: what they still read when they wake is not an overlap.
        self.frozen: set[int] = set()

    @asynccontextmanager
    async def watching(self, every: float = 0.05) -> Any:
        """Samples while the block runs; a database that is away is none of our business."""
        stop = asyncio.Event()

        async def watch() -> None:
            while not stop.is_set():
                try:
                    await self.sample()
                except Exception as error:
                    if "sqlalchemy" not in type(error).__module__:
                        raise
                await asyncio.sleep(every)

        task = asyncio.create_task(watch())
        try:
            yield
        finally:
            stop.set()
            await task

    async def sample(self) -> None:
        """I3: whatever a cursor says was read is stored, in at least that version. I2, I5, I9."""
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            stored = await self._stored(connection)
            parts = await connection.execute(
                text("SELECT user_id, part, cursor->>'body_hash' AS hash FROM connection_parts")
            )
            for user, part, body_hash in parts:
                document = self._platform.documents.get(body_hash or "")
                if document is None:
                    if body_hash:
                        self.finding.other.append(f"{part}: the cursor names an unknown document")
                    continue
                for native, version in document.versions.items():
                    have = stored[user].get(native)
                    if have is None or have < version:
                        self.finding.gaps.append(
                            f"{native} v{version}: cursor passed it, have {have}"
                        )
            active = await connection.execute(
                text(
                    "SELECT user_id FROM sync_runs WHERE status IN ('queued', 'running')"
                    " GROUP BY user_id HAVING count(*) > 1"
                )
            )
            self.finding.overlaps += [f"{user}: two active runs" for (user,) in active]
        self.finding.samples += 1

    async def audit(self, *, since: float = 0.0) -> Finding:
        """Everything, at rest."""
        await self.sample()
        async with self._engine.connect() as connection:
            stored = await self._stored(connection)
            self._compare(stored)
            await self._count_news(connection)
            await self._look_for_stuck(connection)
            await self._look_for_overlaps(connection)
        self._read_ledger(since)
        self.finding.items = sum(len(items) for items in stored.values())
        return self.finding

    async def _stored(self, connection: AsyncConnection) -> dict[str, dict[str, int]]:
        """Versions by native id, by user; what should not be there is noted on the way. I2, I9."""
        rows = await connection.exec_driver_sql(
            "SELECT user_id, split_part(platform_id, ':', 2),"
            " coalesce(substring(content FROM 'in version v([0-9]+)')::int, 0),"
            " strpos(content, 'T-' || user_id || '-') > 0 FROM items"
        )
        stored: dict[str, dict[str, int]] = defaultdict(dict)
        for user, native, version, is_own in rows:
            if native in stored[user]:
                self.finding.doubled.append(f"{native} stands there twice")
            if not is_own or not native.startswith(f"T-{user}-"):
                self.finding.leaks.append(f"{native} belongs to {user}?")
            stored[user][native] = version
        return stored

    def _compare(self, stored: dict[str, dict[str, int]]) -> None:
        """I1: everything that exists is stored, as it is now; I2: nothing that never existed is."""
        known: dict[str, set[str]] = defaultdict(set)
        for feed in self._platform.feeds.values():
            known[feed.owner] |= feed.entries.keys() | feed.deleted
            if feed.owner in self.left:
                continue
            for entry in feed.entries.values():
                have = stored[feed.owner].get(entry.id)
                if have is None:
                    self.finding.lost.append(f"{entry.id} ({feed.path})")
                elif have != entry.version:
                    self.finding.stale.append(f"{entry.id} is at v{entry.version}, have v{have}")
        for user, items in stored.items():
            self.finding.doubled += [
                f"{native} is unknown" for native in items.keys() - known[user]
            ]
        for user, count in self.left.items():
            if len(stored[user]) != count:
                self.finding.other.append(
                    f"{user} left with {count} items, has {len(stored[user])}"
                )

    async def _count_news(self, connection: AsyncConnection) -> None:
        """I2: each item was counted as new by exactly one run."""
        rows = await connection.execute(
            text(
                "SELECT u.user_id, u.items, coalesce(r.news, 0) FROM"
                " (SELECT user_id, count(*) AS items FROM items GROUP BY 1) AS u LEFT JOIN"
                " (SELECT user_id, sum(items_new) AS news FROM sync_run_sources GROUP BY 1) AS r"
                " USING (user_id)"
            )
        )
        self.finding.doubled += [
            f"{user}: {items} items, {news} counted as new"
            for user, items, news in rows
            if items != news
        ]

    async def _look_for_stuck(self, connection: AsyncConnection) -> None:
        """I4: no run and no job that nobody works on."""
        for what, question in _STUCK.items():
            rows = (await connection.execute(text(question))).all()
            self.finding.stuck += [f"{what}: {tuple(row)}" for row in rows]

    async def _look_for_overlaps(self, connection: AsyncConnection) -> None:
        """I5 in the past: runs of a user one after the other."""
        rows = await connection.execute(
            text(
                "SELECT a.user_id, a.id, b.id FROM sync_runs a JOIN sync_runs b"
                " ON a.user_id = b.user_id AND a.id < b.id AND a.started_at < b.finished_at"
                " AND b.started_at < a.finished_at"
            )
        )
        self.finding.overlaps += [f"{user}: runs {a} and {b} at once" for user, a, b in rows]

    def _read_ledger(self, since: float) -> None:
        """I5 as the platform saw it: no feed is asked by two workers at once. I6: no limit broken."""
        by_feed: dict[str, list[Any]] = defaultdict(list)
        for asked in self._platform.ledger:
            if asked.agent.startswith(AGENT) and asked.begun >= since:
                by_feed[asked.path].append(asked)
        for path, all_asked in by_feed.items():
            for one, two in _pairs(all_asked):
                ended = one.ended or time.monotonic()
                strangers = one.agent != two.agent and not self._was_frozen(one, two)
                if strangers and two.begun < ended:
                    self.finding.overlaps.append(f"{path}: {one.agent} and {two.agent} at once")
        self.finding.limits += self._platform.violations
        by_agent: dict[str, list[Any]] = defaultdict(list)
        for asked in itertools.chain.from_iterable(by_feed.values()):
            by_agent[asked.agent].append(asked)
        for agent, all_asked in by_agent.items():
            if self._at_once(all_asked) > AT_ONCE:
                self.finding.limits.append(f"{agent}: more than {AT_ONCE} requests at once")

    @staticmethod
    def _at_once(all_asked: list[Any]) -> int:
        """Most requests in flight; the last half second of each does not count, as the platform
        may hear late that a reader hung up."""
        moments = []
        for asked in all_asked:
            ended = (asked.ended or time.monotonic()) - 0.5
            if ended > asked.begun:
                moments += [(asked.begun, 1), (ended, -1)]
        return max(itertools.accumulate(change for _, change in sorted(moments)), default=0)

    def _was_frozen(self, *all_asked: Any) -> bool:
        return any(int(asked.agent.removeprefix(AGENT)) in self.frozen for asked in all_asked)


def _pairs(asked: list[Any]) -> Iterator[tuple[Any, Any]]:
    ordered = sorted(asked, key=lambda a: a.begun)
    yield from itertools.pairwise(ordered)


_STUCK = {
    "a run without an owner": "SELECT user_id, status, attempt FROM sync_runs WHERE status = 'running'"
    " AND lease_until < clock_timestamp() - interval '15 seconds'",
    "a run that waits for long": "SELECT user_id FROM sync_runs WHERE status = 'queued'"
    " AND queued_at < clock_timestamp() - interval '60 seconds'",
    "a job of a dead worker": "SELECT j.id FROM procrastinate_jobs j LEFT JOIN procrastinate_workers w"
    " ON w.id = j.worker_id WHERE j.status = 'doing' AND (w.id IS NULL"
    " OR w.last_heartbeat < now() - interval '60 seconds')",
    "a run given up": "SELECT user_id, attempt FROM sync_runs WHERE attempt > 5",
    "a source left running": "SELECT s.user_id, s.source, s.status FROM sync_run_sources s JOIN sync_runs r"
    " ON r.user_id = s.user_id AND r.id = s.run_id WHERE r.finished_at IS NOT NULL"
    " AND s.status IN ('queued', 'running')",
}


def dumped(finding: Finding) -> str:
    """For people: what was found, a few of each."""
    return orjson.dumps(
        {name: found[:5] for name, found in finding.faults().items()}, option=orjson.OPT_INDENT_2
    ).decode()

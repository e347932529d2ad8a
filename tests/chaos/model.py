"""The sync engine against a model of a few lines, by whatever sequence of events hypothesis finds.

The engine runs in this process, on a real database. A crash is an exception that no handler of the
engine knows, at a point that hypothesis chooses; a frozen worker is one whose source waits, while
another takes its run over. Events of one part are numbered, and a cursor is the last number read.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from distill_grpc.db.engine import create_engine
from distill_grpc.feed.store import connections, items, runs, watches
from distill_grpc.jobs.queue import JobQueue
from distill_grpc.sources.base import FetchRequest, Item, Page, PlatformError, RateLimited
from tests.integration.feed.scripted import ScriptedSource, Step
from tests.integration.feed.world import World

PARTS = ("a", "b")
PAGE = 2
# Where a run can break off: a function of the store, before or after it.
POINTS = tuple(
    (owner, name, when)
    for owner, name in (
        (runs, "claim_run"),
        (runs, "lock_held_run"),
        (items, "upsert_items"),
        (connections, "upsert_part"),
        (runs, "add_progress"),
        (runs, "upsert_source"),
        (connections, "update_connection"),
        (runs, "finish_run"),
        (watches, "update_watch"),
    )
    for when in ("before", "after")
)
parts = st.sampled_from(PARTS)


class Crash(BaseException):
    """The end of a worker."""


class SyncMachine(RuleBasedStateMachine):
    """One user with two parts; every example is a user of their own in the same database."""

    database_url: ClassVar[str]
    _users: ClassVar[Iterator[int]] = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.user = f"user_{next(self._users)}"
        # The platform: per part, the numbered events, each an id and its version.
        self.events: dict[str, list[tuple[str, int]]] = {part: [] for part in PARTS}
        self.versions: dict[str, int] = {}
        self.failing: dict[str, str] = {}
        # The engine, as far as it is known from outside.
        self.watching = False
        self.held: UUID | None = None  # a run whose worker died
        self.left_with: dict[str, int] | None = None
        self.ids = itertools.count(1)
        self.gate: asyncio.Event | None = None

    def do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Runs something of the engine."""
        return self.runner.run(coroutine)

    @initialize()
    def begin(self) -> None:
        """A world on the database, with the user in it."""

        async def make() -> World:
            engine = create_engine(self.database_url, pool_size=4)
            source = ScriptedSource(parts=PARTS)
            source.script = self.script
            return World(engine, JobQueue(self.database_url), {"scripted": source})

        self.world = self.do(make())
        self.watch()

    def teardown(self) -> None:
        """At the end, one good sync brings everything."""
        try:
            if hasattr(self, "world"):
                self.failing.clear()
                if not self.watching:
                    self.watch()
                self.let_time_pass()
                self.recover()
                self.sync()
                assert self.stored() == self.versions
                self.do(self.world.engine.dispose())
        finally:
            self.runner.close()

    # The platform.

    def script(self, request: FetchRequest) -> Iterator[Step]:
        """What the source says: pages of what each part has after its cursor."""
        for part in PARTS:
            if part in request.skip:
                continue
            code = self.failing.get(part)
            if code == "limited":
                until = request.now + timedelta(minutes=10)
                yield Page(part=part, failure=RateLimited("later", retry_at=until))
                continue
            yield from self.pages(part, request)
            if code == "broken":
                yield Page(part=part, failure=PlatformError("broken"))

    def pages(self, part: str, request: FetchRequest) -> Iterator[Step]:
        """Pages, the last of them perhaps empty; broken parts never come to their last one."""
        start = request.cursors.get(part, 0)
        while True:
            if self.gate is not None:
                yield self.gate
            some = self.events[part][start : start + PAGE]
            start += len(some)
            last = start >= len(self.events[part])
            broken = self.failing.get(part) == "broken"
            yield Page(
                part=part,
                items=[self.item(id_, version, request) for id_, version in some],
                cursor=start,
                last=last and not broken,
            )
            if last:
                return

    def item(self, id_: str, version: int, request: FetchRequest) -> Item:
        """An item as the platform has it."""
        age = timedelta(hours=int(id_.rsplit("-", 1)[1]) % 50)
        return Item(
            platform_id=id_, published_at=request.now - age, content=f"{id_} v{version}", author="A"
        )

    @rule(part=parts, count=st.integers(1, 5))
    def publish(self, part: str, count: int) -> None:
        """New entries."""
        for _ in range(count):
            id_ = f"{self.user}-{part}-{next(self.ids)}"
            self.versions[id_] = 1
            self.events[part].append((id_, 1))

    @precondition(lambda self: self.versions)
    @rule(data=st.data())
    def edit(self, data: st.DataObject) -> None:
        """A new version of an entry."""
        id_ = data.draw(st.sampled_from(sorted(self.versions)))
        self.versions[id_] += 1
        self.events[id_.rsplit("-", 2)[1]].append((id_, self.versions[id_]))

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """An entry that nobody has read yet disappears; one that was read is history."""
        part = data.draw(parts)
        if self.unread(part):
            id_ = data.draw(st.sampled_from(sorted(self.unread(part))))
            self.events[part] = [event for event in self.events[part] if event[0] != id_]
            del self.versions[id_]

    def unread(self, part: str) -> set[str]:
        """Entries all of whose events lie behind the cursor, and which nobody has."""
        rows = self.do(
            self.world.ask(
                "SELECT cursor FROM connection_parts WHERE user_id = :user AND part = :part",
                user=self.user,
                part=part,
            )
        )
        read = max((row.cursor or 0 for row in rows), default=0)
        before = {id_ for id_, _ in self.events[part][:read]}
        return {id_ for id_, _ in self.events[part][read:]} - before - self.stored().keys()

    @rule(part=parts, how=st.sampled_from(["limited", "broken", ""]))
    def fail(self, part: str, how: str) -> None:
        """A part begins to fail, or does well again."""
        if how:
            self.failing[part] = how
        else:
            self.failing.pop(part, None)

    # The engine.

    @precondition(lambda self: not self.watching)
    @rule()
    def watch(self) -> None:
        """The user comes, or comes back; the first sync is queued and waits for a worker."""
        self.held = self.do(self.world.watch(self.user))
        self.watching, self.left_with = True, None

    @precondition(lambda self: self.watching)
    @rule()
    def unwatch(self) -> None:
        """The user leaves; whatever runs may store nothing more."""
        self.do(self.world.unwatch(self.user))
        self.watching, self.left_with = False, self.stored()

    @rule()
    def let_time_pass(self) -> None:
        """Windows of platforms end, and so do leases."""
        self.world.ahead += timedelta(minutes=11)
        self.do(self.world.end_lease())

    @precondition(lambda self: self.watching and self.held is None)
    @rule()
    def sync(self) -> None:
        """A sync from its beginning to its end; what does not fail or wait is then stored."""
        waiting = self.waiting()
        run = self.do(self.world.sync(user=self.user, trigger="request", force=True))
        assert run.status in {"completed", "partial", "failed", "skipped"}
        self.check_parts(waiting)

    @precondition(lambda self: self.watching and self.held is None)
    @rule(point=st.sampled_from(POINTS), nth=st.integers(1, 5))
    def sync_that_breaks_off(self, point: tuple[Any, str, str], nth: int) -> None:
        """A worker dies in the middle."""
        self.held = self.do(self.world.queue_run(self.user, trigger="request", force=True))
        self.work(point, nth)

    @precondition(lambda self: self.held is not None)
    @rule(point=st.sampled_from(POINTS), nth=st.integers(1, 4))
    def recovery_that_breaks_off(self, point: tuple[Any, str, str], nth: int) -> None:
        """The next worker dies too."""
        self.do(self.world.end_lease())
        self.work(point, nth)

    @precondition(lambda self: self.held is not None)
    @rule()
    def recover(self) -> None:
        """Another worker takes over what a dead one left behind."""
        if self.held is None:
            return
        self.do(self.world.end_lease())
        run = self.do(self.world.sync(self.held, self.user))
        assert run.status not in {"queued", "running"}
        self.held = None

    @precondition(lambda self: self.watching and self.held is None)
    @rule()
    def sync_of_a_frozen_worker(self) -> None:
        """A worker freezes at its first page, another does the run, the first one wakes up."""
        run_id = self.do(self.world.queue_run(self.user, trigger="request", force=True))

        async def freeze_and_wake() -> None:
            self.gate = gate = asyncio.Event()
            frozen = asyncio.create_task(self.world.collector().run(self.user, str(run_id)))
            asked = len(self.world.source.requests)
            while len(self.world.source.requests) == asked and not frozen.done():
                await asyncio.sleep(0.001)
            self.gate = None
            await self.world.end_lease()
            await self.world.collector().run(self.user, str(run_id))
            before = await self.ask_stored()
            gate.set()
            await frozen
            assert await self.ask_stored() == before

        self.do(freeze_and_wake())

    @precondition(lambda self: self.watching and self.held is None)
    @rule()
    def sync_while_the_user_leaves(self) -> None:
        """The watch ends in the middle of a read."""
        run_id = self.do(self.world.queue_run(self.user, trigger="request", force=True))

        async def leave() -> None:
            self.gate = gate = asyncio.Event()
            working = asyncio.create_task(self.world.collector().run(self.user, str(run_id)))
            await asyncio.sleep(0.01)
            await self.world.unwatch(self.user)
            self.left_with = await self.ask_stored()
            self.gate = None
            gate.set()
            await working

        self.do(leave())
        self.watching = False

    def work(self, point: tuple[Any, str, str], nth: int) -> None:
        """Does the held run with a worker that dies at the nth time it gets to the point."""
        assert self.held is not None

        async def until_death() -> bool:
            try:
                await self.world.collector().run(self.user, str(self.held))
            except Crash:
                return False
            return True

        with _armed(*point, nth):
            survived = self.do(until_death())
        run = self.do(self.world.run(self.held, self.user))
        if run.status not in {"queued", "running"}:
            self.held = None  # it died after its last deed, or not at all
        else:
            assert not survived

    # What must hold.

    def stored(self) -> dict[str, int]:
        """What the user has: versions by id."""
        stored: dict[str, int] = self.do(self.ask_stored())
        return stored

    async def ask_stored(self) -> dict[str, int]:
        """The same, from within the loop."""
        rows = await self.world.ask(
            "SELECT platform_id, content FROM items WHERE user_id = :user", user=self.user
        )
        assert len({row.platform_id for row in rows}) == len(rows)
        return {row.platform_id: int(row.content.rsplit(" v", 1)[1]) for row in rows}

    def waiting(self) -> set[str]:
        """Parts that their platform asked to leave alone for now."""
        rows = self.do(
            self.world.ask(
                "SELECT part FROM connection_parts WHERE user_id = :user AND retry_at > :now",
                user=self.user,
                now=self.world.now(),
            )
        )
        return {row.part for row in rows}

    def check_parts(self, waiting: set[str]) -> None:
        """After a whole sync, every part that was read well is stored as it is."""
        stored = self.stored()
        for part in set(PARTS) - waiting - self.failing.keys():
            wanted = {id_: v for id_, v in self.versions.items() if f"-{part}-" in id_}
            assert wanted == {id_: v for id_, v in stored.items() if f"-{part}-" in id_}

    @invariant()
    def cursors_pass_nothing_that_is_not_stored(self) -> None:
        """I1 to I3, I5, and that counters tell the truth."""
        if not hasattr(self, "world"):
            return
        stored = self.stored()
        assert stored.keys() <= self.versions.keys()
        rows = self.do(
            self.world.ask(
                "SELECT part, cursor FROM connection_parts WHERE user_id = :user", user=self.user
            )
        )
        passed: dict[str, int] = defaultdict(int)
        for row in rows:
            for id_, version in self.events[row.part][: row.cursor or 0]:
                passed[id_] = max(passed[id_], version)
        assert all(stored.get(id_, 0) >= version for id_, version in passed.items())
        if self.left_with is not None:
            assert stored == self.left_with
        (counted,) = self.do(
            self.world.ask(
                "SELECT coalesce(sum(items_new), 0)::int AS news FROM sync_run_sources"
                " WHERE user_id = :user",
                user=self.user,
            )
        )
        assert counted.news == len(stored)


def check(database_url: str, *, examples: int, steps: int, start: int = 0) -> int:
    """Plays that many examples; the same ones for the same `start`. Returns how many."""

    @seed(start)
    class Machine(SyncMachine):
        pass

    Machine.database_url = database_url
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return examples


@contextmanager
def _armed(owner: Any, name: str, when: str, nth: int) -> Iterator[None]:
    real = getattr(owner, name)
    counter = itertools.count(1)

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        dies = next(counter) == nth
        if dies and when == "before":
            raise Crash
        result = await real(*args, **kwargs)
        if dies:
            raise Crash
        return result

    setattr(owner, name, wrapper)
    try:
        yield
    finally:
        setattr(owner, name, real)

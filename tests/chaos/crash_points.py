"""Places where a worker can be killed: put around the production code's functions from outside.

`install("upsert.after", 3)` ends the process by SIGKILL the third time that it gets there. Nothing in
the production code knows of it. A point that names a commit kills around the real COMMIT: before it
was sent, or after the server answered. In the mode `lost`, nobody dies there; the caller is told that
the connection broke, although the commit took place.
"""

from __future__ import annotations

import functools
import inspect
import os
import signal
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import psycopg
from procrastinate.manager import JobManager
from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg

from distill_grpc.feed import collecting
from distill_grpc.feed.source_run import SourceRun
from distill_grpc.feed.store import connections, items, runs, state, watches
from distill_grpc.jobs.queue import JobQueue
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.sandbox import Sandbox

# Each name has a `.before` and an `.after`.
_FUNCTIONS: dict[str, tuple[Any, str]] = {
    "claim": (runs, "claim_run"),
    "list_parts": (connections, "list_parts"),
    "report": (runs, "upsert_source"),
    "request": (HttpClient, "get"),
    "parse": (Sandbox, "run"),
    "page": (SourceRun, "_commit"),
    "prove": (runs, "lock_held_run"),
    "upsert": (items, "upsert_items"),
    "part": (connections, "upsert_part"),
    "progress": (runs, "add_progress"),
    "conclude": (connections, "update_connection"),
    "finish": (runs, "finish_run"),
    "reschedule": (watches, "update_watch"),
    "heartbeat": (runs, "extend_lease"),
    "release": (runs, "release_run"),
    "due": (watches, "list_due"),
    "insert_run": (runs, "insert_run"),
    "enqueue": (JobQueue, "enqueue"),
    "abandoned": (runs, "touch_queued"),
    "fetch_job": (JobManager, "fetch_job"),
    "end_job": (JobManager, "finish_job"),
    "retry_job": (JobManager, "retry_job"),
    "register": (JobManager, "register_worker"),
    "run": (collecting.Collector, "run"),
}
# The last thing that a transaction does before it commits, and what the commit is called then.
_COMMITS = {
    "claim_run": "claim",
    "upsert_source": "report",
    "add_progress": "page",
    "finish_run": "finish",
    "update_watch": "finish",
    "extend_lease": "heartbeat",
    "release_run": "release",
    "set_instant": "schedule",
    "touch_queued": "abandoned",
}

# What a scenario can kill at, by what must happen for a worker to get there.
SYNC = (
    "register.after", "due.after", "insert_run.after", "enqueue.before", "enqueue.after",
    "commit.schedule.before", "commit.schedule.after", "fetch_job.before", "fetch_job.after",
    "run.before", "claim.before", "claim.after", "commit.claim.before", "commit.claim.after",
    "list_parts.after", "report.after", "commit.report.after", "request.before", "request.after",
    "parse.before", "parse.after", "page.before", "prove.after", "upsert.before", "upsert.after",
    "part.after", "progress.after", "commit.page.before", "commit.page.after", "page.after",
    "conclude.before", "conclude.after", "finish.before", "finish.after", "reschedule.after",
    "commit.finish.before", "commit.finish.after", "run.after", "end_job.before", "end_job.after",
)  # fmt: skip
# While a read takes long.
LONG = ("heartbeat.before", "heartbeat.after", "commit.heartbeat.before", "commit.heartbeat.after")
# While a worker that was asked to stop hands its work over.
STOPPING = ("release.before", "release.after", "commit.release.before", "commit.release.after")
# While a worker takes over what another left behind.
RECOVERY = (
    "retry_job.before", "retry_job.after", "abandoned.after", "commit.abandoned.before",
    "commit.abandoned.after",
)  # fmt: skip
ALL = SYNC + LONG + STOPPING + RECOVERY
# Those that differ most in what a death leaves behind: with all seeds, where the rest gets a few.
CORE = (
    "enqueue.after", "commit.schedule.before", "commit.schedule.after", "fetch_job.after",
    "run.before", "claim.after", "commit.claim.after", "report.after", "request.after",
    "parse.after", "upsert.before", "upsert.after", "part.after", "progress.after",
    "commit.page.before", "commit.page.after", "conclude.after", "finish.after",
    "commit.finish.before", "commit.finish.after", "end_job.before", "heartbeat.after",
    "commit.release.before", "retry_job.after",
)  # fmt: skip
# Commits whose answer can get lost although they took place.
COMMITS = (
    "commit.schedule.after", "commit.claim.after", "commit.report.after", "commit.page.after",
    "commit.finish.after", "fetch_job.after", "end_job.after",
)  # fmt: skip
# How often, at least, a worker passes a point on its way through a first sync of every user.
_MANY = {"request", "parse", "page", "prove", "upsert", "part", "progress", "report", "list_parts"}


def most(point: str) -> int:
    """The highest count at which a scenario can rely on getting to a point."""
    name = point.split(".")[1] if point.startswith("commit.") else point.split(".", maxsplit=1)[0]
    return 6 if name in _MANY else 2 if name in {"claim", "finish", "conclude", "run"} else 1


_last: ContextVar[str] = ContextVar("last", default="")


def install(point: str, nth: int, mode: str = "kill") -> None:
    """Arms one point in this process."""
    count = 0

    def reached(name: str) -> None:
        nonlocal count
        if name != point:
            return
        count += 1
        if count == nth:
            if mode == "lost":
                raise psycopg.OperationalError("the connection broke (chaos)")
            os.kill(os.getpid(), signal.SIGKILL)

    for name, (owner, function) in _FUNCTIONS.items():
        _wrap(owner, function, name, reached)
    _wrap(state, "set_instant", "set_instant", reached)
    _wrap_commit(reached)


def _wrap(owner: Any, function: str, name: str, reached: Callable[[str], None]) -> None:
    real = getattr(owner, function)
    assert inspect.iscoroutinefunction(real), f"{function} is no coroutine function any more"

    @functools.wraps(real)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        reached(f"{name}.before")
        result = await real(*args, **kwargs)
        if function in _COMMITS:
            _last.set(function)
        reached(f"{name}.after")
        return result

    setattr(owner, function, wrapper)


def _wrap_commit(reached: Callable[[str], None]) -> None:
    real = PGDialectAsync_psycopg.do_commit

    def do_commit(self: PGDialectAsync_psycopg, connection: Any) -> None:
        name = _COMMITS.get(_last.get(), "other")
        reached(f"commit.{name}.before")
        real(self, connection)
        _last.set("")
        reached(f"commit.{name}.after")

    PGDialectAsync_psycopg.do_commit = do_commit  # type: ignore[method-assign]


__all__ = ["ALL", "LONG", "RECOVERY", "STOPPING", "SYNC", "install", "most"]

"""A worker in a process of its own, whose waits are short enough for a test: `python -m` this module."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from distill_grpc import app, logs
from distill_grpc.app import audience
from distill_grpc.jobs import queue
from distill_grpc.publishing import announcing
from distill_grpc.publishing.notifying import Patience
from distill_grpc.settings import load

HASTY = Patience(
    lease=timedelta(seconds=6),
    mail=4.0,
    first=timedelta(seconds=0.3),
    longest=timedelta(seconds=1),
    failures=1_000,
)


def main() -> None:
    """Works until it is killed."""
    logs.configure(format="json", level="info", role="worker")
    announcing.BATCH = 100  # so that there is something to be killed between
    queue.STALLED, queue.RECOVERY = 4.0, 1.0
    build = audience.build_notifier

    def hasty(*arguments: object) -> object:
        notifier = build(*arguments)  # type: ignore[arg-type]
        notifier.patience = HASTY
        return notifier

    audience.build_notifier = hasty  # type: ignore[assignment]
    asyncio.run(app.run_worker(load(_env_file=None), asyncio.Event(), ready=lambda: None))


if __name__ == "__main__":
    main()

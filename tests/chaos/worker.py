"""A nursery of workers: a process that has imported everything and forks a worker on demand.

It is told what to start by lines of JSON on stdin, and tells by lines on stdout who is ready and who
ended how. Each worker is a process of its own that runs the production's `run_worker`, with shorter
times and perhaps a crash point.
"""

from __future__ import annotations

import asyncio
import ctypes
import dataclasses
import gc
import json
import os
import random
import selectors
import signal
import sys
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import feedparser

from distill_grpc import app, logs
from distill_grpc.app import parts, working
from distill_grpc.feed import syncing
from distill_grpc.jobs import queue as jobs
from distill_grpc.jobs.queue import JobQueue
from distill_grpc.settings import load
from distill_grpc.sources import feed_documents, rss
from distill_grpc.sources.sandbox import Sandbox
from tests.chaos import crash_points
from tests.chaos.platform import AGENT

_PR_SET_PDEATHSIG = 1


def nursery() -> None:
    """Serves orders until stdin ends, then kills whoever is left."""
    assert feedparser  # imported here, so that no child has to
    gc.freeze()
    waking, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin.buffer.fileno(), selectors.EVENT_READ)
    selector.register(waking, selectors.EVENT_READ)
    pending, children = b"", set[int]()
    while True:
        ready = {key.fd for key, _ in selector.select()}
        if waking in ready:
            os.read(waking, 4096)
            _reap(children)
        if sys.stdin.buffer.fileno() in ready:
            chunk = os.read(sys.stdin.buffer.fileno(), 65536)
            if not chunk:
                break
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                order = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    _run_child(order)
                children.add(pid)
                _tell(order=order["order"], pid=pid)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _reap(children: set[int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        children.discard(pid)
        _tell(ended=pid, code=os.waitstatus_to_exitcode(status))


def _tell(**said: Any) -> None:
    os.write(1, json.dumps(said).encode() + b"\n")


def _run_child(order: dict[str, Any]) -> None:
    """Becomes a worker; never returns."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(log, 2)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        random.seed()
        logs.configure(format="json", level="debug", role="worker")
        asyncio.run(_work(order))
        code = 0
    except BaseException as error:
        logs.structlog.get_logger().error("worker_failed", exc_info=error)
    finally:
        os._exit(code)


async def _work(order: dict[str, Any]) -> None:
    _quicken(order["pace"])
    rss._ITEMS_PER_PAGE = order["items_per_page"]
    parts.HttpClient = partial(  # type: ignore[misc]  # in the place of the class
        _http_client, order["http_timeout"]
    )
    if not order["sandbox"]:
        Sandbox.run = _parse_here  # type: ignore[method-assign]
    if order["crash"]:
        crash_points.install(*order["crash"])
    settings = load(
        _env_file=None,
        database_url=order["database_url"],
        data_dir=Path(order["data_dir"]),
        sources=("rss",),
        allow_private_addresses=True,
        worker_concurrency=4,
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await app.run_worker(settings, stop, ready=lambda: _tell(ready=os.getpid()))


_HttpClient = parts.HttpClient


def _http_client(timeout: float, *, allow_private_addresses: bool, user_agent: str) -> Any:
    """The production's client, less patient, and telling who it is instead of what it is."""
    assert user_agent
    return _HttpClient(
        allow_private_addresses=allow_private_addresses,
        user_agent=f"{AGENT}{os.getpid()}",
        timeout=timeout,
    )


async def _parse_here(_: Sandbox, header: Mapping[str, Any], document: bytes) -> Any:
    """What a child of the sandbox does, without the child."""
    return await asyncio.to_thread(feed_documents.read, dict(header), document)


def _quicken(pace: float) -> None:
    """Divides the times of leases, heartbeats and ticks, so that many crashes fit into a minute."""
    jobs.HEARTBEAT /= pace
    jobs.STALLED /= pace
    jobs.RECOVERY /= pace
    working.SCHEDULE_TICK = 1.0
    syncing.ABANDONED_RUNNING /= pace
    defaults: dict[str, Any] = JobQueue.work.__kwdefaults__
    defaults["grace"] /= pace
    real = parts.build_policy

    def policy(settings: Any) -> Any:
        own = real(settings)
        return dataclasses.replace(own, lease=timedelta(seconds=own.lease.total_seconds() / pace))

    parts.build_policy = policy


if __name__ == "__main__":
    nursery()

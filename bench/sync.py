"""Syncs: how many unchanged feeds one worker polls in a second, and the memory it takes.

Every feed has a host of its own (127.0.0.0/8 is all this machine), because a host is asked by at most
two requests at once. The limit is a bare aiohttp loop that asks the same servers the same question
and does nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import aiohttp
import psutil
import psycopg
from psycopg.types.json import Jsonb

from bench import database, processes
from bench.measuring import Ratio, Spread
from bench.stacks import ROOT, Bench
from distill_grpc.feed.store.connections import part_key

USERS = 200
FEEDS_OF_USER = 50
FEEDS = USERS * FEEDS_OF_USER
# As many requests at once as a worker has in flight: its syncs, and the feeds of each.
AT_ONCE = 64
WORKER, BARE = "one worker", "bare aiohttp loop"


def run(bench: Bench, *, rounds: int) -> dict[str, Any]:
    """Measures the worker and the bare loop in turn; returns the results."""
    bench = replace(bench, dsn=database.fresh(bench.dsn, "bench_sync"))
    seen: dict[str, list[float]] = {WORKER: [], BARE: []}
    with _feed_server(bench) as port, bench.distill("worker", name="worker") as worker:
        _connect(bench.dsn, port)
        cursor = _first_read(bench.dsn)
        idle = _resident(worker)
        _fill(bench.dsn, port, cursor)
        highest = idle
        for number in range(-1, rounds):
            with _watched(worker) as memory:
                rate = _poll(bench.dsn, port)
            bare = asyncio.run(_bare(port))
            highest = max(highest, *memory)
            if number >= 0:
                seen[WORKER].append(rate)
                seen[BARE].append(bare)
            print(f"  round {number + 1}: {rate:.0f} feeds/s, bare {bare:.0f}/s", flush=True)
    return {
        "what": f"{FEEDS} unchanged feeds of {USERS} users, each at a host of its own",
        "rounds": rounds,
        "targets": {
            WORKER: {**_target(seen[WORKER]), "idle_mb": idle / 1e6, "highest_mb": highest / 1e6},
            BARE: _target(seen[BARE]),
        },
        "ratios": [Ratio.of(f"{WORKER} / {BARE}", seen[WORKER], seen[BARE]).to_json()],
        "left_out": {},
    }


def _target(values: Sequence[float]) -> dict[str, Any]:
    rate = Spread.of(values)
    return {"per_second": {"median": rate.median, "least": rate.least, "most": rate.most}}


@contextlib.contextmanager
def _feed_server(bench: Bench) -> Iterator[int]:
    port = processes.free_port()
    command = [sys.executable, "-m", "bench.feed_server", str(port)]
    log = bench.log("feeds")
    env = {"PYTHONPATH": str(ROOT)}
    with processes.running(command, env=env, log=log, cwd=bench.folder) as process:
        processes.await_answer(f"http://127.0.0.1:{port}/seen", log=log, process=process)
        yield port


def _feed(port: int, user: int, number: int) -> str:
    host = user * FEEDS_OF_USER + number
    return f"http://127.{1 + host // 62_500}.{host // 250 % 250}.{1 + host % 250}:{port}/feed.xml"


def _connect(dsn: str, port: int) -> None:
    """One user with one feed, due now."""
    with psycopg.connect(dsn) as connection:
        _insert_user(connection, "first", [_feed(port, 0, 0)])


def _insert_user(connection: psycopg.Connection, user_id: str, feeds: list[str]) -> None:
    connection.execute(
        "INSERT INTO connections (user_id, source, settings, revision, connected_at, permanent,"
        " failures) VALUES (%s, 'rss', %s, 1, now(), false, 0)",
        [user_id, Jsonb({"feeds": feeds})],
    )
    connection.execute(
        "INSERT INTO watches (user_id, since, backfill_days, sync_interval, next_sync_at)"
        " VALUES (%s, now(), 7, 1800, now())",
        [user_id],
    )


def _first_read(dsn: str) -> Any:
    """The cursor that the worker keeps after its first read; every feed gets it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with psycopg.connect(dsn) as connection:
            found = connection.execute("SELECT cursor FROM connection_parts").fetchone()
        if found is not None and found[0]:
            return found[0]
        time.sleep(0.2)
    raise RuntimeError("the worker did not read its first feed")


def _fill(dsn: str, port: int, cursor: Any) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("DELETE FROM watches")
        for user in range(USERS):
            feeds = [_feed(port, user, number) for number in range(FEEDS_OF_USER)]
            _insert_user(connection, database.user(user), feeds)
            connection.execute("UPDATE watches SET next_sync_at = now() + interval '1 day'")
            with connection.cursor() as many:
                many.executemany(
                    "INSERT INTO connection_parts (user_id, source, part_key, part, cursor,"
                    " first_seen_at, last_success_at, last_attempt_at, permanent, failures,"
                    " quiet_reads) VALUES (%s, 'rss', %s, %s, %s, now(), now(), now(), false, 0, 0)",
                    [(database.user(user), part_key(f), f, Jsonb(cursor)) for f in feeds],
                )


def _poll(dsn: str, port: int) -> float:
    """Makes every feed due, and waits until all are read: feeds a second, first to last request."""
    _seen(port)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("UPDATE connection_parts SET next_attempt_at = NULL, quiet_reads = 0")
        connection.execute("UPDATE watches SET next_sync_at = now(), last_sync_at = NULL")
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            time.sleep(0.5)
            left = connection.execute(
                "SELECT count(*), count(*) FILTER (WHERE last_sync_at IS NULL),"
                " count(*) FILTER (WHERE last_sync_status <> 'completed') FROM watches"
            ).fetchone()
            if left is not None and left[2]:
                raise RuntimeError(f"{left[2]} syncs of {left[0]} did not end well")
            if left is not None and not left[1]:
                break
        else:
            raise RuntimeError("the worker did not read all feeds within ten minutes")
    seen = _seen(port)
    if seen["unchanged"] != FEEDS:
        raise RuntimeError(f"{seen['unchanged']} of {FEEDS} feeds were read")
    return float(FEEDS / seen["seconds"])


def _seen(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/seen", timeout=10) as response:
        found: dict[str, Any] = json.load(response)
        return found


async def _bare(port: int) -> float:
    """The same questions by aiohttp alone, answers a second."""
    waiting = iter(
        [_feed(port, user, number) for user in range(USERS) for number in range(FEEDS_OF_USER)]
    )
    headers = {"If-None-Match": '"bench-1"'}

    async def ask(session: aiohttp.ClientSession) -> None:
        for url in waiting:
            async with session.get(url, headers=headers) as response:
                await response.read()
                if response.status != 304:
                    raise RuntimeError(f"{url} answered {response.status}")

    begin = time.perf_counter()
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(ask(session) for _ in range(AT_ONCE)))
    return FEEDS / (time.perf_counter() - begin)


def _resident(worker: psutil.Process) -> int:
    """Bytes in memory of the worker and of all that it started."""
    total = 0
    for process in processes.family([worker]):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


@contextlib.contextmanager
def _watched(worker: psutil.Process) -> Iterator[list[int]]:
    """Looks at the worker's memory five times a second."""
    found = [_resident(worker)]
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            found.append(_resident(worker))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()

"""Platforms: how many accounts of five sources one worker keeps fresh, and whether it keeps their limits.

Each account has news in every round. The limit is a bare aiohttp loop that asks the same servers one
question for each account and does nothing else. The servers are the fakes of the tests, in a process of
their own; an exceeded limit ends the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import psycopg
from psycopg.types.json import Jsonb

from bench import database, processes, sync
from bench.measuring import Ratio, Spread
from bench.stacks import ROOT, Bench
from distill_grpc.encryption import Keyring
from distill_grpc.feed.sealing import Vault

SOURCES = ("github", "youtube", "x", "email", "rss")
WORKER, BARE = "one worker, requests", "bare aiohttp loop, requests"
SYNCS, ITEMS = "one worker, syncs", "one worker, new items"


def run(bench: Bench, *, rounds: int, connections: int) -> dict[str, Any]:
    """Measures the worker and the bare loop in turn; returns the results."""
    bench = replace(bench, dsn=database.fresh(bench.dsn, "bench_platforms"))
    seen: dict[str, list[float]] = {name: [] for name in (SYNCS, ITEMS, WORKER, BARE)}
    users = max(1, connections // len(SOURCES))
    with _platforms(bench, users) as port, sync._feed_server(bench) as feeds:
        told = _ask(port, "addresses")
        env = {f"DISTILL_{n.upper()}_API_URL": str(told[n]) for n in ("github", "youtube", "x")}
        _connect(bench, users, told, feeds)
        with bench.distill("worker", name="platforms-worker", env=env) as worker:
            idle = highest = violations = 0
            for number in range(-1, rounds):
                if number >= 0:
                    _ask(port, "news")
                    _make_due(bench.dsn)
                with sync._watched(worker) as memory:
                    seconds, items = _await_all(bench.dsn, before=_items(bench.dsn, number))
                highest = max(highest, *memory)
                idle = idle or sync._resident(worker)
                round_ = _ask(port, "seen")
                violations += round_["violations"]
                if violations:
                    raise RuntimeError(f"limits were exceeded: {round_['told']}")
                requests = sum(round_["requests"].values())
                bare = asyncio.run(_bare(told, users))
                _ask(port, "seen")
                if number >= 0:
                    seen[SYNCS].append(users * len(SOURCES) / seconds)
                    seen[ITEMS].append(items / seconds)
                    seen[WORKER].append(requests / seconds)
                    seen[BARE].append(bare)
                print(
                    f"  round {number + 1}: {users * len(SOURCES)} accounts in {seconds:.1f} s, "
                    f"{items} new items, requests {round_['requests']}, bare {bare:.0f}/s",
                    flush=True,
                )
    memory_mb = {"idle_mb": idle / 1e6, "highest_mb": highest / 1e6}
    return {
        "what": f"{users * len(SOURCES)} accounts of {', '.join(SOURCES)}, each with news; "
        f"platform limits exceeded: {violations}",
        "rounds": rounds,
        "violations": violations,
        "targets": {
            name: {**_target(values), **(memory_mb if name == SYNCS else {})}
            for name, values in seen.items()
        },
        "ratios": [Ratio.of("worker / bare loop", seen[WORKER], seen[BARE]).to_json()],
        "left_out": {},
    }


def _target(values: list[float]) -> dict[str, Any]:
    rate = Spread.of(values)
    return {"per_second": {"median": rate.median, "least": rate.least, "most": rate.most}}


@contextlib.contextmanager
def _platforms(bench: Bench, accounts: int) -> Iterator[int]:
    port = processes.free_port()
    command = [sys.executable, "-m", "bench.platform_server", str(port), str(accounts)]
    log = bench.log("platforms")
    env = {"PYTHONPATH": str(ROOT)}
    with processes.running(command, env=env, log=log, cwd=bench.folder) as process:
        processes.await_answer(f"http://127.0.0.1:{port}/seen", log=log, process=process)
        yield port


def _ask(port: int, what: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{what}", timeout=30) as response:
        found: dict[str, Any] = json.load(response)
        return found


def _connect(bench: Bench, users: int, told: Mapping[str, Any], feeds: int) -> None:
    """Users with an account at each source, due now; credentials sealed as in production."""
    vault = Vault(Keyring.load((), bench.folder / "distill"))
    with psycopg.connect(bench.dsn) as connection:
        for number in range(users):
            user = database.user(number)
            for source, (credentials, settings) in _accounts(number, told, feeds).items():
                sealed = vault.seal_credentials(user, source, credentials) if credentials else None
                connection.execute(
                    "INSERT INTO connections (user_id, source, credentials, settings, revision,"
                    " connected_at, permanent, failures) VALUES (%s, %s, %s, %s, 1, now(), false, 0)",
                    [user, source, sealed, Jsonb(settings)],
                )
            connection.execute(
                "INSERT INTO watches (user_id, since, backfill_days, sync_interval, next_sync_at)"
                " VALUES (%s, now(), 7, 1800, now())",
                [user],
            )


def _accounts(number: int, told: Mapping[str, Any], feeds: int) -> dict[str, tuple[Any, Any]]:
    mail = {"host": "127.0.0.1", "port": told["email"], "username": f"u{number}", "password": "p"}
    return {
        "github": ({"token": f"token-{number}"}, {}),
        "youtube": ({"api_key": f"key-{number}"}, {"channels": told["channels"]}),
        "x": ({"access_token": f"token-{number}"}, {"timelines": ["home"], "daily_usd": 900}),
        "email": (mail, {"tls": "none"}),
        "rss": (None, {"feeds": [sync._feed(feeds, number, 0)]}),
    }


def _items(dsn: str, number: int) -> int:
    """Items that are there when a round begins; none before the first."""
    if number < 0:
        return 0
    with psycopg.connect(dsn) as connection:
        (count,) = connection.execute("SELECT count(*) FROM items").fetchone() or (0,)
        return int(count)


def _make_due(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("UPDATE connection_parts SET next_attempt_at = NULL, quiet_reads = 0")
        connection.execute("UPDATE watches SET next_sync_at = now(), last_sync_at = NULL")


def _await_all(dsn: str, *, before: int) -> tuple[float, int]:
    """Waits until all are read: seconds from the first claim to the last end, and new items."""
    deadline = time.monotonic() + 1_200
    with psycopg.connect(dsn, autocommit=True) as connection:
        while time.monotonic() < deadline:
            time.sleep(0.5)
            left, failed = connection.execute(
                "SELECT count(*) FILTER (WHERE last_sync_at IS NULL),"
                " count(*) FILTER (WHERE last_sync_status <> 'completed') FROM watches"
            ).fetchone() or (1, 0)
            if failed:
                why = connection.execute(
                    "SELECT source, error_code, error_message FROM sync_run_sources"
                    " WHERE error_code IS NOT NULL LIMIT 3"
                ).fetchall()
                raise RuntimeError(f"{failed} syncs did not end well: {why}")
            if not left:
                break
        else:
            raise RuntimeError("the worker did not read all accounts within twenty minutes")
        seconds, items = connection.execute(
            "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8,"
            " (SELECT count(*) FROM items) FROM (SELECT DISTINCT ON (user_id) user_id, started_at,"
            " finished_at FROM sync_runs ORDER BY user_id, queued_at DESC) AS latest"
        ).fetchone() or (0.0, 0)
    return max(float(seconds), 0.001), int(items) - before


async def _bare(told: Mapping[str, Any], users: int) -> float:
    """One question for each account by aiohttp alone, answers a second."""
    feeds = f"{told['youtube'].removesuffix('/youtube/v3')}/feeds/videos.xml"
    asked: list[tuple[str, str]] = []
    for number in range(users):
        asked.append((f"{told['github']}/users/octocat/received_events", f"token-{number}"))
        asked.append((f"{feeds}?channel_id={told['channels'][0]}", ""))
        asked.append((f"{told['x']}/2/users/{1_000 + number}/mentions", f"token-{number}"))
    questions = iter(asked)

    async def ask(session: aiohttp.ClientSession) -> int:
        count = 0
        for url, token in questions:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            async with session.get(url, headers=headers) as response:
                await response.read()
                if response.status != 200:
                    raise RuntimeError(f"{url} answered {response.status}")
            count += 1
        return count

    begin = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        counts = await asyncio.gather(*(ask(session) for _ in range(sync.AT_ONCE)))
    return sum(counts) / (time.perf_counter() - begin)

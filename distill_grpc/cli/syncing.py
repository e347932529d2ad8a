"""Starts a sync, follows it with a progress bar for each source, and shows how it went."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from distill_grpc.cli.client import ApiError, Client
from distill_grpc.cli.failure import Failure
from distill_grpc.cli.showing import console, hints, plain, rows, state, when

RUNNING = {"queued", "running"}
# Seconds between looks: quick at first, then kind to the caller's rate limit.
_POLL_FIRST, _POLL_LONGEST, _POLL_GROWTH = 0.3, 2.0, 1.2
# A sync that waits for a worker this long has none.
_PATIENCE_QUEUED = 120.0


async def start(client: Client, *, force: bool) -> dict[str, Any]:
    """Asks for a sync; where one is running already, names that one."""
    try:
        answer: dict[str, Any] = await client.call("POST", "/sync", body={"force": force})
    except ApiError as error:
        if error.code == "rate_limited" and not force and "`force`" in error.said:
            hint = "--force skips Distill's own pause, never a platform's limit"
            raise Failure(f"{error}; {hint}") from None
        if error.code != "sync_in_progress" or "job_id" not in error.details:
            raise
        return {"status": "syncing", "job_id": error.details["job_id"]}
    return answer


async def follow_running(client: Client) -> dict[str, Any] | None:
    """Follows the sync that a watch has just queued; None where it is over already."""
    try:
        answer = await client.call("POST", "/sync", body={})
    except ApiError as error:
        if error.code == "sync_in_progress" and "job_id" in error.details:
            return await follow(client, error.details["job_id"])
        if error.code == "rate_limited":  # it was quick: the pause after it has begun
            return None
        raise
    return await follow(client, answer["job_id"])


async def follow(client: Client, job_id: str, *, quiet: bool = False) -> dict[str, Any]:
    """Waits until the sync has ended, and returns how it went."""
    pause, waited = _POLL_FIRST, 0.0
    # On stderr, so that stdout holds the answer alone; drawn only where a person looks.
    screen = Console(stderr=True, quiet=quiet or not sys.stderr.isatty())
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        console=screen,
        transient=True,
    ) as progress:
        bars: dict[str, TaskID] = {}
        while True:
            run = await _look(client, job_id)
            _draw(progress, bars, run)
            if run.get("status") not in RUNNING:
                return run
            if run["status"] == "queued" and waited > _PATIENCE_QUEUED:
                raise Failure(
                    f"the sync {job_id} has waited {_PATIENCE_QUEUED:.0f} s for a worker; is "
                    "`distill worker` running?"
                )
            await asyncio.sleep(pause)
            waited += pause
            pause = min(pause * _POLL_GROWTH, _POLL_LONGEST)


def show(run: dict[str, Any]) -> None:
    """How a sync went, source by source."""
    out = console()
    table = rows("source", "status", "new", "updated", "parts", "")
    for source in run.get("sources", []):
        total, failed = source.get("parts_total", 0), source.get("parts_failed", 0)
        read = f"{source.get('parts_done', 0)}/{total}" if total else ""
        table.add_row(
            plain(source["source"]),
            state(source["status"]),
            str(source.get("items_new", 0)),
            str(source.get("items_updated", 0)),
            read + (f" ({failed} failed)" if failed else ""),
            plain(_trouble(source)),
        )
    if table.row_count:
        out.print(table)
        hints(out, run["sources"])
    new, updated = run.get("items_new", 0), run.get("items_updated", 0)
    out.print(state(run["status"]), plain(f"{new} new, {updated} updated"))


async def _look(client: Client, job_id: str) -> dict[str, Any]:
    try:
        run: dict[str, Any] = await client.call("GET", f"/sync/{job_id}")
    except ApiError as error:
        if error.code != "rate_limited":
            raise
        # The caller's own calls, not the sync: looking later is enough.
        return {"status": "running"}
    return run


def _draw(progress: Progress, bars: dict[str, TaskID], run: dict[str, Any]) -> None:
    for source in run.get("sources", []):
        name = source["source"]
        if name not in bars:
            bars[name] = progress.add_task(plain(name).plain, total=None, note="")
        over = source["status"] not in RUNNING
        total = source.get("parts_total", 0) or None
        done = source.get("parts_done", 0)
        progress.update(
            bars[name],
            total=(total or 1) if over else total,
            completed=(total or 1) if over else done,
            note=f"{source.get('items_new', 0)} new · {source['status']}",
        )


def _trouble(source: dict[str, Any]) -> str:
    message = str(source.get("message", ""))
    if source.get("retry_after"):
        message += f" (again after {when(source['retry_after'])})"
    return message

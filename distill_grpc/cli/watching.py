"""`distill watch`, `unwatch`, `sync` and `status`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from distill_grpc.cli.options import Json, Token, Url, ask, print_json
from distill_grpc.cli.showing import console, facts, hints, plain, rows, state, when

NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait until the sync is done.")]


def add_commands(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    app.command("watch")(watch)
    app.command("unwatch")(unwatch)
    app.command("sync")(sync)
    app.command("status")(status)


def watch(
    *,
    backfill_days: Annotated[
        int | None,
        typer.Option(min=1, max=30, help="Days of history that the first sync collects."),
    ] = None,
    sync_frequency: Annotated[
        str | None, typer.Option(help="Time between syncs, from 5m to 24h, such as 30m.")
    ] = None,
    no_wait: NoWait = False,
    as_json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Start watching what is connected; show the first sync.

    Exit code 1 where the first sync failed.
    """
    from distill_grpc.cli import syncing
    from distill_grpc.cli.client import connected

    chosen = {"backfill_days": backfill_days, "sync_frequency": sync_frequency}
    options = {name: value for name, value in chosen.items() if value is not None}

    async def work() -> str | None:
        """Watches; returns how the first sync ended, where it was waited for."""
        async with connected(url, token) as client:
            answer = await client.call("POST", "/watch", body={"options": options})
            if as_json:
                print_json(answer)
                return None
            _show_watch(answer)
            if no_wait or answer.get("backfill_status") != "queued":
                return None
            run = await syncing.follow_running(client)
            if run is not None:
                syncing.show(run)
                return str(run["status"])
            known = await client.call("GET", "/metadata")
            _show_status(known)
            return str(known.get("user_status", {}).get("last_sync_status"))

    if asyncio.run(work()) == "failed":
        raise typer.Exit(1)


def unwatch(as_json: Json = False, url: Url = None, token: Token = None) -> None:
    """Stop watching; what was collected is kept for a while."""

    def show(answer: Any) -> None:
        kept = answer.get("data_retention")
        pairs = (
            ("status", answer["status"].replace("_", " ")),
            ("watched for", answer.get("watched_duration")),
            ("data", f"{kept}; until then `distill watch` brings it back" if kept else None),
        )
        console().print(facts(pairs))

    ask(url, token, lambda c: c.call("POST", "/unwatch", body={}), as_json=as_json, show=show)


def sync(
    force: Annotated[
        bool, typer.Option("--force", help="Skip Distill's own pause, never a platform's limit.")
    ] = False,
    no_wait: NoWait = False,
    as_json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Collect what is new now, and show how it goes.

    Exit code 1 where the sync failed.
    """
    from distill_grpc.cli import syncing
    from distill_grpc.cli.client import connected

    async def work() -> tuple[Any, bool]:
        async with connected(url, token) as client:
            answer = await syncing.start(client, force=force)
            if no_wait or "job_id" not in answer:
                return answer, False
            return await syncing.follow(client, answer["job_id"], quiet=as_json), True

    answer, done = asyncio.run(work())
    if as_json:
        print_json(answer)
    elif done:
        syncing.show(answer)
    else:
        pairs = (("status", state(answer["status"])), ("job", answer.get("job_id")))
        console().print(facts(pairs))
    if done and answer["status"] == "failed":
        raise typer.Exit(1)


def status(as_json: Json = False, url: Url = None, token: Token = None) -> None:
    """Show what is watched, and how each source does."""
    ask(url, token, lambda c: c.call("GET", "/metadata"), as_json=as_json, show=_show_status)


def _show_watch(answer: Any) -> None:
    pairs = (
        ("status", state(answer["status"].replace("_", " "))),
        ("since", when(answer.get("since"))),
        ("last sync", when(answer["last_sync"]) if answer.get("last_sync") else None),
        ("next sync", when(answer.get("next_sync"))),
    )
    console().print(facts(pairs))


def _show_status(answer: Any) -> None:
    out = console()
    user, numbers = answer.get("user_status", {}), answer.get("statistics", {})
    if not user.get("watching"):
        out.print(plain("not watching; `distill watch` starts it"))
        return
    ended = user.get("last_sync_status")
    pairs = (
        ("watching", f"since {when(user.get('since'))}"),
        (
            "last sync",
            f"{when(user['last_sync'])} {ended or ''}" if user.get("last_sync") else None,
        ),
        ("next sync", when(user["next_sync"]) if user.get("next_sync") else None),
        ("every", user.get("sync_frequency")),
        ("items", numbers.get("total_items")),
        ("by meaning", f"{numbers['embedded']:.0%} of them" if "embedded" in numbers else None),
        ("storage", numbers.get("storage_used")),
        ("summaries", numbers.get("summaries_generated")),
    )
    out.print(facts(pairs))
    sources = answer.get("sources", [])
    if sources:
        out.print()
        table = rows("source", "state", "items", "last read", "")
        for entry in sources:
            table.add_row(
                plain(entry["source"]),
                state(entry["state"]),
                str(entry.get("item_count", 0)),
                when(entry.get("last_success")),
                plain(entry.get("message", "")),
            )
        out.print(table)
        hints(out, sources)

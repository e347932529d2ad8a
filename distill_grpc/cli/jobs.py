"""`distill jobs`: what failed for good in the background, and another try."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from distill_grpc import settings as settings_module
from distill_grpc.cli.database import with_engine
from distill_grpc.cli.failure import Failure
from distill_grpc.cli.options import Json, print_json
from distill_grpc.cli.showing import console, count, plain, rows, when

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from distill_grpc.jobs.given_up import GivenUp

_group = typer.Typer(
    name="jobs",
    help="List background jobs that failed, and try them again.",
    no_args_is_help=True,
)


def add_commands(app: typer.Typer) -> None:
    """Adds `jobs`."""
    app.add_typer(_group)


@_group.command("list")
def list_jobs(as_json: Json = False) -> None:
    """List the jobs that were given up. Why stands in the worker's log, under `job_failed`."""
    from distill_grpc import clock
    from distill_grpc.jobs import given_up

    async def work(engine: AsyncEngine) -> Sequence[GivenUp]:
        async with engine.connect() as connection:
            return await given_up.list_given_up(connection)

    found = with_engine(settings_module.load(), work)
    told = [
        {**asdict(job), "failed_at": clock.iso(job.failed_at) if job.failed_at else None}
        for job in found
    ]
    if as_json:
        print_json(told)
        return
    if not told:
        console().print(plain("No job was given up.", style="dim"))
        return
    table = rows("id", "job", "attempts", "failed", "arguments")
    for job in told:
        arguments = ", ".join(f"{name}={value}" for name, value in job["arguments"].items())
        cells = (job["id"], job["name"], job["attempts"], when(job["failed_at"]), arguments)
        table.add_row(*(plain(cell) for cell in cells))
    console().print(table)


@_group.command("retry")
def retry(
    ids: Annotated[list[int] | None, typer.Argument(help="Which; all where none is named.")] = None,
) -> None:
    """Try jobs again, with all their attempts."""
    from distill_grpc.jobs import given_up

    wanted = ids or []

    async def work(engine: AsyncEngine) -> set[int]:
        async with engine.begin() as connection:
            return await given_up.retry(connection, wanted)

    done = with_engine(settings_module.load(), work)
    typer.echo(f"{count(len(done), 'job')} will be tried again")
    if missing := sorted(set(wanted) - done):
        raise Failure(f"no given up job has the id {', '.join(map(str, missing))}")

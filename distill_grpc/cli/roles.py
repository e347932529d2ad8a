"""The commands that run the service: all of it, or one role in its own process."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from typing import Annotated

import structlog
import typer

from distill_grpc import logs
from distill_grpc import settings as settings_module
from distill_grpc.cli import environment, ports
from distill_grpc.cli.failure import Failure, last_line
from distill_grpc.cli.supervised import VARIABLE, Ready, run_role
from distill_grpc.cli.supervisor import FAULT
from distill_grpc.key_files import KeyFileError
from distill_grpc.settings import Settings, SettingsError

_log = structlog.get_logger()

# What a role does: with its settings, until the event is set.
Work = Callable[[Settings, asyncio.Event, Ready], Awaitable[None]]


def add_commands(app: typer.Typer) -> None:
    """Adds `serve`, `core`, `facade`, `worker`, `migrate`, and the hidden `node`."""
    app.command("serve", epilog=environment.table())(serve)
    app.command("core")(core)
    app.command("facade")(facade)
    app.command("worker")(worker)
    app.command("migrate")(migrate)
    app.command("node", hidden=True)(node)


def serve() -> None:
    """Run everything on this machine.

    That is the database, its migrations, the core, the REST facade and a worker.
    """
    from distill_grpc.cli.serving import serve as serve_everything

    settings = _begin("supervisor")
    raise typer.Exit(asyncio.run(serve_everything(settings)))


def node() -> None:
    """Core and facade in one event loop: what `serve` runs once for each CPU core."""

    async def work(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
        from distill_grpc.app import run_node

        await run_node(settings, stop, ready=ready)

    _run("node", work, with_database=True)


def core() -> None:
    """Run the gRPC core alone."""

    async def work(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
        from distill_grpc.app import run_core

        address = ports.claim(settings.grpc_address, "DISTILL_GRPC_ADDRESS")
        own = settings.model_copy(update={"grpc_address": address})
        await run_core(own, stop, ready=ready)

    _run("core", work, with_database=True)


def facade(
    core: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT[,HOST:PORT…]",
            help="Where the cores listen; default: DISTILL_GRPC_ADDRESS.",
        ),
    ] = "",
) -> None:
    """Run the REST facade alone, in front of cores elsewhere."""
    cores = [_address(one.strip()) for one in core.split(",")] if core else []

    async def work(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
        from distill_grpc.app import run_facade

        address = ports.claim(settings.http_address, "DISTILL_HTTP_ADDRESS")
        own = settings.model_copy(update={"http_address": address})
        await run_facade(own, cores or [settings.grpc_address], stop, ready=ready)

    _run("facade", work, with_database=False)


def _address(core: str) -> str:
    host, _, port = core.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) <= 65_535:
        raise Failure(
            f"--core must be host:port, such as 127.0.0.1:50051 (it is {core!r})", exit_code=2
        )
    return core


def worker() -> None:
    """Run a worker alone: it syncs, digests and tidies up."""

    async def work(settings: Settings, stop: asyncio.Event, ready: Ready) -> None:
        from distill_grpc.app import run_worker

        await run_worker(settings, stop, ready=ready)

    _run("worker", work, with_database=True)


def migrate() -> None:
    """Bring the database to the newest schema.

    It is safe to run from several machines at once.
    """
    from distill_grpc.cli.database import database, migrated

    settings = _begin("migrate")

    async def work() -> list[str]:
        async with database(settings, migrate=False) as dsn:
            return await migrated(dsn)

    applied = asyncio.run(work())
    if applied:
        typer.echo(f"applied {', '.join(applied)}")
    else:
        typer.echo("the database is up to date")


def _run(name: str, work: Work, *, with_database: bool) -> None:
    settings = _begin(name)
    is_supervised = VARIABLE in os.environ

    async def role(stop: asyncio.Event, ready: Ready) -> None:
        if not with_database:
            await _told(name, work(settings, stop, ready))
            return
        from distill_grpc.cli.database import check_migrated, database

        # An external database is migrated by `distill migrate`, when its owner says so; a
        # supervisor has done it.
        async with database(settings, migrate=settings.database_url is None) as dsn:
            if settings.database_url is not None and not is_supervised:
                await check_migrated(dsn)
            own = settings.model_copy(update={"database_url": dsn})
            await _told(name, work(own, stop, ready))

    run_role(role, drain=settings.drain.total_seconds())


def _begin(name: str) -> Settings:
    """Settings and logs of a role; what is set in vain is told once, not by each child."""
    settings = settings_module.load()
    logs.configure(format=settings.log_format, level=settings.log_level, role=name)
    if VARIABLE not in os.environ:
        for stray in environment.strays():
            _log.warning("set_in_vain", told=stray)
    return settings


async def _told(name: str, work: Awaitable[None]) -> None:
    """Logs a fault of the role whole, and ends the command with one line."""
    from sqlalchemy.exc import OperationalError

    try:
        await work
    except (Failure, SettingsError):
        raise
    except KeyFileError as error:
        raise Failure(str(error)) from None
    except OperationalError as error:
        raise Failure(f"the {name} lost the database: {last_line(error.orig or error)}") from None
    except OSError as error:
        if error.errno not in {errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL}:
            _log.exception("role_failed")
        raise Failure(f"the {name} cannot run: {error}") from None
    except Exception as error:
        _log.exception("role_failed")
        raise Failure(
            f"the {name} failed: {type(error).__name__}: {error}", exit_code=FAULT
        ) from None

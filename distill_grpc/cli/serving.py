"""`distill serve`: one supervisor, a serving process for each CPU core, and a worker."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import structlog

from distill_grpc.cli import alone, ports
from distill_grpc.cli.banner import banner
from distill_grpc.cli.database import database
from distill_grpc.cli.failure import Failure
from distill_grpc.cli.signals import on_signals
from distill_grpc.cli.supervisor import Program, Supervisor
from distill_grpc.encryption import KeyFileError, Keyring
from distill_grpc.settings import Settings, SettingsError
from distill_grpc.sources import registry
from distill_grpc.sources.http import HttpClient

# Each holds a pool of connections, and the embedded database takes a hundred of them.
MOST_PROCESSES = 8
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_log = structlog.get_logger()


async def serve(settings: Settings) -> int:
    """Runs until SIGINT, SIGTERM or SIGHUP; returns the exit code."""
    stop, kill = asyncio.Event(), asyncio.Event()

    def ask() -> None:
        _log.info("stopping")
        stop.set()

    on_signals(ask, insist=kill.set)
    # A second one is told so, rather than that its port is taken.
    alone.refuse_second(settings.data_dir)
    wanted = settings.http_address
    if wanted == settings.grpc_address and ports.split(wanted)[1] != 0:
        raise Failure(
            f"DISTILL_HTTP_ADDRESS and DISTILL_GRPC_ADDRESS must differ (both are {wanted})",
            exit_code=2,
        )
    http, grpc = ports.claim_all(
        {
            "DISTILL_HTTP_ADDRESS": settings.http_address,
            "DISTILL_GRPC_ADDRESS": settings.grpc_address,
        }
    ).values()
    settings = settings.model_copy(update={"http_address": http, "grpc_address": grpc})
    with alone.only_one(settings.data_dir):
        await _check(settings)
        failure = await _supervise(settings, stop, kill)
    if failure is not None:
        raise Failure(failure)
    _log.info("stopped")
    return 130 if kill.is_set() else 0


async def _check(settings: Settings) -> None:
    """Tries what every child would fail at, so that it is told once."""
    http = HttpClient(allow_private_addresses=settings.allow_private_addresses)
    try:
        sources = registry.build(
            settings.sources, mock=settings.mock, http=http, api_urls=settings.api_urls
        )
        await sources.close()
    except ValueError as error:
        raise SettingsError(f"DISTILL_SOURCES: {error}") from None
    finally:
        await http.close()
    try:
        Keyring.load(settings.encryption_keys, settings.data_dir)
    except ValueError as error:
        raise SettingsError(f"DISTILL_ENCRYPTION_KEYS: {error}") from None
    except (KeyFileError, OSError) as error:
        raise Failure(str(error)) from None


async def _supervise(settings: Settings, stop: asyncio.Event, kill: asyncio.Event) -> str | None:
    """Runs database and children until `stop` is set; returns what went wrong, if anything."""
    async with database(settings, migrate=True) as dsn:
        with _metrics_folder(settings.data_dir) as metrics:
            return await Supervisor(
                programs(settings),
                environment=os.environ
                | {
                    "DISTILL_DATABASE_URL": dsn,  # not on a command line, which everybody can read
                    "DISTILL_HTTP_ADDRESS": settings.http_address,
                    "DISTILL_GRPC_ADDRESS": settings.grpc_address,
                    METRICS_VARIABLE: str(metrics),
                },
                stop=stop,
                kill=kill,
                on_ready=lambda: print(
                    banner(settings, with_token=sys.stdout.isatty()), flush=True
                ),
                on_exit=lambda pid: _forget_metrics(pid, metrics),
            ).run()


def _forget_metrics(pid: int, folder: Path) -> None:
    """Removes what a process that has ended reports of itself, such as calls in progress."""
    for left in folder.glob(f"gauge_live*_{pid}.db"):
        left.unlink(missing_ok=True)


def programs(settings: Settings) -> list[Program]:
    """What `serve` runs."""
    own = (sys.executable, "-m", "distill_grpc")
    count = settings.processes or min(_cores(), MOST_PROCESSES)
    nodes = [Program(f"server {number}", (*own, "node")) for number in range(1, count + 1)]
    return [*nodes, Program("worker", (*own, "worker"))]


def _cores() -> int:
    """The CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _metrics_folder(data_dir: Path) -> Iterator[Path]:
    """A fresh folder in which the processes add up their metrics; those of the dead are removed."""
    parent = data_dir.expanduser().absolute() / "run"
    own = parent / str(os.getpid())
    try:
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in parent.iterdir():
            if left.name.isdigit() and (left == own or not psutil.pid_exists(int(left.name))):
                shutil.rmtree(left, ignore_errors=True)
        own.mkdir(mode=0o700)
    except OSError as error:
        raise Failure(
            f"the data directory cannot be used: {error.filename}: {error.strerror}"
        ) from None
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)

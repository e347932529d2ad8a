"""The stacks that are compared: each gets the whole machine while it is measured.

All read the same database. A stack that is not measured right now is idle: it polls for little.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import processes
from bench.peers.transcoder import configuration
from distill_grpc.auth import LocalIssuer

ROOT = Path(__file__).resolve().parent.parent
SERVE = "distill serve"
REMOTE = "remote facade"
ENVOY = "Envoy's transcoder"
TWIN = "FastAPI + ORM"


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that answers."""

    name: str
    origin: str
    processes: tuple[psutil.Process, ...]


@dataclass(frozen=True, slots=True)
class Core:
    """A process of `distill core`."""

    port: int
    process: psutil.Process


@dataclass(frozen=True, slots=True)
class Bench:
    """What every stack is started with."""

    dsn: str
    folder: Path  # for keys, logs, counters
    peers: Path  # the Python that has the peers' packages

    @property
    def envoy(self) -> Path | None:
        """Envoy from the wheel among the peers' packages, where there is one for this machine."""
        found = self.peers.parent.parent.glob("lib/python*/site-packages/envoy/_bin/envoy")
        return next(found, None)

    @property
    def cores(self) -> int:
        """The CPU cores of the machine, for stacks that take a number of processes."""
        return os.cpu_count() or 1

    def log(self, name: str) -> Path:
        """Where a program's output goes."""
        return self.folder / f"{name}.log"

    def distill(
        self,
        *arguments: str,
        http: int = 0,
        grpc: int = 0,
        name: str,
        retention: str = "7d",
        env: Mapping[str, str] | None = None,
    ) -> AbstractContextManager[psutil.Process]:
        """A process of Distill with everything on; only the limit on calls is too high to meet."""
        settings = {
            "DISTILL_DATABASE_URL": self.dsn,
            "DISTILL_DATA_DIR": str(self.folder / "distill"),
            "DISTILL_HTTP_ADDRESS": f"127.0.0.1:{http or processes.free_port()}",
            "DISTILL_GRPC_ADDRESS": f"127.0.0.1:{grpc or processes.free_port()}",
            "DISTILL_API_CALLS_PER_MINUTE": "1000000",
            "DISTILL_LOG_FORMAT": "json",
            "DISTILL_LOG_LEVEL": "info",
            "DISTILL_ALLOW_PRIVATE_ADDRESSES": "1",
            "DISTILL_RAW_RETENTION": retention,
            "PYTHONPATH": str(ROOT),
            **(env or {}),
        }
        command = [sys.executable, "-m", "distill_grpc", *arguments]
        return processes.running(command, env=settings, log=self.log(name), cwd=self.folder)


@contextlib.contextmanager
def serve(bench: Bench, *, env: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """`distill serve`: a process a core, each with core and facade; and the worker."""
    port = processes.free_port()
    # The worker must not tidy away the filling, which is kept from run to run.
    with bench.distill("serve", http=port, name="serve", retention="3650d", env=env) as process:
        origin = f"http://127.0.0.1:{port}"
        processes.await_answer(f"{origin}/health", log=bench.log("serve"), process=process)
        yield Stack(SERVE, origin, (process,))


@contextlib.contextmanager
def cores(bench: Bench) -> Iterator[tuple[Core, ...]]:
    """A process of `distill core` for each CPU core: what the facade and Envoy stand before."""
    with contextlib.ExitStack() as opened:
        started = []
        for number in range(bench.cores):
            port = processes.free_port()
            process = bench.distill("core", grpc=port, name=f"core-{number}")
            started.append(Core(port, opened.enter_context(process)))
        yield tuple(started)


@contextlib.contextmanager
def remote(bench: Bench, before: Sequence[Core]) -> Iterator[Stack]:
    """`distill facade` before each core, on a port that they share."""
    port = processes.free_port()
    with contextlib.ExitStack() as opened:
        facades = [
            opened.enter_context(
                bench.distill(
                    "facade",
                    "--core",
                    f"127.0.0.1:{core.port}",
                    http=port,
                    name=f"facade-{number}",
                )
            )
            for number, core in enumerate(before)
        ]
        origin = f"http://127.0.0.1:{port}"
        for number, facade in enumerate(facades):
            processes.await_answer(
                f"{origin}/health", log=bench.log(f"facade-{number}"), process=facade
            )
        yield Stack(REMOTE, origin, (*facades, *(core.process for core in before)))


@contextlib.contextmanager
def envoy(bench: Bench, before: Sequence[Core]) -> Iterator[Stack]:
    """Envoy's transcoder before all cores, with a thread a CPU core."""
    port = processes.free_port()
    path = bench.folder / "envoy.json"
    path.write_text(json.dumps(configuration(port, [core.port for core in before])))
    command = [str(bench.envoy), "--config-path", str(path), "--use-dynamic-base-id"]
    command += ["--concurrency", str(bench.cores), "--log-level", "warning"]
    log = bench.log("envoy")
    with processes.running(command, env={}, log=log, cwd=bench.folder) as process:
        origin = f"http://127.0.0.1:{port}"
        processes.await_answer(f"{origin}/health", log=log, process=process)
        yield Stack(ENVOY, origin, (process, *(core.process for core in before)))


@contextlib.contextmanager
def twin(bench: Bench, module: str = "fastapi_twin") -> Iterator[Stack]:
    """A FastAPI twin of `peers` under uvicorn, with uvloop and httptools, a process a core."""
    port = processes.free_port()
    data = bench.folder / "distill"
    keys = LocalIssuer.load(data).jwks()
    env = {
        "TWIN_DATABASE_URL": bench.dsn,
        "TWIN_JWKS": json.dumps(keys),
        "TWIN_SIGNING_KEY": str(data / "keys" / "token-signing.pem"),
        "PYTHONPATH": str(ROOT / "bench" / "peers"),
    }
    command = [str(bench.peers), "-m", "uvicorn", f"{module}:app", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", str(bench.cores), "--no-access-log"]
    command += ["--loop", "uvloop", "--http", "httptools", "--log-level", "warning"]
    log = bench.log(module)
    with processes.running(command, env=env, log=log, cwd=bench.folder) as process:
        origin = f"http://127.0.0.1:{port}"
        processes.await_answer(f"{origin}/health", log=log, process=process)
        yield Stack(TWIN, origin, (process,))

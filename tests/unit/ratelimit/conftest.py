from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.servers.optional import program
from tests.servers.ports import held_ports


class RedisServer:
    """A real Redis without persistence, which tests may stop and start again on the same port."""

    def __init__(self, binary: str, directory: Path, port: int) -> None:
        self._binary = binary
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def launch(self) -> None:
        self._process = subprocess.Popen(
            [self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", "no", "--dir", str(self._directory), "--daemonize", "no"],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    async def start(self) -> None:
        self.launch()
        for _ in range(500):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            writer.close()
            await writer.wait_closed()
            return
        raise TimeoutError("Redis did not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
async def redis_server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    binary = program("redis-server", of="redis")
    with held_ports(1) as (port,):
        server = RedisServer(binary, tmp_path, port)
        await server.start()
        yield server
        server.stop()

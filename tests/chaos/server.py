"""A PostgreSQL of the harness's own, which it may restart in the rudest way."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from distill_grpc.db.accounts import Account
from distill_grpc.db.embedded import EmbeddedPostgres
from distill_grpc.db.migrate import migrate
from distill_grpc.db.postgres_tools import _binaries

CONNECTIONS = 600


class Server:
    """An embedded server with a migrated template. `durable` ones keep what they acknowledged."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self._embedded = EmbeddedPostgres(folder, fast=not durable)
        self.address = ""

    async def __aenter__(self) -> Server:
        await self._embedded.start()
        # The setting needs a restart.
        await asyncio.to_thread(self._widen, await self._embedded.start())
        await self._embedded.stop()
        self.address = await self._embedded.start()
        await asyncio.to_thread(migrate, self.address)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._embedded.stop()

    @property
    def socket(self) -> Path:
        """The server's socket."""
        url = make_url(self.address)
        return Path(str(url.query["host"])) / f".s.PGSQL.{url.query['port']}"

    @staticmethod
    def _widen(address: str) -> None:
        url = make_url(address).set(username="postgres", database="postgres")
        with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as admin:
            admin.execute(f"ALTER SYSTEM SET max_connections = {CONNECTIONS}".encode())

    async def restart(self, mode: str = "immediate") -> float:
        """`pg_ctl restart`; returns the moment (monotonic) from which the server accepts again."""
        folder = self._embedded.folder
        command = [
            str(_binaries() / "pg_ctl"), "restart", f"--mode={mode}", "--wait", "--silent",
            "--pgdata=cluster", f"--log={folder / 'log' / 'start.log'}",
        ]  # fmt: skip
        code = await asyncio.to_thread(
            Account.of(folder).run,
            command,
            cwd=folder,
            output=folder / "log" / "start.log",
            timeout=60,
        )
        assert code == 0, (folder / "log" / "start.log").read_text()[-2000:]
        await asyncio.to_thread(self._await_acceptance)
        return time.monotonic()

    def _await_acceptance(self) -> None:
        while True:
            try:
                psycopg.connect(self.address, connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return

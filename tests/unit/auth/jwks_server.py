"""A key server on loopback that tests can rotate, break and slow down."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

from aiohttp import web

from tests.unit.auth.forging import Signer


class JwksServer:
    def __init__(self) -> None:
        self.entries: list[Any] = []
        self.fetches = 0
        self.status = 200
        self.body: bytes | None = None
        self.delay = 0.0
        self.gzip = False
        self.redirect_to: str | None = None
        self.url = ""
        self._runner: web.AppRunner | None = None

    def publish(self, *signers: Signer) -> None:
        self.entries = [signer.jwk() for signer in signers]

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/jwks.json", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}/jwks.json"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        self.fetches += 1
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.redirect_to is not None:
            raise web.HTTPFound(self.redirect_to)
        body = json.dumps({"keys": self.entries}).encode() if self.body is None else self.body
        headers = {"Content-Type": "application/json"}
        if self.gzip:
            body, headers["Content-Encoding"] = gzip.compress(body), "gzip"
        return web.Response(status=self.status, body=body, headers=headers)

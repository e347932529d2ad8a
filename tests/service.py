"""A whole Distill inside the test process: the same composition as in production, on free ports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import aiohttp
import grpc
from multidict import CIMultiDictProxy

from distill_grpc import app
from distill_grpc.auth import LocalIssuer
from distill_grpc.settings import Settings, load
from http_facade.remote import RemoteTransport
from tests.envoy_door import EnvoyDoor, is_installed

Door = Literal["local", "remote", "envoy"]
# The facade's ways to the core.
TRANSPORTS: tuple[Door, ...] = ("local", "remote")
# The ways from REST to the core; every REST test of behaviour runs through all. Envoy is one where
# its wheel is installed; tests/conformance/envoy says so where it is not.
DOORS: tuple[Door, ...] = (*TRANSPORTS, "envoy") if is_installed() else TRANSPORTS


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, read whole."""

    status: int
    headers: CIMultiDictProxy[str]
    body: Any
    text: str


@dataclass
class Service:
    """Addresses of a running service, and clients for it."""

    settings: Settings
    issuer: LocalIssuer
    doors: dict[Door, str]
    envoy: EnvoyDoor
    grpc_address: str
    http: aiohttp.ClientSession
    channel: grpc.aio.Channel

    def token(self, user: str = "user_1", *, credits: bool = True, expires_in: int = 3600) -> str:
        """A token of the local issuer."""
        return self.issuer.issue(
            user_id=user,
            email=f"{user}@example.com",
            credits_available=credits,
            expires_in=timedelta(seconds=expires_in),
        )

    async def address(self, door: Door) -> str:
        """Where a door is; Envoy starts when it is first asked for."""
        return await self.envoy.url() if door == "envoy" else self.doors[door]

    async def call(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        user: str | None = "user_1",
        door: Door = "local",
        headers: dict[str, str] | None = None,
        data: bytes | BytesIO | None = None,
    ) -> Answer:
        """Calls the REST door as `user`; `None` calls without a token."""
        sent = dict(headers or {})
        if user is not None and "Authorization" not in sent:
            sent["Authorization"] = f"Bearer {self.token(user)}"
        url = await self.address(door) + path
        async with self.http.request(method, url, json=json, data=data, headers=sent) as response:
            text = await response.text()
            is_json = response.content_type == "application/json" and text
            body = await response.json() if is_json else None
            return Answer(response.status, response.headers, body, text)

    def metadata(self, user: str = "user_1", **more: str) -> tuple[tuple[str, str], ...]:
        """Metadata for a gRPC call as `user`."""
        return (("authorization", f"Bearer {self.token(user)}"), *more.items())

    async def synced(self, user: str = "user_1", *, timeout: float = 60.0) -> dict[str, Any]:
        """Waits until no sync of the user is queued or running; returns `/metadata`."""
        async with asyncio.timeout(timeout):
            while True:
                body = (await self.call("GET", "/metadata", user=user)).body
                if "last_sync" in body["user_status"]:
                    return dict(body)
                await asyncio.sleep(0.05)

    async def job_done(self, job_id: str, user: str = "user_1") -> dict[str, Any]:
        """Waits until a sync has ended; returns how."""
        async with asyncio.timeout(60):
            while True:
                body = (await self.call("GET", f"/sync/{job_id}", user=user)).body
                if body["status"] not in {"queued", "running"}:
                    return dict(body)
                await asyncio.sleep(0.05)


@asynccontextmanager
async def start_service(
    database_url: str, data_dir: Path, *, worker: bool = True, **settings: Any
) -> AsyncIterator[Service]:
    """Starts everything and stops it again. The limits are high unless a test sets them."""
    own = load(
        _env_file=None,
        database_url=database_url,
        data_dir=data_dir,
        http_address="127.0.0.1:0",
        grpc_address="127.0.0.1:0",
        **{
            "api_calls_per_minute": 100_000,
            "logins_per_minute": 100_000,
            "registrations_per_hour": 100_000,
            **settings,
        },
    )
    stop = asyncio.Event()
    ready = asyncio.Event()
    async with app.core(own) as pipeline, app.grpc_server(own, pipeline) as grpc_port:
        address = f"127.0.0.1:{grpc_port}"
        async with (
            app.facade(own, app.local_transport(own, pipeline)) as local,
            app.facade(own, RemoteTransport(address)) as remote,
            aiohttp.ClientSession() as http,
            grpc.aio.insecure_channel(address) as channel,
        ):
            working = None
            envoy = EnvoyDoor(address)
            if worker:
                working = asyncio.create_task(app.run_worker(own, stop, ready=ready.set))
                await ready.wait()
            try:
                yield Service(
                    settings=own,
                    issuer=LocalIssuer.load(data_dir),
                    doors={
                        "local": f"http://127.0.0.1:{local}",
                        "remote": f"http://127.0.0.1:{remote}",
                    },
                    envoy=envoy,
                    grpc_address=address,
                    http=http,
                    channel=channel,
                )
            finally:
                await envoy.stop()
                stop.set()
                if working is not None:
                    await working

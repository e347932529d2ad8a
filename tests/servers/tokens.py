"""The servers that hand out tokens: a platform's token endpoint, and the central token service.

Both speak their protocols strictly: a refresh token is good for one use where the platform rotates
(RFC 6749, section 6), a client must say who it is, and every answer is what the documents say.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote_plus

from aiohttp import web


class _Server:
    """A server on the loopback interface. Use it as `async with`."""

    def __init__(self) -> None:
        self.url = ""
        self.calls = 0
        self.delay = 0.0  # seconds before each answer
        self.broken: list[web.Response | None] = []  # answers in the stead of the next ones
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def breaks(self, status: int, body: str = "", **headers: str) -> None:
        """What the next call gets, whatever it asks."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.broken.append(web.Response(status=status, text=body, headers=named))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.calls += 1
        await asyncio.sleep(self.delay)
        if self.broken:
            broken = self.broken.pop(0)
            assert broken is not None
            return broken
        return await self.handle(request)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raise NotImplementedError


class OAuthServer(_Server):
    """A platform's token endpoint, and which access tokens are good now."""

    def __init__(
        self, *, client_id: str = "client", secret: str = "s3cret", rotates: bool = True
    ) -> None:
        super().__init__()
        self.client = (client_id, secret)
        self.rotates = rotates
        self.expires_in: int | None = 7200
        self.refresh_tokens = {"refresh-0"}
        self.access_tokens: set[str] = set()
        self.prefix = ""  # of the tokens that are made
        self.auth: list[str] = []  # how each client said who it is: `basic` or `body`
        self._numbers = itertools.count(1)

    @property
    def token_url(self) -> str:
        return f"{self.url}/token"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = (await request.read()).decode()
        form = dict(parse_qsl(body, strict_parsing=True))
        if request.method != "POST" or not request.content_type.endswith("x-www-form-urlencoded"):
            return web.json_response({"error": "invalid_request"}, status=400)
        if self._client(request, form) != self.client:
            return web.json_response({"error": "invalid_client"}, status=401)
        if form.get("grant_type") != "refresh_token":
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        if form.get("refresh_token") not in self.refresh_tokens:
            told = {"error": "invalid_grant", "error_description": "Token was revoked."}
            return web.json_response(told, status=400)
        number = next(self._numbers)
        answer: dict[str, Any] = {
            "token_type": "bearer",
            "access_token": f"{self.prefix}access-{number}",
            "scope": "read offline.access",
        }
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        self.access_tokens = {answer["access_token"]}
        if self.rotates:
            answer["refresh_token"] = f"{self.prefix}refresh-{number}"
            self.refresh_tokens = {answer["refresh_token"]}
        return web.json_response(answer, headers={"Cache-Control": "no-store"})

    def _client(self, request: web.Request, form: dict[str, str]) -> tuple[str, str]:
        header = request.headers.get("Authorization", "")
        if header.startswith("Basic "):
            self.auth.append("basic")
            pair = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
            return unquote_plus(pair[0]), unquote_plus(pair[2])
        self.auth.append("body")
        return form.get("client_id", ""), form.get("client_secret", "")


@dataclass
class _Held:
    """What the central service holds for one account."""

    access_token: str
    expires_at: str | None = "2100-01-01T00:00:00Z"
    scopes: list[str] = field(default_factory=lambda: ["read", "write"])


class CentralTokens(_Server):
    """The central token service (Distill Service Framework Specification)."""

    def __init__(self, jwt: str = "service-jwt") -> None:
        super().__init__()
        self.jwt = jwt
        self.held: dict[tuple[str, str], _Held] = {}
        self.paths: list[str] = []

    def holds(self, platform: str, user: str, access_token: str, **more: Any) -> None:
        """Gives the service a token for a user."""
        self.held[platform, user] = _Held(access_token, **more)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.raw_path)
        if request.headers.get("Authorization") != f"Bearer {self.jwt}":
            return web.json_response({"error": "unauthorized"}, status=401)
        _, kind, platform, user = request.path.split("/", 3)
        held = self.held.get((platform, user))
        if request.method != "GET" or kind != "tokens" or held is None:
            return web.json_response({"error": "not_found"}, status=404)
        answer: dict[str, Any] = {
            "access_token": held.access_token,
            "refresh_token": "never-ours-to-use",
            "scopes": held.scopes,
        }
        if held.expires_at is not None:
            answer["expires_at"] = held.expires_at
        return web.json_response(answer)

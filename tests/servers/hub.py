"""A WebSub hub: takes subscriptions, verifies them, pushes; and every way in which hubs go wrong."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import urlencode, urlsplit

import aiohttp
from aiohttp import web


@dataclass
class Subscription:
    """What a subscriber asked for and confirmed."""

    callback: str
    topic: str
    secret: str


@dataclass
class Pushed:
    """What a subscriber said to a push."""

    status: int
    body: bytes


@dataclass
class HubServer:
    """A hub on the loopback interface. Use it as `async with`.

    `door` is where callbacks really are, whatever public name stands in them. The other fields are
    how it behaves from now on.
    """

    door: str = ""
    status: int = 202
    location: str = ""  # redirects there
    verifies: bool = True
    denies: str = ""  # with this reason
    lease: int | None = None  # seconds that it grants; None: what was asked for
    tells_lease: bool = True
    retry_after: str = ""
    forms: list[dict[str, str]] = field(default_factory=list)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    answers: list[int] = field(default_factory=list)  # statuses of verifications
    _verifying: set[asyncio.Task[None]] = field(default_factory=set)
    _runner: web.AppRunner | None = None
    _http: aiohttp.ClientSession | None = None
    _port: int = 0

    async def __aenter__(self) -> HubServer:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._asked)
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]
        self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.settled()
        if self._http is not None:
            await self._http.close()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://127.0.0.1:{self._port}/hub"

    def modes(self) -> list[str]:
        """What was asked for so far."""
        return [form["hub.mode"] for form in self.forms]

    async def settled(self) -> None:
        """Returns when every verification has ended."""
        while self._verifying:
            await asyncio.gather(*self._verifying)

    async def subscribed(self, count: int = 1) -> None:
        """Returns when there are so many subscriptions."""
        async with asyncio.timeout(20):
            while len(self.subscriptions) < count:
                await asyncio.sleep(0.02)

    async def publish(
        self, topic: str, body: bytes, *, method: str = "sha256", secret: str | None = None
    ) -> list[Pushed]:
        """Pushes to everybody who subscribed to a topic."""
        found = [one for one in self.subscriptions.values() if one.topic == topic]
        return [
            await self.push(one.callback, body, method=method, secret=secret or one.secret)
            for one in found
        ]

    async def push(
        self, callback: str, body: bytes, *, secret: str, method: str = "sha256"
    ) -> Pushed:
        """Pushes to one callback."""
        signature = f"{method}={hmac.digest(secret.encode(), body, method).hex()}"
        headers = {"Content-Type": "application/atom+xml", "X-Hub-Signature": signature}
        assert self._http is not None
        async with self._http.post(self._really(callback), data=body, headers=headers) as answer:
            return Pushed(answer.status, await answer.read())

    async def question(self, callback: str, **parameters: str) -> tuple[int, str, str]:
        """Asks a callback; status, content type and body of its answer."""
        query = urlencode({f"hub.{name}": value for name, value in parameters.items()})
        assert self._http is not None
        async with self._http.get(f"{self._really(callback)}?{query}") as answer:
            return answer.status, answer.content_type, await answer.text()

    async def _asked(self, request: web.Request) -> web.StreamResponse:
        form = {str(name): str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        if self.location:
            return web.Response(status=307, headers={"Location": self.location})
        if self.status >= 300:
            headers = {"Retry-After": self.retry_after} if self.retry_after else {}
            return web.Response(status=self.status, headers=headers)
        task: asyncio.Task[None] | None = None
        if self.denies:
            task = asyncio.create_task(self._deny(form))
        elif self.verifies:
            task = asyncio.create_task(self._verify(form))
        if task is not None:
            self._verifying.add(task)
            task.add_done_callback(self._verifying.discard)
        return web.Response(status=self.status)

    async def _verify(self, form: dict[str, str]) -> None:
        mode, topic, callback = (form[f"hub.{name}"] for name in ("mode", "topic", "callback"))
        challenge = secrets.token_urlsafe(16)
        parameters = {"mode": mode, "topic": topic, "challenge": challenge}
        if mode == "subscribe" and self.tells_lease:
            parameters["lease_seconds"] = str(self.lease or form["hub.lease_seconds"])
        status, _, said = await self.question(callback, **parameters)
        self.answers.append(status)
        if status == 200 and said == challenge:
            if mode == "unsubscribe":
                self.subscriptions.pop(callback, None)
            else:
                self.subscriptions[callback] = Subscription(callback, topic, form["hub.secret"])

    async def _deny(self, form: dict[str, str]) -> None:
        status, _, _ = await self.question(
            form["hub.callback"], mode="denied", topic=form["hub.topic"], reason=self.denies
        )
        self.answers.append(status)

    def _really(self, callback: str) -> str:
        return self.door + urlsplit(callback).path

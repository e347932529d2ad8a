"""What fake platforms have in common: a clock, a ledger, limits that count violations, and faults.

A platform is a program of its own clock (a fixed one that tests advance, or the real one). It writes
down every request, and whoever asks before the instant that it named is a violation.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from types import TracebackType

from aiohttp import web

Answering = Callable[[web.Request], Awaitable[web.Response]]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def __call__(self) -> datetime:
        return self._now

    def advance(self, **delta: float) -> None:
        self._now += timedelta(**delta)


@dataclass(frozen=True)
class Asked:
    """A request that came in, and how it was answered."""

    path: str  # with its query
    headers: Mapping[str, str]
    status: int
    at: datetime  # by the platform's clock


@dataclass
class Fault:
    """Answers in the platform's stead, `times` times or with a chance, where the path fits."""

    match: str
    answer: Callable[[web.Request, Answering], Awaitable[web.Response]]
    times: int
    chance: float = 1.0


@dataclass
class Account:
    """A token, and what it may do."""

    login: str
    id: int
    scopes: str | None = "notifications, read:user"
    expires_at: datetime | None = None
    revoked: bool = False
    used: int = 0  # requests in the window
    window: datetime | None = None  # when the window ends
    quiet_until: datetime | None = None  # a limit was named; nothing may come before
    last_polls: dict[str, datetime] = field(default_factory=dict)


class PlatformServer:
    """Serves on the loopback interface. Use it as `async with`."""

    def __init__(self, clock: Callable[[], datetime], *, seed: int = 0) -> None:
        self.clock = clock
        self.chance = random.Random(seed)
        self.ledger: list[Asked] = []
        self.served: defaultdict[str, set[str]] = defaultdict(set)
        self.violations: list[str] = []
        self.faults: list[Fault] = []
        self.accounts: dict[str, Account] = {}
        self._in_flight: defaultdict[str, int] = defaultdict(int)
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def fault(
        self,
        match: str,
        answer: Callable[[web.Request, Answering], Awaitable[web.Response]],
        *,
        times: int = 1,
        chance: float = 1.0,
    ) -> None:
        """From now on requests whose path holds `match` are answered by `answer`, `times` times."""
        self.faults.append(Fault(match, answer, times, chance))

    def asked(self, part: str) -> list[Asked]:
        """The requests so far whose path holds `part`."""
        return [asked for asked in self.ledger if part in asked.path]

    # What subclasses say.

    async def respond(self, request: web.Request) -> web.Response:
        raise NotImplementedError

    def holder(self, request: web.Request) -> str:
        """Who is counted: a token, a project."""
        raise NotImplementedError

    async def _handle(self, request: web.Request) -> web.Response:
        holder = self.holder(request)
        self._in_flight[holder] += 1
        try:
            if holder and self._in_flight[holder] > 1:
                self.violations.append(f"two requests at once by {holder}: {request.path_qs}")
            account = self.accounts.get(holder)
            if account and account.quiet_until and self.clock() < account.quiet_until:
                self.violations.append(f"asked before {account.quiet_until}: {request.path_qs}")
            await asyncio.sleep(0)
            response = await self._faulty(request)
        finally:
            self._in_flight[holder] -= 1
        if "Date" not in response.headers:
            response.headers["Date"] = http_date(self.clock())
        if response.headers.get("Date") == "none":
            # aiohttp adds its own clock's date where there is none.
            response.headers["Date"] = ""
        self.ledger.append(Asked(request.path_qs, request.headers, response.status, self.clock()))
        return response

    async def _faulty(self, request: web.Request) -> web.Response:
        for fault in self.faults:
            if fault.times and fault.match in request.path_qs:
                if self.chance.random() >= fault.chance:
                    continue
                fault.times -= 1
                return await fault.answer(request, self.respond)
        return await self.respond(request)


def http_date(moment: datetime) -> str:
    """As HTTP writes instants."""
    return format_datetime(moment, usegmt=True)


def plain(status: int, body: bytes | str, content_type: str, **headers: str):
    """A fault that gives this answer; underscores in names of headers stand for dashes."""

    async def answer(request: web.Request, real: Answering) -> web.Response:
        data = body.encode() if isinstance(body, str) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(
            status=status, body=data, headers={"Content-Type": content_type, **named}
        )

    return answer


def html(status: int = 200):
    """A page for people where JSON should be."""
    return plain(status, "<!DOCTYPE html><title>Unicorn!</title>", "text/html")


def cut(size: int):
    """The true answer, broken off after `size` bytes."""

    async def answer(request: web.Request, real: Answering) -> web.Response:
        response = await real(request)
        assert isinstance(response.body, bytes)
        headers = {k: v for k, v in response.headers.items() if k != "Content-Length"}
        return web.Response(status=response.status, body=response.body[:size], headers=headers)

    return answer

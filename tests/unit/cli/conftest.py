"""A small REST server in a thread, and the `distill` command against it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from distill_grpc.cli.main import main

Answer = tuple[int, Any]


@dataclass
class Service:
    """Answers what it was told to, one answer a call, the last one again and again."""

    url: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, str], Any, str]] = field(default_factory=list)

    def on(self, call: str, *answers: Answer) -> None:
        """What `call`, such as `POST /sync`, answers in turn."""
        self.answers[call] = list(answers)

    async def handle(self, request: web.Request) -> web.Response:
        call = f"{request.method} {request.path}"
        body = await request.json() if request.can_read_body else None
        authorization = request.headers.get("Authorization", "")
        self.calls.append((call, dict(request.query), body, authorization))
        answers = self.answers.get(call)
        if not answers:
            return web.json_response({"error": "not_found", "message": "Not found."}, status=404)
        status, content = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(content, bytes):  # a stream
            kind = "text/event-stream; charset=utf-8"
            return web.Response(body=content, status=status, headers={"Content-Type": kind})
        if isinstance(content, str):
            return web.Response(text=content, status=status, content_type="text/html")
        return web.json_response(content, status=status)

    @property
    def called(self) -> list[str]:
        return [call for call, *_ in self.calls]


@pytest.fixture
def service(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    made = Service()
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", made.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        await stop.wait()
        await runner.cleanup()

    def work() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(10)
    monkeypatch.setenv("DISTILL_HTTP_ADDRESS", made.url.removeprefix("http://"))
    yield made
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory without anybody's settings."""
    import os

    for name in [name for name in os.environ if name.startswith("DISTILL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "UTC")
    return tmp_path


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def distill(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs a command line."""

    def run(*arguments: str) -> Outcome:
        code = main(arguments)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run

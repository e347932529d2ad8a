"""Mails about a post while the worker is killed again and again, and the mail server fails at random.

`DISTILL_TEST_SUBSCRIBERS` and `DISTILL_TEST_KILLS` make it larger.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.integration.publishing import platform
from tests.servers.rabbitmq import RabbitMQ

SUBSCRIBERS = int(os.environ.get("DISTILL_TEST_SUBSCRIBERS", "1000"))
KILLS = int(os.environ.get("DISTILL_TEST_KILLS", "3"))
WITHIN = 120 + SUBSCRIBERS / 10 + 20 * KILLS  # seconds
MAILS_PER_SECOND = 10_000


@dataclass
class Sink:
    """A mail server with a ledger of what it took; refuses one in ten, in one of three ways."""

    chance: random.Random
    ledger: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    refused: Counter[str] = field(default_factory=Counter)
    port: int = 0

    @property
    def taken(self) -> int:
        return sum(map(len, self.ledger.values()))

    async def handle_RCPT(  # noqa: N802 -- aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any
    ) -> str:
        if self.chance.random() < 0.05:
            self.refused["greylisted"] += 1
            return "451 come back later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 -- aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        dice = self.chance.random()
        if dice < 0.045:
            self.refused["after data"] += 1
            return "452 no space"
        if dice < 0.047:
            self.refused["away"] += 1
            return "421 going down"
        assert isinstance(envelope.content, bytes)
        head = envelope.content.split(b"\r\n\r\n")[0].decode()
        name = next(line for line in head.split("\r\n") if line.startswith("Message-ID:"))
        self.ledger[envelope.rcpt_tos[0]].append(name.partition(":")[2].strip())
        return "250 taken"


@asynccontextmanager
async def sink() -> AsyncIterator[Sink]:
    taking = Sink(random.Random(7))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(taking, loop=loop), "127.0.0.1", 0)
    taking.port = server.sockets[0].getsockname()[1]
    try:
        yield taking
    finally:
        server.close()


@asynccontextmanager
async def worker(settings: dict[str, str], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DISTILL_")}
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.publishing.hasty_worker",
            env=kept | {f"DISTILL_{name}": value for name, value in settings.items()},
            stdout=out,
            stderr=out,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def killed_when(
    condition: Callable[[], Awaitable[bool]], settings: dict[str, str], log: Path
) -> None:
    """Lets a worker work until then, and kills it (SIGKILL)."""
    async with worker(settings, log) as process:
        until = time.monotonic() + WITHIN
        while not await condition():
            assert process.returncode is None, _end_of(log)
            assert time.monotonic() < until, _end_of(log)
            await asyncio.sleep(0.01)
        process.kill()


def _end_of(log: Path) -> str:
    return log.read_text()[-2000:]


@pytest.mark.timeout(2 * WITHIN)
@pytest.mark.parametrize("transport", ["postgresql", "rabbitmq"])
async def test_every_subscriber_gets_their_mail_and_a_kill_costs_one_more_at_most(
    engine: AsyncEngine,
    database_url: str,
    tmp_path: Path,
    transport: str,
    request: pytest.FixtureRequest,
) -> None:
    creator = (await platform.accounts(engine, 1, "creator"))[0]
    await platform.subscribe(engine, await platform.accounts(engine, SUBSCRIBERS), creator)
    log = tmp_path / "worker.log"
    async with sink() as server:
        settings = {
            "DATABASE_URL": database_url,
            "DATA_DIR": str(tmp_path / "data"),
            "MOCK": "1",
            "SMTP_URL": f"smtp://127.0.0.1:{server.port}",
            "MAIL_FROM": "distill@example.org",
            "MAILS_PER_SECOND": str(MAILS_PER_SECOND),
            "LOG_FORMAT": "json",
        }
        if transport == "rabbitmq":
            broker: RabbitMQ = request.getfixturevalue("broker")
            settings["AMQP_URL"] = broker.url
        started = time.monotonic()
        post_id = await platform.publish(engine, creator)

        async def fans_out() -> bool:
            return bool(await platform.rows(engine, "SELECT 1 FROM deliveries LIMIT 1"))

        async def done() -> bool:
            query = "SELECT count(*) AS n FROM deliveries WHERE status = 'sent'"
            return bool((await platform.rows(engine, query))[0].n == SUBSCRIBERS)

        await killed_when(fans_out, settings, log)
        for _ in range(1, KILLS):
            enough = server.taken + server.chance.randint(1, max(2, SUBSCRIBERS // (2 * KILLS)))

            async def sent(enough: int = enough) -> bool:
                return server.taken >= enough

            await killed_when(sent, settings, log)
        await killed_when(done, settings, log)
        took = time.monotonic() - started
    found = await platform.rows(
        engine, "SELECT subscriber_id, status FROM deliveries WHERE post_id = :id", id=post_id
    )
    assert Counter(row.status for row in found) == {"sent": SUBSCRIBERS}
    assert len({row.subscriber_id for row in found}) == SUBSCRIBERS
    assert len(server.ledger) == SUBSCRIBERS
    assert all(len(set(ids)) == 1 for ids in server.ledger.values())
    assert len({ids[0] for ids in server.ledger.values()}) == SUBSCRIBERS
    extra = server.taken - SUBSCRIBERS
    assert extra <= KILLS
    print(
        f"{transport}: {SUBSCRIBERS} subscribers, {KILLS} kills, {extra} extra mails,"
        f" refused {dict(server.refused)}, {took:.1f} s"
    )

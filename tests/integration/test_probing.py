"""What `/health` knows of the mail server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from distill_grpc.app.probing import Probe
from distill_grpc.mail import smtp
from distill_grpc.mail.base import MailServerAway
from distill_grpc.mail.smtp import SmtpMailer
from tests.servers.smtp import mail_server


@asynccontextmanager
async def asked(url: str) -> AsyncIterator[Probe]:
    """A probe that asks again and again."""
    probe = Probe("mail", "mails wait", SmtpMailer.from_url(url).greet)
    task = asyncio.create_task(probe.run(every=0.02))
    try:
        async with asyncio.timeout(10):
            yield probe
    finally:
        task.cancel()


async def test_a_server_that_goes_away_is_noticed_and_that_it_comes_back() -> None:
    async with mail_server() as server:
        url = f"smtp://user:secret@127.0.0.1:{server.port}"
        async with asked(url) as probe:
            await asyncio.sleep(0.2)
            assert probe.away == ""
    async with asked(url) as probe:
        while not probe.away:
            await asyncio.sleep(0.01)
        assert probe.away.startswith("mails wait (")
        again = await asyncio.start_server(_greet, "127.0.0.1", server.port)
        async with again:
            while probe.away:
                await asyncio.sleep(0.01)


async def test_a_server_that_does_not_greet_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "GREETING", 0.2)
    silence = asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silence.wait()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(MailServerAway):
            await SmtpMailer.from_url(f"smtp://127.0.0.1:{port}").greet()
        silence.set()


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 here\r\n")
    while line := await reader.readline():
        writer.write(b"221 bye\r\n" if line[:4].upper() == b"QUIT" else b"250 ok\r\n")
    writer.close()

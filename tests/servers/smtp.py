"""A mail server that takes mail, or does what a test tells it to instead."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass
class MailServer:
    """What arrived, and the answers to come: each is for one message, then all are taken."""

    answers: list[str] = field(default_factory=list)  # to RCPT, such as `550 No such user`
    after_data: list[str] = field(default_factory=list)  # once the message was sent
    messages: list[EmailMessage] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)  # the messages as they came
    recipients: list[str] = field(default_factory=list)
    port: int = 0

    async def handle_RCPT(  # noqa: N802 -- aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any
    ) -> str:
        if self.answers:
            return self.answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 -- aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        if self.after_data:
            answer = self.after_data.pop(0)
            if answer == "silence":
                await asyncio.sleep(30)
            return answer
        content = envelope.content
        assert isinstance(content, bytes)
        message = message_from_bytes(content, policy=default)
        assert isinstance(message, EmailMessage)
        self.received.append(content)
        self.messages.append(message)
        self.recipients += envelope.rcpt_tos
        return "250 taken"


def header(content: bytes, name: str) -> str:
    """A header of a message that came: its bytes without line ends, nothing decoded."""
    head = content.partition(b"\r\n\r\n")[0]
    (found,) = re.findall(rb"(?mi)^%s:((?:.*\r\n[ \t])*.*)$" % name.encode(), head)
    return bytes(found).replace(b"\r\n", b"").strip().decode("ascii")


@asynccontextmanager
async def mail_server(*, utf8: bool = False) -> AsyncIterator[MailServer]:
    """A running server on a free port of the loopback address, which may know SMTPUTF8."""
    handler = MailServer()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, loop=loop, enable_SMTPUTF8=utf8), "127.0.0.1", 0
    )
    handler.port = server.sockets[0].getsockname()[1]
    try:
        yield handler
    finally:
        server.close()
        await server.wait_closed()

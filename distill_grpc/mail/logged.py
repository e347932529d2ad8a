"""What stands in for a mail server where none is configured."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage

import structlog

from distill_grpc.mail.base import masked

log = structlog.get_logger()


class LogMailer:
    """Logs that a mail would have been sent; text and whole address stay out of the log."""

    async def send(self, message: EmailMessage) -> None:
        """See `Mailer`; never fails."""
        log.info(
            "mail_not_sent",
            why="DISTILL_SMTP_URL is not set",
            to=masked(str(message["To"])),
            message_id=str(message["Message-ID"]),
        )

    @asynccontextmanager
    async def session(self) -> AsyncIterator[LogMailer]:
        """See `Mailer`."""
        yield self

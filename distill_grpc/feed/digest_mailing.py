"""Digests by mail: text and HTML, with an unsubscribe that takes one click (RFC 8058).

A mail waits in its row until a server took it. It may be sent twice where a worker dies between the
server's word and the note of it; both carry the same `Message-ID`, so mailboxes show one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from html import escape
from typing import Any

import structlog
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.feed import digest_pages
from distill_grpc.feed.link_tokens import LinkTokens
from distill_grpc.feed.store import digest_mails, preferences, summaries, watches
from distill_grpc.mail.base import MailDelayed, Mailer, MailRefused
from distill_grpc.mail.headers import address, offer_unsubscribe

log = structlog.get_logger()

UNSUBSCRIBE = "unsubscribe"
_ANOTHER_HOUR = "distill preferences set --hour 7"
BATCH = 20
LEASE = timedelta(minutes=3)
# Waits after each attempt; after the last one the mail is given up.
WAITS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 30, 120, 360, 720))


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestPost:
    """Sends the mails that are due."""

    engine: AsyncEngine
    mailer: Mailer
    tokens: LinkTokens
    sender: str  # address in `From`
    public_url: str  # of the REST door, without a slash at its end
    now: Callable[[], datetime] = clock.utc_now

    async def send_due(self) -> int:
        """Claims and sends what is due; returns how many mails were taken."""
        async with self.engine.begin() as connection:
            claimed = await digest_mails.claim_due(connection, self.now(), LEASE, BATCH)
        sent = 0
        for mail in claimed:
            sent += await self._send(mail)
        return sent

    async def _send(self, mail: Row[Any]) -> bool:
        message = await self._message(mail)
        if message is None:
            await self._note(
                mail, status="given_up", error="nothing to send, or nobody to send it to"
            )
            return False
        try:
            await self.mailer.send(message)
        except MailRefused as refused:
            log.warning("digest_mail_refused", why=str(refused))
            await self._note(mail, status="refused", error=str(refused))
            async with self.engine.begin() as connection:
                await preferences.update_preferences(connection, mail.user_id, mail=False)
            return False
        except MailDelayed as delayed:
            log.info("digest_mail_delayed", why=str(delayed), attempt=mail.attempts)
            if mail.attempts > len(WAITS):
                await self._note(mail, status="given_up", error=str(delayed))
            else:
                again = self.now() + WAITS[mail.attempts - 1]
                await self._note(mail, next_attempt_at=again, error=str(delayed))
            return False
        await self._note(mail, status="sent", error=None)
        return True

    async def _note(self, mail: Row[Any], **values: Any) -> None:
        async with self.engine.begin() as connection:
            await digest_mails.update_mail(connection, mail, **values)

    async def _message(self, mail: Row[Any]) -> EmailMessage | None:
        async with self.engine.connect() as connection:
            wanted = await preferences.get_preferences(connection, mail.user_id)
            watch = await watches.get_watch(connection, mail.user_id)
            row = await summaries.get_summary(
                connection, mail.user_id, mail.period, mail.date, mail.tz
            )
        if row is None or watch is None or watch.unwatched_at is not None or not watch.email:
            return None
        if wanted is None or not wanted.mail:
            return None
        return self.compose(row, watch.email)

    def compose(self, row: Row[Any], recipient: str) -> EmailMessage | None:
        """The mail of a digest; None where the recipient's address is none."""
        token = self.tokens.sign(row.user_id, UNSUBSCRIBE)
        stop = f"{self.public_url}/digests/{token}/unsubscribe"
        key = hashlib.sha256(digest_pages.identity(row).encode()).hexdigest()
        sender, receiver = address(self.sender, "Distill"), address(recipient)
        if sender is None or receiver is None:
            return None
        message = EmailMessage()
        message["From"], message["To"] = sender, receiver
        message["Subject"] = digest_pages.title(row)
        message["Date"] = format_datetime(row.generated_at)
        message["Message-ID"] = f"<digest.{key[:40]}@{sender.domain}>"
        offer_unsubscribe(message, stop)
        message["Auto-Submitted"] = "auto-generated"
        mend = f"{self.public_url}/preferences"
        message.set_content(
            f"{digest_pages.as_text(row)}\n-- \nNo more digests by mail: {stop}\n"
            f"At another hour: {_ANOTHER_HOUR}, or PUT {mend}\n"
        )
        title = escape(digest_pages.title(row))
        page = (
            f'<!doctype html><html><head><meta charset="utf-8"><title>{title}</title></head>'
            f"<body><h1>{title}</h1>{digest_pages.as_html(row)}<hr>"
            f'<p><a href="{escape(stop)}">Get no more digests by mail</a>. At another hour: '
            f"<code>{_ANOTHER_HOUR}</code>, or <code>PUT {escape(mend)}</code>.</p></body></html>"
        )
        message.add_alternative(page, subtype="html")
        return message

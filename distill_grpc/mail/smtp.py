"""Mail by SMTP: `smtp://[user:password@]host[:port]` (STARTTLS where offered), or `smtps://…`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

import aiosmtplib
import structlog

from distill_grpc.mail.base import (
    MailDelayed,
    MailRefused,
    MailServerAway,
    RecipientRefused,
    masked,
)
from distill_grpc.mail.wire import as_bytes

log = structlog.get_logger()

TIMEOUT = 20.0  # seconds for each answer of the server
GREETING = 5.0  # seconds for the greeting of a server that is only looked after
LARGEST = 2_000_000  # bytes of a message


@dataclass(frozen=True, slots=True)
class SmtpMailer:
    """Sends each message over a connection of its own, those of a session over one."""

    host: str
    port: int
    username: str | None
    password: str | None
    tls: bool
    timeout: float = TIMEOUT

    @classmethod
    def from_url(cls, url: str) -> SmtpMailer:
        """Raises ValueError where the address is none of a mail server."""
        parts = urlsplit(url)
        if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
            raise ValueError("must be a mail server's address, smtp://user:password@host:587")
        tls = parts.scheme == "smtps"
        return cls(
            host=parts.hostname,
            port=parts.port or (465 if tls else 587 if parts.username else 25),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=tls,
        )

    async def send(self, message: EmailMessage) -> None:
        """See `Mailer`. A password goes over an encrypted connection only, except to this machine."""
        async with self.session() as session:
            await session.send(message)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[SmtpSession]:
        """See `Mailer`; the connection is made with the first message, and anew where it is lost."""
        session = SmtpSession(self)
        try:
            yield session
        finally:
            await session.close()

    async def greet(self) -> None:
        """Raises `MailServerAway` where the server does not greet soon; does not log in."""
        client = aiosmtplib.SMTP(
            hostname=self.host,
            port=self.port,
            use_tls=self.tls,
            start_tls=False,
            timeout=GREETING,
        )
        try:
            async with asyncio.timeout(GREETING):
                await client.connect()
                await client.quit()
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise MailServerAway(type(error).__name__) from None
        finally:
            client.close()

    def client(self) -> aiosmtplib.SMTP:
        """A client that is not connected yet."""
        return aiosmtplib.SMTP(
            hostname=self.host,
            port=self.port,
            username=self.username,
            password=self.password,
            use_tls=self.tls,
            start_tls=self._start_tls(),
            timeout=self.timeout,
        )

    def _start_tls(self) -> bool | None:
        if self.tls:
            return False
        # None: where the server offers it.
        return (
            True if self.password and self.host not in {"localhost", "127.0.0.1", "::1"} else None
        )


class SmtpSession:
    """One connection to the server, for messages one after the other."""

    def __init__(self, mailer: SmtpMailer) -> None:
        self._mailer = mailer
        self._client: aiosmtplib.SMTP | None = None

    async def send(self, message: EmailMessage) -> None:
        """See `Mailer`."""
        body = as_bytes(message)
        if len(body) > LARGEST:
            raise MailRefused(f"the message is larger than {LARGEST} bytes")
        sender = str(message["From"].addresses[0].addr_spec)
        recipient = str(message["To"].addresses[0].addr_spec)
        client = await self._connected()
        try:
            await client.sendmail(sender, [recipient], body)
        except aiosmtplib.SMTPRecipientsRefused as error:
            refused = error.recipients[0]
            raise _outcome(refused.code, refused.message, RecipientRefused) from None
        except aiosmtplib.SMTPSenderRefused as error:
            # The operator's fault, not the recipient's: it can be mended.
            raise MailServerAway(f"the mail server refuses the sender: {error.code}") from None
        except aiosmtplib.SMTPResponseException as error:
            raise _outcome(error.code, error.message, MailRefused) from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            await self.close()
            raise MailDelayed(type(error).__name__) from None
        except asyncio.CancelledError:
            self._drop()  # in the middle of a message: it is good for nothing more
            raise
        log.info("mail_sent", to=masked(recipient), message_id=str(message["Message-ID"]))

    @asynccontextmanager
    async def session(self) -> AsyncIterator[SmtpSession]:
        """Itself."""
        yield self

    async def close(self) -> None:
        """Ends the connection, politely where the server still listens."""
        client, self._client = self._client, None
        if client is None or not client.is_connected:
            return
        try:
            await client.quit(timeout=2.0)
        except (aiosmtplib.SMTPException, OSError, TimeoutError):
            client.close()

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _connected(self) -> aiosmtplib.SMTP:
        if self._client is not None and self._client.is_connected:
            return self._client
        client = self._mailer.client()
        try:
            await client.connect()
        except aiosmtplib.SMTPAuthenticationError as error:
            # The operator's fault, not the recipient's: it can be mended.
            raise MailServerAway(f"the mail server refuses the login: {error.code}") from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise MailServerAway(type(error).__name__) from None
        self._client = client
        return client


def _outcome(code: int, text: str, refused: type[MailRefused]) -> Exception:
    """421: nobody's mail now; other 4xx: this one later; 5xx: never (RFC 5321, 4.2.1)."""
    told = f"{code} {' '.join(text.split())[:200]}"
    if code >= 500:
        return refused(told)
    return MailServerAway(told) if code == 421 else MailDelayed(told)

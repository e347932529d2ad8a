"""Mail by SMTP: `smtp://[user:password@]host[:port]` (STARTTLS where offered), or `smtps://…`."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from urllib.parse import unquote, urlsplit

import aiosmtplib
import structlog

from distill_grpc.mail.base import MailDelayed, MailRefused, masked

log = structlog.get_logger()

TIMEOUT = 20.0  # seconds for each answer of the server
LARGEST = 2_000_000  # bytes of a message


@dataclass(frozen=True, slots=True)
class SmtpMailer:
    """Sends each message over a connection of its own."""

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
        body = message.as_bytes(policy=SMTP)
        if len(body) > LARGEST:
            raise MailRefused(f"the message is larger than {LARGEST} bytes")
        try:
            await aiosmtplib.send(
                body,
                sender=str(message["From"].addresses[0].addr_spec),
                recipients=[str(message["To"].addresses[0].addr_spec)],
                hostname=self.host,
                port=self.port,
                username=self.username,
                password=self.password,
                use_tls=self.tls,
                start_tls=self._start_tls(),
                timeout=self.timeout,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _outcome(error.recipients[0].code, error.recipients[0].message) from None
        except aiosmtplib.SMTPAuthenticationError as error:
            # The operator's fault, not the recipient's: it can be mended.
            raise MailDelayed(f"the mail server refuses the login: {error.code}") from None
        except aiosmtplib.SMTPResponseException as error:
            raise _outcome(error.code, error.message) from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise MailDelayed(type(error).__name__) from None
        log.info("mail_sent", to=masked(str(message["To"])), message_id=str(message["Message-ID"]))

    def _start_tls(self) -> bool | None:
        if self.tls:
            return False
        # None: where the server offers it.
        return (
            True if self.password and self.host not in {"localhost", "127.0.0.1", "::1"} else None
        )


def _outcome(code: int, text: str) -> Exception:
    """4xx: later; 5xx: never (RFC 5321, 4.2.1)."""
    told = f"{code} {' '.join(text.split())[:200]}"
    return MailRefused(told) if code >= 500 else MailDelayed(told)

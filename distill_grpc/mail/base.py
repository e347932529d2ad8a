"""The seam for sending mail. Whoever writes a message keeps it until it is taken."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from email.message import EmailMessage
from typing import Protocol


class MailDelayed(Exception):  # noqa: N818 -- an outcome
    """The message was not taken; trying again later helps."""


class MailServerAway(MailDelayed):
    """No mail can be handed over at the moment, whoever it is for."""


class MailRefused(Exception):  # noqa: N818 -- an outcome
    """The message, or its recipient, is refused for good; trying again does harm."""


class RecipientRefused(MailRefused):
    """The recipient's address takes no mail; nothing more should be sent to it."""


class Mailer(Protocol):
    """Sends messages. A message has `From`, `To` with one address, and a stable `Message-ID`."""

    async def send(self, message: EmailMessage) -> None:
        """Hands a message over; raises `MailDelayed` or `MailRefused` where it was not taken.

        A message may arrive twice where a server falls silent after taking it; the `Message-ID` tells.
        """
        ...

    def session(self) -> AbstractAsyncContextManager[Mailer]:
        """A mailer for many messages, one after the other, over one connection where it can be."""
        ...


def masked(address: str) -> str:
    """An address as logs may show it: `a***@example.org`."""
    name, _, domain = address.rpartition("@")
    return f"{name[:1]}***@{domain}" if name else "***"

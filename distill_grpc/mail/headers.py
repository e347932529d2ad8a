"""Headers that every mail of this service has."""

from __future__ import annotations

from email.headerregistry import Address
from email.message import EmailMessage


def address(addr_spec: str, name: str = "") -> Address | None:
    """An address that any server takes; None where it is none that mail can go to.

    A domain beyond ASCII is spelled as DNS spells it, as not every server knows SMTPUTF8.
    """
    local, _, domain = addr_spec.rpartition("@")
    try:
        if not domain.isascii():
            addr_spec = f"{local}@{domain.encode('idna').decode()}"
        return Address(name, addr_spec=addr_spec)
    except (ValueError, IndexError):
        return None


def offer_unsubscribe(message: EmailMessage, url: str) -> None:
    """Says where a mail program can end such mails with one click (RFC 2369, RFC 8058)."""
    message["List-Unsubscribe"] = f"<{url}>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"

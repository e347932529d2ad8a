"""A message as the bytes that a mail server is given."""

from __future__ import annotations

import re
from email.message import EmailMessage
from email.policy import EmailPolicy
from typing import Any

_WANTED = 78  # characters of a line, where words are short enough (RFC 5322, 2.1.1)
_LONGEST = 998  # of a line, for words that are not
_WORD = re.compile(r" *[^ ]+")


class _WirePolicy(EmailPolicy):
    """SMTP's, but what is ASCII is folded between words only.

    The library would write a word that is longer than a line as encoded words (RFC 2047), which nobody
    decodes in an address of `List-Unsubscribe`.
    """

    def fold_binary(self, name: str, value: Any) -> bytes:
        return _folded(name, str(value)) or super().fold_binary(name, value)


_POLICY = _WirePolicy(linesep="\r\n")


def as_bytes(message: EmailMessage) -> bytes:
    """The whole message; its headers are ASCII."""
    return message.as_bytes(policy=_POLICY)


def _folded(name: str, value: str) -> bytes:
    """A header with line ends; empty where it cannot be written without encoding."""
    if not (value.isascii() and value.isprintable()):
        return b""
    lines = [f"{name}:"]
    for word in _WORD.findall(f" {value.strip()}"):
        # Nothing but a name on a line is allowed, but not everywhere understood.
        most = _LONGEST if lines == [f"{name}:"] else _WANTED
        if len(lines[-1]) + len(word) <= most:
            lines[-1] += word
        else:
            lines.append(word)
    if any(len(line) > _LONGEST for line in lines):
        return b""
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")

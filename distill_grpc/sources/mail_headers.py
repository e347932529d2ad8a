"""Headers of messages, however broken: decoded, on one line, and never a reason to fail."""

from __future__ import annotations

import re
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import getaddresses

from distill_grpc.sources import text

_MAX_VALUE = 10_000  # characters of one header that are looked at
_MESSAGE_ID = re.compile(r"<([^<>\s]{1,900})>")
_CHARSETS = {"unknown-8bit": "utf-8", "utf8mb4": "utf-8", "cp-850": "cp850", "x-gbk": "gbk",
             "ks_c_5601-1987": "cp949", "iso-8859-8-i": "iso-8859-8"}  # fmt: skip


def value(message: Message, name: str) -> str:
    """The first header of that name, decoded; empty where there is none."""
    for key, raw in message.raw_items():
        if key.lower() == name:
            return decoded(str(raw)[:_MAX_VALUE])
    return ""


def decoded(raw: str) -> str:
    """A header's value with its encoded words (RFC 2047) and raw bytes (RFC 6532) as text."""
    plain = " ".join(_from_bytes(raw.encode("utf-8", "surrogateescape")).split())
    if "=?" not in plain:
        return text.one_line(plain, _MAX_VALUE)
    try:
        pieces = decode_header(plain)
    except (HeaderParseError, ValueError):
        return text.one_line(plain, _MAX_VALUE)
    words = [
        p if isinstance(p, str) else decoded_bytes(p, charset or "utf-8") for p, charset in pieces
    ]
    return text.one_line("".join(words), _MAX_VALUE)


def addresses(message: Message, name: str) -> list[str]:
    """`Name <address>` of everybody in a header, 20 at the most."""
    raw = value(message, name)
    try:
        found = getaddresses([raw])
    except (ValueError, IndexError):
        found = []
    people = [f"{who} <{where}>" if who and where else who or where for who, where in found[:20]]
    told = [text.one_line(person, text.MAX_AUTHOR) for person in people if person.strip()]
    return told or ([text.one_line(raw, text.MAX_AUTHOR)] if raw else [])


def message_ids(message: Message, name: str) -> list[str]:
    """The message ids in a header, in order, without their brackets."""
    found = _MESSAGE_ID.findall(value(message, name))
    return [text.one_line(id_, 900) for id_ in found][:50]


def decoded_bytes(raw: bytes, charset: str) -> str:
    """Bytes as text: in the named charset, else in UTF-8, else in the one of Western Europe."""
    named = charset.strip().strip("\"'").lower()
    for name in (_CHARSETS.get(named, named), "utf-8"):
        try:
            return raw.decode(name)
        except (LookupError, ValueError):
            continue
    try:
        # Mostly right, with a few wrong bytes: the charset that was named knows best.
        said = raw.decode(_CHARSETS.get(named, named), "replace")
    except (LookupError, ValueError):
        return raw.decode("cp1252", "replace")
    return said if said.count("\ufffd") * 20 <= len(said) else raw.decode("cp1252", "replace")


def _from_bytes(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")

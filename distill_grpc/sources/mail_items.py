"""Messages become items. What identifies a message is its Message-ID and all of its bytes.

A Message-ID alone would let anybody replace a message by sending another with the same one; the bytes
alone are the same in every folder and survive a mailbox that numbers its messages anew.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from distill_grpc.sources import text
from distill_grpc.sources.base import Item

MAX_MESSAGE = 25 * 1024 * 1024  # bytes

FAILURES: Mapping[str, str] = {
    "too_large": "it has more than 25 MB",
    "too_many_parts": "it has more than 100 parts",
    "too_deep": "its parts are nested too deeply",
    "parser_failed": "it cannot be parsed",
    "not_sent": "the server could not send it",
}

_INTERNALDATE = re.compile(
    rb'INTERNALDATE "([ 0-3]?\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)"'
)
_SIZE = re.compile(rb"RFC822\.SIZE (\d{1,12})")
_THREAD = re.compile(rb"X-GM-THRID (\d{1,20})")
_MONTHS = {m: n for n, m in enumerate(
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)}  # fmt: skip


def identity(document: bytes) -> str:
    """The platform id of a message: the same wherever and under whatever number it lies."""
    return hashlib.sha256(document).hexdigest()[:32]


def size_of(told: bytes) -> int:
    """Bytes, as the server says in what it tells of a message; 0 where it does not."""
    match = _SIZE.search(told)
    return int(match[1]) if match else 0


def arrived_at(told: bytes) -> datetime | None:
    """When the server got the message, which nobody can forge; None where it does not tell."""
    match = _INTERNALDATE.search(told)
    if match is None:
        return None
    day, month, year, hour, minute, second, sign, hours, minutes = match.groups()
    try:
        local = datetime(
            *(int(year), _MONTHS[month.decode().lower()], int(day)),
            *(int(hour), int(minute), min(int(second), 59)),
            tzinfo=UTC,
        )
        zone = timedelta(hours=int(hours), minutes=int(minutes))
        return local - zone if sign == b"+" else local + zone
    except (KeyError, ValueError, OverflowError):
        return None


def item_of(
    message: Mapping[str, Any], *, id_: str, folder: str, told: bytes, now: datetime
) -> Item:
    """The item of a message as `mail_messages.read` gives it."""
    attachments = message["attachments"]
    arrived = arrived_at(told)
    thread = _THREAD.search(told)
    raw = {name: message[name] for name in _RAW if message[name]}
    raw |= {"folder": text.clean(folder), "size": size_of(told)}
    failure = message.get("failure", "")
    if failure:
        raw["failure"] = failure
    return Item(
        platform_id=id_,
        published_at=min(arrived, now) if arrived else None,
        content=_content(message, attachments, failure),
        author=message["from"],
        title=message["subject"],
        kind=message["kind"],
        thread_id=(thread[1].decode() if thread else message["thread"])[:500],
        tags=(message["list_id"],) if message["list_id"] else (),
        raw=raw,
    )


_RAW = ("message_id", "in_reply_to", "subject", "from", "to", "date", "list_id", "folded",
        "attachments")  # fmt: skip


def _content(message: Mapping[str, Any], attachments: list[Any], failure: str) -> str:
    said = message["text"]
    if failure:
        said = f"(This message could not be read: {FAILURES[failure]}.)"
    if attachments:
        names = ", ".join(attachment["name"] for attachment in attachments)
        said = f"{said}\n\nAttached: {names}".strip()
    return text.shorten(said or message["subject"] or "(no text)", text.MAX_CONTENT)

"""A message's bytes become plain JSON: who wrote what to whom. Runs inside the sandbox.

`read` answers with `{"subject", "from", "to", "message_id", "thread", "list_id", "kind", "text",
"folded", "attachments", "date"}`, and with `"failure"` beside them where the body cannot be had: then
`text` is empty and the headers are as good as they are.
"""

from __future__ import annotations

import email
import re
from collections.abc import Iterator, Mapping
from email import policy
from email.message import Message
from typing import Any

from distill_grpc.sources import mail_headers, mail_text, text

MAX_PARTS = 100
MAX_DEPTH = 20

_MAX_ATTACHMENTS = 50
_MAX_HEAD = 256 * 1024  # bytes of headers that are parsed
_MAX_BODY = 2_000_000  # bytes of one part that are decoded
_STUB = 60  # characters below which a text beside much HTML only says `see the HTML`
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")


class _Unreadable(Exception):  # noqa: N818 -- as in `base.py`
    """Why a body cannot be read: a short word."""


def read(header: Mapping[str, Any], document: bytes) -> dict[str, Any]:
    """What stands in a message; with `header["only_head"]` only its headers are looked at."""
    head = _parsed(_head_of(document))
    answer = _headers(head)
    if header.get("only_head"):
        return answer
    try:
        message = _parsed(document)
        parts = list(_leaves(message, 0, [0]))
        said, folded = _said(message, parts)
    except _Unreadable as why:
        return answer | {"failure": str(why)}
    except RecursionError:
        return answer | {"failure": "too_deep"}
    attachments = [found for part in parts if (found := _attachment(part))][:_MAX_ATTACHMENTS]
    return answer | {
        "text": text.shorten(said, text.MAX_CONTENT),
        "folded": folded,
        "attachments": attachments,
    }


def _parsed(document: bytes) -> Message:
    # The old policy parses no header by itself, so that none can make it fail.
    return email.message_from_bytes(document, policy=policy.compat32)


def _head_of(document: bytes) -> bytes:
    match = _BLANK_LINE.search(document[:_MAX_HEAD])
    return document[: match.end()] if match else document[:_MAX_HEAD]


def _headers(message: Message) -> dict[str, Any]:
    own = (mail_headers.message_ids(message, "message-id") or [""])[0]
    before = [
        *mail_headers.message_ids(message, "references"),
        *mail_headers.message_ids(message, "in-reply-to"),
    ]
    listed = mail_headers.value(message, "list-id")
    named = re.search(r"<([^<>\s]+)>", listed)
    return {
        "subject": text.one_line(mail_headers.value(message, "subject"), text.MAX_TITLE),
        "from": (mail_headers.addresses(message, "from") or [""])[0],
        "to": mail_headers.addresses(message, "to"),
        "date": mail_headers.value(message, "date")[:100],
        "message_id": own,
        # The first message of all is what a conversation has in common.
        "thread": (before or [own])[0],
        "in_reply_to": before[-1] if before else "",
        "list_id": text.one_line(named[1] if named else listed, 200),
        "kind": _kind(message, listed),
        "text": "",
        "folded": "",
        "attachments": [],
    }


def _kind(message: Message, listed: str) -> str:
    if mail_headers.value(message, "content-type").lower().startswith("multipart/report"):
        return "report"
    if mail_headers.value(message, "list-post"):
        return "mailing_list"
    return "newsletter" if listed or mail_headers.value(message, "list-unsubscribe") else "mail"


def _leaves(part: Message, depth: int, count: list[int]) -> Iterator[Message]:
    """The parts that are not made of parts, in order; messages that are attached stay whole."""
    count[0] += 1
    if count[0] > MAX_PARTS:
        raise _Unreadable("too_many_parts")
    if depth > MAX_DEPTH:
        raise _Unreadable("too_deep")
    payload = _payload(part)
    if part.get_content_maintype() != "multipart" or not isinstance(payload, list):
        yield part
        return
    inside = [inner for inner in payload if isinstance(inner, Message)]
    if part.get_content_subtype() == "alternative":
        yield from _chosen(inside, depth, count)
        return
    for inner in inside:
        yield from _leaves(inner, depth + 1, count)


def _payload(part: Message) -> Any:
    """What a part holds, as it stands there: parts, or text."""
    try:
        return part.get_payload()
    except Exception:  # a charset that is none, which Python looks at even here
        part.del_param("charset")
        return part.get_payload()


def _chosen(parts: list[Message], depth: int, count: list[int]) -> Iterator[Message]:
    """Of several forms of the same: plain text where it says as much, else HTML; and the rest."""
    leaves = [leaf for part in parts for leaf in _leaves(part, depth + 1, count)]
    plain = [leaf for leaf in leaves if _is_text(leaf, "plain")]
    rich = [leaf for leaf in leaves if _is_text(leaf, "html")]
    if plain and rich:
        words = "".join(_decoded(leaf) for leaf in plain).strip()
        shown = mail_text.of_html("".join(_decoded(leaf) for leaf in rich))[0]
        stub = len(words) < _STUB and len(shown) > 3 * len(words)
        worse = plain if not words or stub else rich
        leaves = [leaf for leaf in leaves if not any(leaf is other for other in worse)]
    yield from leaves


def _said(message: Message, parts: list[Message]) -> tuple[str, str]:
    said: list[str] = []
    folded: list[str] = []
    for part in parts:
        if _is_text(part, "html"):
            own, quoted = mail_text.of_html(_decoded(part))
        elif _is_text(part, "plain") or (part is message and not _attachment(part)):
            words = _decoded(part)
            if str(part.get_param("format", "")).lower() == "flowed":
                delete = str(part.get_param("delsp", "")).lower() == "yes"
                words = mail_text.unflowed(words, delete_space=delete)
            own, quoted = mail_text.fold(words)
        else:
            continue
        said.append(own)
        folded.append(quoted)
    return "\n\n".join(filter(None, said)), "\n".join(filter(None, folded))


def _is_text(part: Message, subtype: str) -> bool:
    shown = part.get_content_type() == f"text/{subtype}" and not part.is_multipart()
    return shown and _disposition(part) != "attachment" and not _filename(part)


def _decoded(part: Message) -> str:
    try:
        raw = part.get_payload(decode=True)
    except Exception:  # whatever a transfer encoding that is none makes Python stumble over
        raw = None
    if not isinstance(raw, bytes):
        payload = _payload(part)
        raw = payload.encode("utf-8", "surrogateescape") if isinstance(payload, str) else b""
    return mail_headers.decoded_bytes(raw[:_MAX_BODY], _parameter(part, "charset") or "utf-8")


def _attachment(part: Message) -> dict[str, Any] | None:
    """The name, kind and size of what is attached, or None for text that is shown."""
    if _is_text(part, "plain") or _is_text(part, "html"):
        return None
    kind = part.get_content_type()
    name = _filename(part)
    if not name and kind == "message/rfc822":
        payload = _payload(part)
        inner = payload[0] if isinstance(payload, list) and payload else None
        name = mail_headers.value(inner, "subject") if isinstance(inner, Message) else ""
    if not name and kind.startswith(("text/", "message/delivery-status")):
        return None
    payload = _payload(part)
    size = len(payload) * 3 // 4 if isinstance(payload, str) else 0
    return {
        "name": text.one_line(name or "(no name)", 200),
        "type": text.one_line(kind, 100),
        "size": size,
    }


def _filename(part: Message) -> str:
    for name, header in (("filename", "content-disposition"), ("name", "content-type")):
        if found := _parameter(part, name, header):
            return mail_headers.decoded(found)
    return ""


def _disposition(part: Message) -> str:
    return mail_headers.value(part, "content-disposition").partition(";")[0].strip().lower()


def _parameter(part: Message, name: str, header: str = "content-type") -> str:
    try:
        found = part.get_param(name, "", header)
    except Exception:  # parameters broken in a way that Python's parser does not expect
        return ""
    if isinstance(found, tuple):  # RFC 2231
        charset, _, encoded = found
        raw = str(encoded).encode("latin-1", "replace")
        return mail_headers.decoded_bytes(raw, charset or "utf-8")
    return str(found)

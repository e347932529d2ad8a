"""Bodies that are no JSON: `google.api.HttpBody` carries them as they are, in requests and answers.

Their bytes are never looked at here; a request's content type is handed on where it is printable.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf.message import Message

_LONGEST_TYPE = 255
_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}(?:;\s?charset=[\w-]{1,20})?", re.ASCII)


def fill_raw(target: Message, body: bytes, content_type: str) -> None:
    """Puts a request's body into its field."""
    raw: Any = target
    raw.data = body
    if content_type.isascii() and content_type.isprintable() and len(content_type) <= _LONGEST_TYPE:
        raw.content_type = content_type
    raw.SetInParent()


def raw_of(response: Message) -> tuple[bytes, str]:
    """Body and content type of an answer: the type, if it is one and nothing that a browser would run."""
    raw: Any = response
    told: str = raw.content_type
    kind = told.partition(";")[0].strip().lower()
    safe = _TYPE.fullmatch(told) and kind not in {"text/html", "application/xhtml+xml"}
    return raw.data, told if safe else "application/octet-stream"

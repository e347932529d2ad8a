"""Bodies that are no JSON: `google.api.HttpBody` carries them as they are, in requests and answers.

Their bytes are never looked at here; a request's content type is handed on where it is printable.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

_LONGEST_TYPE = 255


def is_raw(descriptor: Descriptor) -> bool:
    """True for the message that stands for any body."""
    return bool(descriptor.full_name == "google.api.HttpBody")


def fill_raw(target: Message, body: bytes, content_type: str) -> None:
    """Puts a request's body into its field."""
    raw: Any = target
    raw.data = body
    if content_type.isascii() and content_type.isprintable() and len(content_type) <= _LONGEST_TYPE:
        raw.content_type = content_type
    raw.SetInParent()


def raw_of(response: Message) -> tuple[bytes, str]:
    """Body and content type of an answer."""
    raw: Any = response
    return raw.data, raw.content_type or "application/octet-stream"

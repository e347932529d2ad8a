"""Page tokens: opaque, and good only for the user and the query that they were made for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any

import orjson

from distill_grpc.errors import DistillError, invalid_argument

_TAG = 16


class PageTokens:
    """Makes and reads page tokens. The key is shared by every core of the service."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, position: dict[str, Any], *, user_id: str, query: dict[str, Any]) -> str:
        """A token that says where the next page of this query begins."""
        payload = orjson.dumps(position)
        tag = self._tag(payload, user_id, query)
        return _text(tag + payload)

    def read(self, token: str, *, user_id: str, query: dict[str, Any]) -> dict[str, Any]:
        """The position in a token; INVALID_ARGUMENT where it is not for this user and query."""
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (binascii.Error, ValueError):
            raise _wrong() from None
        if _text(raw) != token:  # base64 has several spellings of the same bytes
            raise _wrong()
        tag, payload = raw[:_TAG], raw[_TAG:]
        if not hmac.compare_digest(tag, self._tag(payload, user_id, query)):
            raise _wrong()
        position: dict[str, Any] = orjson.loads(payload)
        return position

    def _tag(self, payload: bytes, user_id: str, query: dict[str, Any]) -> bytes:
        bound = orjson.dumps([user_id, query], option=orjson.OPT_SORT_KEYS)
        message = len(bound).to_bytes(4, "big") + bound + payload
        return hmac.digest(self._key, message, hashlib.sha256)[:_TAG]


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _wrong() -> DistillError:
    return invalid_argument(
        {
            "page_token": "must be the next_page_token of an answer to the same user "
            "with the same parameters"
        }
    )

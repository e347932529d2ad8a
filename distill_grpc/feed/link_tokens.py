"""Tokens in addresses that work without a login: signed ones, and the hashes of random ones."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass

_MAC = 20  # bytes


@dataclass(frozen=True, slots=True)
class LinkTokens:
    """Signs user ids for one purpose each."""

    key: bytes

    def sign(self, user_id: str, purpose: str) -> str:
        """A token for an address; the same for the same user and purpose."""
        named = user_id.encode()
        return f"{_text(named)}.{_text(self._mac(named, purpose))}"

    def read(self, token: str, purpose: str) -> str | None:
        """The user of a token; None where it was not signed here for that purpose."""
        try:
            user_id = _bytes(token.partition(".")[0]).decode()
            given = token.encode("ascii")
        except ValueError:
            return None
        # Whole tokens are compared, as base64 spells some bytes in several ways.
        expected = self.sign(user_id, purpose).encode()
        return user_id if hmac.compare_digest(given, expected) else None

    def _mac(self, named: bytes, purpose: str) -> bytes:
        return hmac.digest(self.key, purpose.encode() + b"\0" + named, "sha256")[:_MAC]


def new_token() -> str:
    """A token that cannot be guessed."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> bytes:
    """What is stored of it."""
    return hashlib.sha256(token.encode()).digest()


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    # The alphabet is checked, as the decoder would skip what is not in it.
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)

"""What is stored of secrets: sealed for the row that holds it, and opened only there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Row

from distill_grpc.encryption import CannotDecrypt, Keyring
from distill_grpc.errors import DistillError, ErrorReason


@dataclass(frozen=True, slots=True)
class Vault:
    """Seals and opens the credentials and tokens of connections."""

    keyring: Keyring

    def seal_credentials(self, user_id: str, source: str, credentials: Mapping[str, Any]) -> bytes:
        """What `connections.credentials` holds."""
        return self._seal(credentials_context(user_id, source), credentials)

    def open_credentials(self, row: Row[Any]) -> Mapping[str, Any]:
        """What a row of `connections` holds; raises NO_PLATFORM_AUTH where no key opens it."""
        if row.credentials is None:
            return {}
        try:
            return self._open(credentials_context(row.user_id, row.source), row.credentials)
        except CannotDecrypt:
            raise DistillError(
                ErrorReason.NO_PLATFORM_AUTH,
                "The stored credentials cannot be read any more. Connect the account again.",
            ) from None

    def seal_tokens(self, user_id: str, source: str, tokens: Mapping[str, Any]) -> bytes:
        """What `platform_tokens.tokens` holds."""
        return self._seal(tokens_context(user_id, source), tokens)

    def open_tokens(self, user_id: str, source: str, sealed: bytes | None) -> Mapping[str, Any]:
        """What `platform_tokens.tokens` holds; nothing where no key opens it, as tokens come again."""
        if sealed is None:
            return {}
        try:
            return self._open(tokens_context(user_id, source), sealed)
        except CannotDecrypt:
            return {}

    def _seal(self, context: tuple[str, ...], values: Mapping[str, Any]) -> bytes:
        return self.keyring.seal(orjson.dumps(values), context=context)

    def _open(self, context: tuple[str, ...], sealed: bytes) -> Mapping[str, Any]:
        opened: Mapping[str, Any] = orjson.loads(self.keyring.open(sealed, context=context))
        return opened


def credentials_context(user_id: str, source: str) -> tuple[str, ...]:
    """Names the place of sealed credentials."""
    return ("connections", "credentials", user_id, source)


def tokens_context(user_id: str, source: str) -> tuple[str, ...]:
    """Names the place of sealed tokens."""
    return ("platform_tokens", "tokens", user_id, source)

"""Passwords: argon2id, in threads, at the same cost whether there is an account or not.

m=19 MiB, t=2, p=1 is OWASP's first choice. The text is hashed in NFC, so that a password typed on
another keyboard is the same one.
"""

from __future__ import annotations

import secrets
import unicodedata
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from distill_grpc.errors import invalid_argument
from distill_grpc.publishing.threads import BoundedThreads

SHORTEST, LONGEST = 8, 128  # characters


class Passwords:
    """Hashes and verifies, two at a time."""

    def __init__(self, threads: BoundedThreads) -> None:
        self._threads = threads
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

    async def hash(self, password: str) -> str:
        """The hash to store; raises INVALID_ARGUMENT for a length that is not allowed."""
        text = _checked(password)
        return await self._threads.run(self._hasher.hash, text)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether this is the password of the hash; for None, no, after the same work."""
        return await self._threads.run(self._verify, stored, _normalised(password))

    def is_outdated(self, stored: str) -> bool:
        """True where the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    @cached_property
    def _nobodys(self) -> str:
        return self._hasher.hash(secrets.token_urlsafe(32))

    def _verify(self, stored: str | None, password: str) -> bool:
        nobodys = self._nobodys  # made before anybody's, lest the first stranger take longer
        try:
            self._hasher.verify(stored or nobodys, password)
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None


def _checked(password: str) -> str:
    text = _normalised(password)
    if not SHORTEST <= len(text) <= LONGEST:
        rule = f"must have from {SHORTEST} to {LONGEST} characters"
        raise invalid_argument({"password": rule})
    return text


def _normalised(password: str) -> str:
    return unicodedata.normalize("NFC", password)

"""Encryption of stored credentials: AES-256-GCM under a ring of keys, each value bound to its row.

A sealed value describes itself: one version byte, the id of its key (8 bytes), the nonce (12 bytes),
and the ciphertext with its tag. The row's identity goes in as associated data, so a value that is
copied to another row does not open there. Format and nonce length follow NIST SP 800-38D; random
nonces are sound for 2^32 values under one key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from distill_grpc import key_files
from distill_grpc.key_files import KeyFileError

__all__ = ["CannotDecrypt", "KeyFileError", "Keyring"]

KEY_BYTES = 32
_VERSION = 1
_ID_BYTES = 8
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEADER_BYTES = 1 + _ID_BYTES
_SMALLEST = _HEADER_BYTES + _NONCE_BYTES + _TAG_BYTES


class CannotDecrypt(Exception):  # noqa: N818 -- an answer to the caller, not a fault of the code
    """A sealed value does not open: wrong row, changed bytes or a key that is gone. Says no more."""

    def __init__(self) -> None:
        super().__init__("the stored value cannot be decrypted")


class Keyring:
    """Keys for stored credentials: the newest seals, all of them open."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Takes raw keys of 32 bytes, newest first. Raises ValueError for anything else."""
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"at least one key is needed, each of {KEY_BYTES} bytes")
        self._keys = tuple(keys)
        self._ciphers: Mapping[bytes, AESGCM] = {_key_id(key): AESGCM(key) for key in keys}
        self._current = _key_id(keys[0])

    @classmethod
    def load(cls, keys: Sequence[str], data_dir: Path) -> Keyring:
        """The ring of these keys (base64 or base64url, newest first), else of the local key.

        The local key is `<data_dir>/keys/credentials.key`, made on first use. Raises ValueError
        (one line, no key in it) for a wrong key, and `KeyFileError` for an unusable file.
        """
        if keys:
            return cls([_decode(text, f"key {n}") for n, text in enumerate(keys, start=1)])
        path = data_dir / "keys" / "credentials.key"
        stored = key_files.read_or_create(path, _new_key)
        try:
            return cls([_decode(stored.decode("ascii"), "the key")])
        except ValueError:
            raise KeyFileError(
                f"the key file {path} does not hold {KEY_BYTES} bytes in base64"
            ) from None

    @property
    def current_key_id(self) -> str:
        """The id, in hex, of the key that seals."""
        return self._current.hex()

    @property
    def key_ids(self) -> frozenset[str]:
        """The ids, in hex, of all keys that open."""
        return frozenset(key_id.hex() for key_id in self._ciphers)

    def seal(self, plaintext: bytes, *, context: Sequence[str]) -> bytes:
        """`plaintext` sealed for the row that `context` names, such as `(user_id, source)`."""
        header = bytes([_VERSION]) + self._current
        nonce = os.urandom(_NONCE_BYTES)
        cipher = self._ciphers[self._current]
        return header + nonce + cipher.encrypt(nonce, plaintext, _bound_to(header, context))

    def open(self, sealed: bytes, *, context: Sequence[str]) -> bytes:
        """What was sealed for this row. Raises `CannotDecrypt`."""
        header, rest = sealed[:_HEADER_BYTES], sealed[_HEADER_BYTES:]
        cipher = self._ciphers.get(_id_in(sealed))
        if cipher is None:
            raise CannotDecrypt
        try:
            return cipher.decrypt(
                rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], _bound_to(header, context)
            )
        except InvalidTag:
            raise CannotDecrypt from None

    def digests(self, value: bytes, *, purpose: str) -> tuple[bytes, ...]:
        """Keyed hashes of `value`, one by each key, newest first: what to store, and what to know again.

        Who has no key cannot try guesses against them.
        """
        told = f"distill {purpose}".encode() + b"\0" + value
        return tuple(hmac.digest(key, told, hashlib.sha256) for key in self._keys)

    def key_id_of(self, sealed: bytes) -> str:
        """The id, in hex, of the key that sealed this; rotation looks for those that are not current.

        Raises `CannotDecrypt` where it is no sealed value.
        """
        return _id_in(sealed).hex()


def _id_in(sealed: bytes) -> bytes:
    if len(sealed) < _SMALLEST or sealed[0] != _VERSION:
        raise CannotDecrypt
    return sealed[1:_HEADER_BYTES]


def _key_id(key: bytes) -> bytes:
    # Derived from the key, so that operators list keys and name none; one-way, so it tells nothing.
    return hmac.digest(key, b"distill credential key id", hashlib.sha256)[:_ID_BYTES]


def _bound_to(header: bytes, context: Sequence[str]) -> bytes:
    """Associated data; lengths stand before the parts, so that ("ab", "c") is not ("a", "bc")."""
    parts = [part.encode() for part in context]
    counted = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return b"distill credentials" + header + len(parts).to_bytes(4, "big") + counted


def _new_key() -> bytes:
    return base64.b64encode(os.urandom(KEY_BYTES)) + b"\n"


def _decode(text: str, name: str) -> bytes:
    """32 bytes from base64 or base64url, padded or not."""
    plain = text.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        key = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{name} is not base64; it must be {KEY_BYTES} bytes in base64") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"{name} has {len(key)} bytes; it must be {KEY_BYTES} bytes in base64")
    return key

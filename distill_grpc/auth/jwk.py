"""RSA public keys as JSON Web Keys (RFC 7517, RFC 7518 section 6.3) and their thumbprints (RFC 7638)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from distill_grpc.auth import base64url

ALGORITHM = "RS256"
MIN_BITS = 2048
MAX_BITS = 8192  # beyond that, one verification costs so much that it is a weapon
MAX_EXPONENT_BITS = 64


def to_jwk(key: RSAPublicKey) -> dict[str, str]:
    """The key as a JWK for verifying signatures; its id is its thumbprint."""
    return {"kty": "RSA", "use": "sig", "alg": ALGORITHM, "kid": thumbprint(key), **_numbers(key)}


def from_jwk(jwk: Mapping[str, Any]) -> RSAPublicKey:
    """The RSA key for verifying RS256 in `jwk`. Raises ValueError, saying why it is none."""
    if jwk.get("kty") != "RSA":
        raise ValueError("not an RSA key")
    operations = jwk.get("key_ops", ["verify"])
    for_verifying = isinstance(operations, list) and "verify" in operations
    if jwk.get("use", "sig") != "sig" or not for_verifying:
        raise ValueError("not meant for verifying signatures")
    if jwk.get("alg", ALGORITHM) != ALGORITHM:
        raise ValueError("meant for another algorithm")
    if "d" in jwk:
        raise ValueError("its private part is published")
    modulus, exponent = _number(jwk, "n"), _number(jwk, "e")
    if not MIN_BITS <= modulus.bit_length() <= MAX_BITS:
        raise ValueError(f"not of {MIN_BITS} to {MAX_BITS} bits")
    if exponent.bit_length() > MAX_EXPONENT_BITS:
        raise ValueError("its exponent is too large")
    return RSAPublicNumbers(exponent, modulus).public_key()


def thumbprint(key: RSAPublicKey) -> str:
    """The SHA-256 thumbprint of the key, in base64url."""
    canonical = json.dumps({"kty": "RSA", **_numbers(key)}, sort_keys=True, separators=(",", ":"))
    return base64url.encode(hashlib.sha256(canonical.encode()).digest())


def _numbers(key: RSAPublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    return {"n": _text(numbers.n), "e": _text(numbers.e)}


def _text(number: int) -> str:
    return base64url.encode(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _number(jwk: Mapping[str, Any], name: str) -> int:
    text = jwk.get(name)
    if not isinstance(text, str) or not text:
        raise ValueError(f"has no {name}")
    return int.from_bytes(base64url.decode(text), "big")

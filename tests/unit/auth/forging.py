"""Tokens made by hand: whatever a library would refuse to sign."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from distill_grpc.auth import TrustedIssuer, base64url, jwk

NOW = 1_800_000_000
ISS = "https://clerk.example.test"

Json = Any


class Signer:
    """An issuer with one RSA key; also a key source for the verifier."""

    def __init__(self, kid: str = "ins_1", bits: int = 2048) -> None:
        self.private = rsa.generate_private_key(public_exponent=65_537, key_size=bits)
        self.public = self.private.public_key()
        self.kid = kid
        self.asked: list[str] = []

    async def key(self, kid: str) -> rsa.RSAPublicKey | None:
        self.asked.append(kid)
        return self.public if kid == self.kid else None

    def header(self, **changes: Json) -> dict[str, Json]:
        return {"alg": "RS256", "typ": "JWT", "kid": self.kid, **changes}

    def jwk(self, **changes: Json) -> dict[str, Json]:
        return {**jwk.to_jwk(self.public), "kid": self.kid, **changes}

    def sign(self, claims: Json, header: Json = None) -> str:
        """A token with a good signature over any header and claims (bytes are taken as they are)."""
        signing_input = f"{_part(self.header() if header is None else header)}.{_part(claims)}"
        signature = self.private.sign(signing_input.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signing_input}.{base64url.encode(signature)}"

    def trusted(self, **changes: Json) -> TrustedIssuer:
        return TrustedIssuer(**{"iss": ISS, "keys": self, **changes})


def good_claims(**changes: Json) -> dict[str, Json]:
    return {
        "iss": ISS,
        "sub": "user_1",
        "user_id": "user_1",
        "email": "user@example.com",
        "credits_available": True,
        "iat": NOW - 10,
        "nbf": NOW - 15,
        "exp": NOW + 50,
        **changes,
    }


def without(claims: Mapping[str, Json], *names: str) -> dict[str, Json]:
    return {name: value for name, value in claims.items() if name not in names}


def resigned_parts(header: Json, claims: Json, signature: bytes) -> str:
    return f"{_part(header)}.{_part(claims)}.{base64url.encode(signature)}"


def signing_input(header: Json, claims: Json) -> bytes:
    return f"{_part(header)}.{_part(claims)}".encode()


def _part(value: Json) -> str:
    return base64url.encode(value if isinstance(value, bytes) else json.dumps(value).encode())

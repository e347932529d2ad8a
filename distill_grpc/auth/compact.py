"""Reads a signed token (JWS compact serialisation, RFC 7515 section 7.1) before anything is believed.

Everything here happens on bytes that a stranger sent: no key is touched, nothing is fetched, and the
header's `jku`, `jwk`, `x5u` and `x5c` are never looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from distill_grpc.auth import base64url, strict_json
from distill_grpc.auth.errors import InvalidToken
from distill_grpc.auth.jwk import ALGORITHM

MAX_TOKEN_BYTES = 8192

_BEARER = re.compile(r"bearer ([A-Za-z0-9_.=+/~-]+)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A token that is well-formed; whether it is true is another question."""

    kid: str
    claims: dict[str, Any]
    signing_input: bytes
    signature: bytes


def bearer_token(authorization: str | None) -> str:
    """The token in an `Authorization` value (RFC 6750, section 2.1). Raises `InvalidToken`."""
    if not authorization:
        raise InvalidToken("missing")
    if len(authorization) > len("Bearer ") + MAX_TOKEN_BYTES:
        raise InvalidToken("too_large")
    match = _BEARER.fullmatch(authorization)
    if match is None:
        raise InvalidToken("not_bearer")
    return match[1]


def read(token: str) -> SignedToken:
    """The parts of a token. Raises `InvalidToken`."""
    parts = token.split(".")
    if len(parts) != 3 or not all(parts):
        raise InvalidToken("not_three_parts")
    try:
        header_bytes, payload, signature = map(base64url.decode, parts)
    except ValueError:
        raise InvalidToken("not_base64url") from None
    kid = _key_id(_object(header_bytes, "header_not_json"))
    return SignedToken(
        kid=kid,
        claims=_object(payload, "claims_not_json"),
        signing_input=token.rpartition(".")[0].encode("ascii"),
        signature=signature,
    )


def _object(data: bytes, reason: str) -> dict[str, Any]:
    try:
        return strict_json.parse_object(data)
    except ValueError:
        raise InvalidToken(reason) from None


def _key_id(header: dict[str, Any]) -> str:
    """The id of the key, from a header that asks for nothing but what we do. Others are tolerated."""
    if header.get("alg") != ALGORITHM:
        raise InvalidToken("algorithm")
    if header.get("typ", "JWT") != "JWT":
        raise InvalidToken("type")
    # `crit` names extensions that must be understood; none is. `b64` changes what is signed.
    if "crit" in header or "b64" in header:
        raise InvalidToken("extension")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise InvalidToken("key_id")
    return kid

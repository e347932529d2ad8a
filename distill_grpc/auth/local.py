"""The issuer that lives in this instance: its key stands in the data directory."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from distill_grpc import key_files
from distill_grpc.auth import claims as rules
from distill_grpc.auth import jwk
from distill_grpc.auth.tokens import TrustedIssuer
from distill_grpc.key_files import KeyFileError

LOCAL_ISS = "distill-local"
_OURS = frozenset(
    {"iss", "sub", "user_id", "email", "credits_available", "iat", "exp", "nbf", "jti", "aud"}
)


class LocalIssuer:
    """Signs tokens that this instance trusts, and publishes the key to check them with."""

    def __init__(self, key: RSAPrivateKey) -> None:
        """Takes an RSA key of 2048 bits or more."""
        self._key = key
        self._public = key.public_key()
        self.kid = jwk.thumbprint(self._public)

    @classmethod
    def load(cls, data_dir: Path) -> LocalIssuer:
        """The issuer whose key is `<data_dir>/keys/token-signing.pem`, made on first use.

        Raises `KeyFileError`, one line, where the file cannot be used.
        """
        path = data_dir / "keys" / "token-signing.pem"
        pem = key_files.read_or_create(path, _new_key)
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise KeyFileError(f"the key file {path} holds no PEM private key") from None
        if not isinstance(key, RSAPrivateKey) or key.key_size < jwk.MIN_BITS:
            raise KeyFileError(
                f"the key file {path} must hold an RSA key of at least {jwk.MIN_BITS} bits"
            )
        return cls(key)

    def issue(
        self,
        *,
        user_id: str,
        email: str | None,
        credits_available: bool = True,
        expires_in: timedelta,
        now: datetime | None = None,
        claims: Mapping[str, Any] | None = None,
    ) -> str:
        """A signed token for this user; a negative `expires_in` gives one that has expired.

        `claims` are further ones, such as a role. Raises ValueError for what the verifier would
        refuse, and for claims that are set here.
        """
        if not rules.is_identity(user_id):
            raise ValueError("the user id must be 1 to 255 printable characters")
        if not rules.is_email(email):
            raise ValueError("the email must be at most 320 printable characters")
        further = dict(claims or {})
        if taken := _OURS & further.keys():
            raise ValueError(f"these claims are set by the issuer: {', '.join(sorted(taken))}")
        moment = now or datetime.now(UTC)
        return jwt.encode(
            {
                **further,
                "iss": LOCAL_ISS,
                "sub": user_id,
                "user_id": user_id,
                "email": email,
                "credits_available": credits_available,
                "iat": int(moment.timestamp()),
                "exp": int((moment + expires_in).timestamp()),
                "jti": uuid.uuid4().hex,
            },
            self._key,
            algorithm=jwk.ALGORITHM,
            headers={"kid": self.kid},
        )

    def jwks(self) -> list[dict[str, str]]:
        """The public keys as JWKs (kty, use, alg, kid, n, e), for `/.well-known/jwks.json`."""
        return [jwk.to_jwk(self._public)]

    def trusted(self) -> TrustedIssuer:
        """What the verifier must know to accept this issuer's tokens."""
        return TrustedIssuer(iss=LOCAL_ISS, keys=_OneKey(self.kid, self._public), local=True)


class _OneKey:
    def __init__(self, kid: str, key: RSAPublicKey) -> None:
        self._kid = kid
        self._key = key

    async def key(self, kid: str) -> RSAPublicKey | None:
        return self._key if kid == self._kid else None


def _new_key() -> bytes:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )

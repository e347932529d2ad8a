"""Tokens that must not open anything, made by hand: no library would sign most of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.service import Service

Json = Any


def claims(**changes: Json) -> dict[str, Json]:
    """Good claims of the local issuer, with changes; None leaves a claim out."""
    now = int(time.time())
    told = {
        "iss": "distill-local",
        "sub": "mallory",
        "user_id": "mallory",
        "email": "mallory@example.com",
        "credits_available": True,
        "iat": now - 10,
        "exp": now + 600,
        **changes,
    }
    return {name: value for name, value in told.items() if value is not None}


class Forger:
    """Signs with the service's own key, or with another under the same id."""

    def __init__(self, service: Service) -> None:
        pem = Path(service.settings.data_dir, "keys", "token-signing.pem").read_bytes()
        key = serialization.load_pem_private_key(pem, password=None)
        assert isinstance(key, rsa.RSAPrivateKey)
        self.own = key
        self.other = _stranger()
        self.header = {"alg": "RS256", "typ": "JWT", "kid": service.issuer.kid}

    def sign(self, told: Json, header: Json = None, key: rsa.RSAPrivateKey | None = None) -> str:
        """A token over whatever is told, with a signature that fits."""
        signing_input = f"{_part(header or self.header)}.{_part(told)}"
        signed = (key or self.own).sign(signing_input.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signing_input}.{_encoded(signed)}"

    def good(self) -> str:
        """A token that opens what is mallory's."""
        return self.sign(claims())

    def bad(self) -> Iterator[tuple[str, str]]:
        """(what is wrong, the `Authorization` value)."""
        for name, token in self._bad_tokens():
            yield name, f"Bearer {token}"
        good = self.good()
        yield "no scheme", good
        yield "another scheme", f"Basic {good}"
        yield "a scheme alone", "Bearer"
        yield "two tokens", f"Bearer {good} {good}"
        yield "a comma", f"Bearer {good},"
        yield "a token in quotes", f'Bearer "{good}"'

    def _bad_tokens(self) -> Iterator[tuple[str, str]]:
        now = int(time.time())
        good = self.good()
        head, body, signature = good.split(".")
        yield "a word", "garbage"
        yield "two parts", f"{head}.{body}"
        yield "no signature", f"{head}.{body}."
        yield "a cut signature", good[:-4]
        yield "a changed signature", f"{head}.{body}.{'A' * len(signature)}"
        yield "changed claims", f"{head}.{_part(claims(user_id='admin', sub='admin'))}.{signature}"
        yield "another key", self.sign(claims(), key=self.other)
        yield "an unknown key id", self.sign(claims(), {**self.header, "kid": "other"})
        yield "no key id", self.sign(claims(), {"alg": "RS256", "typ": "JWT"})
        for alg in ("none", "None", "NONE", ""):
            yield f"the algorithm {alg!r}", f"{_part({**self.header, 'alg': alg})}.{body}."
        yield "HS256 with the public key", self._symmetric(body)
        for alg in ("RS512", "PS256", "ES256"):
            yield alg, self.sign(claims(), {**self.header, "alg": alg})
        jwk = {"kty": "RSA", "n": "AQAB", "e": "AQAB"}
        yield (
            "a key of its own",
            self.sign(claims(), {"alg": "RS256", "typ": "JWT", "jwk": jwk}, key=self.other),
        )
        yield "a critical header", self.sign(claims(), {**self.header, "crit": ["exp"]})
        yield "expired", self.sign(claims(exp=now - 60))
        yield "not yet valid", self.sign(claims(nbf=now + 300))
        yield "issued in the future", self.sign(claims(iat=now + 300))
        wrong: dict[str, tuple[Json, ...]] = {
            "exp": (None, "soon", True, -1, 1e300, {}),
            "iat": (None, "now"),
            "iss": (None, "https://elsewhere.example", 1, ["distill-local"]),
            "user_id": ("", " a", "a\n", "a" * 256, 7, True, ["mallory"], {"id": 1}, "other"),
            "email": (None, 7, ["a@example.com"]),
        }
        for claim, values in wrong.items():
            for value in values:
                told = claims(**{claim: value})
                if claim == "user_id" and value != "other":
                    told["sub"] = value
                yield f"{claim}: {str(value)[:20]!r}", self.sign(told)
        yield "no user", self.sign(claims(user_id=None, sub=None))
        yield "claims that are a list", self.sign([claims()])
        yield "claims that are no JSON", self.sign(b"{")
        yield "a claim twice", self.sign(b'{"user_id": "a", "user_id": "b"}')

    def _symmetric(self, body: str) -> str:
        public = self.own.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        signing_input = f"{_part({**self.header, 'alg': 'HS256'})}.{body}"
        signed = hmac.digest(public, signing_input.encode(), hashlib.sha256)
        return f"{signing_input}.{_encoded(signed)}"


@cache
def _stranger() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


def _part(value: Json) -> str:
    return _encoded(value if isinstance(value, bytes) else json.dumps(value).encode())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")

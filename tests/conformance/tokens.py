"""Tokens of the local issuer with claims of any kind; `attacks.py` has those that must not open."""

from __future__ import annotations

import base64
import json
import time
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
    """Signs with the service's own key."""

    def __init__(self, service: Service) -> None:
        pem = Path(service.settings.data_dir, "keys", "token-signing.pem").read_bytes()
        key = serialization.load_pem_private_key(pem, password=None)
        assert isinstance(key, rsa.RSAPrivateKey)
        self.own = key
        self.header = {"alg": "RS256", "typ": "JWT", "kid": service.issuer.kid}

    def sign(self, told: Json) -> str:
        """A token over whatever is told, with a signature that fits."""
        signing_input = f"{_part(self.header)}.{_part(told)}"
        signed = self.own.sign(signing_input.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signing_input}.{_encoded(signed)}"

    def good(self) -> str:
        """A token that opens what is mallory's."""
        return self.sign(claims())


def _part(value: Json) -> str:
    return _encoded(value if isinstance(value, bytes) else json.dumps(value).encode())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")

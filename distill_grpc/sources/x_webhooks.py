"""X's webhooks (docs.x.com, "Securing webhooks"): its check of our address, and its signature.

Both are HMAC-SHA256 under the app's consumer secret in base64, so the check would sign anything for
whoever knows the address. Therefore only tokens of letters, digits and the signs of base64 are
answered, and only JSON objects are taken as pushes, which contain other signs.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping

import orjson

from distill_grpc.sources.pushes import Answer, Forged, Push, digest, same

_TOKEN = re.compile(r"[A-Za-z0-9+/=_.~-]{1,500}", re.ASCII)


class XWebhooks:
    """Proves X's pushes, and our address to X."""

    secret = "consumer_secret"  # noqa: S105 -- its name among the credentials

    def receive(self, secret: str, headers: Mapping[str, str], body: bytes) -> Push:
        """See `Webhooks`. X gives its pushes no id: the same body is the same push."""
        given = headers.get("x-twitter-webhooks-signature", "")
        if not same(given, _sign(secret, body)) or body.lstrip()[:1] != b"{":
            raise Forged
        return Push(digest(body))

    def respond(self, secret: str, token: str) -> Answer | None:
        """See `Webhooks`."""
        if not _TOKEN.fullmatch(token):
            return None
        answer = {"response_token": _sign(secret, token.encode())}
        return Answer("application/json", orjson.dumps(answer))


def _sign(secret: str, message: bytes) -> str:
    digest_ = hmac.digest(secret.encode(), message, hashlib.sha256)
    return "sha256=" + base64.b64encode(digest_).decode()

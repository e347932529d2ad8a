"""GitHub's webhooks (docs.github.com, "Validating webhook deliveries"), of repositories and organisations.

`X-Hub-Signature-256: sha256=` and the HMAC-SHA256 of the body in lower-case hex; the older SHA-1
header is not looked at. `X-GitHub-Delivery` stays the same when a delivery is repeated.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping

from distill_grpc.sources.pushes import Answer, Forged, Push, digest, same

_DELIVERY = re.compile(r"[A-Za-z0-9-]{1,100}", re.ASCII)


class GithubWebhooks:
    """Proves GitHub's pushes."""

    secret = "webhook_secret"  # noqa: S105 -- its name among the credentials

    def receive(self, secret: str, headers: Mapping[str, str], body: bytes) -> Push:
        """See `Webhooks`."""
        expected = "sha256=" + hmac.digest(secret.encode(), body, hashlib.sha256).hex()
        if not same(headers.get("x-hub-signature-256", ""), expected):
            raise Forged
        delivery = headers.get("x-github-delivery", "")
        identity = delivery if _DELIVERY.fullmatch(delivery) else digest(body)
        return Push(identity, news=headers.get("x-github-event") != "ping")

    def respond(self, secret: str, token: str) -> Answer | None:  # noqa: ARG002 -- the seam's
        """GitHub asks nothing."""
        return None

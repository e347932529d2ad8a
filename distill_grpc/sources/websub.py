"""WebSub (W3C Recommendation, 23 January 2018): feeds whose hubs push what is new.

A subscriber finds the hub and the feed's own address (the topic) in the `Link` header or in the
document, asks the hub by a form, and answers the hub's question for its intent. Pushes are signed with
a secret that the subscriber chose: `X-Hub-Signature: <method>=<HMAC of the body in lower-case hex>`.
The best known hub (Google's, YouTube's) signs with SHA-1, which holds as a MAC.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from yarl import URL

from distill_grpc.sources import text
from distill_grpc.sources.base import PlatformError, RateLimited
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.pushes import Forged, Push, digest, same

YOUTUBE_HUB = "https://pubsubhubbub.appspot.com/subscribe"
# How long a subscription is asked for, and how long one is believed at the most (a hub that forgets it
# would be silent until then) and at the least (one that grants seconds would be asked all the time).
LEASE = timedelta(days=10)
SHORTEST_LEASE = timedelta(minutes=5)
LONGEST_LEASE = timedelta(days=14)
# What a hub means that does not say.
UNTOLD_LEASE = timedelta(days=1)
MAX_ADDRESS = 1_000  # bytes of a hub or topic

_METHODS = frozenset({"sha1", "sha256", "sha384", "sha512"})
_LINK = re.compile(r"<([^<>]*)>([^<]*)")
_REL = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]+))', re.IGNORECASE)
_YOUTUBE = frozenset({"www.youtube.com", "youtube.com"})
_REDIRECTS = frozenset({307, 308})
_MOST_REDIRECTS = 3
_ANSWER_BYTES = 64 * 1024  # of a hub's answer, of which only the status matters


class WebSub:
    """Asks hubs. `youtube_hub` is the hub of YouTube's feeds, which name none."""

    def __init__(self, http: HttpClient, *, youtube_hub: str = YOUTUBE_HUB) -> None:
        self._http = http
        self._youtube_hub = youtube_hub

    def find(
        self, headers: Mapping[str, str], document: Mapping[str, Any], url: str
    ) -> tuple[str, str]:
        """Hub and topic of a feed that was read at `url`; empty where it has none.

        `document` is what `feed_documents.read` made. Headers come before the document (section 4).
        """
        linked = _links(headers, url)
        hub = linked.get("hub") or str(document.get("hub") or "")
        topic = linked.get("self") or str(document.get("self") or "") or url
        if not hub and _is_youtube(url):
            hub = self._youtube_hub
        usable = all(text.is_web_url(a) and len(a.encode()) <= MAX_ADDRESS for a in (hub, topic))
        return (hub, topic) if usable else ("", "")

    async def ask(
        self, mode: str, *, hub: str, topic: str, callback: str, secret: str = ""
    ) -> None:
        """Asks a hub to `subscribe` or `unsubscribe`; its question comes to `callback` later.

        Raises a `SourceFailure`: `RateLimited` where the hub says when to come back.
        """
        form = {"hub.mode": mode, "hub.topic": topic, "hub.callback": callback}
        if mode == "subscribe":
            form["hub.lease_seconds"] = str(int(LEASE.total_seconds()))
            form["hub.secret"] = secret
        target = hub
        for _ in range(_MOST_REDIRECTS + 1):
            answer = await self._http.request(
                "POST",
                target,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                body=urlencode(form).encode(),
                max_bytes=_ANSWER_BYTES,
            )
            location = answer.headers.get("Location", "")
            if answer.status not in _REDIRECTS or not location:
                break
            target = text.absolute_url(location, target)
        if 200 <= answer.status < 300:
            return
        message = f"The hub answered with the status {answer.status}."
        if answer.retry_at is not None and answer.status in {429, 503}:
            raise RateLimited(message, reason="hub", retry_at=answer.retry_at)
        raise PlatformError(message, reason="hub")


def receive(secret: str, headers: Mapping[str, str], body: bytes) -> Push:
    """The push of a hub; raises `Forged`. The same body is the same push."""
    method, _, given = headers.get("x-hub-signature", "").partition("=")
    if method not in _METHODS:
        raise Forged
    if not same(given, hmac.digest(secret.encode(), body, method).hex()):
        raise Forged
    return Push(digest(body))


def lease_of(seconds: int | None) -> timedelta:
    """How long a subscription is believed to last, by what its hub says."""
    if seconds is None:
        return UNTOLD_LEASE
    return min(max(timedelta(seconds=min(seconds, 10**9)), SHORTEST_LEASE), LONGEST_LEASE)


def _links(headers: Mapping[str, str], url: str) -> dict[str, str]:
    """The first address of each relation in the `Link` headers (RFC 8288)."""
    found: dict[str, str] = {}
    for address, parameters in _link_values(headers):
        relation = _REL.search(parameters)
        if relation is None:
            continue
        for name in (relation[1] or relation[2] or "").lower().split():
            found.setdefault(name, text.absolute_url(address, url))
    return found


def _link_values(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in headers.items():
        if name.lower() == "link":
            for match in _LINK.finditer(value):
                yield match[1].strip(), match[2]


def _is_youtube(url: str) -> bool:
    parts = URL(url)
    return parts.host in _YOUTUBE and parts.path == "/feeds/videos.xml"

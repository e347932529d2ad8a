"""Cross-origin calls from browsers (Fetch standard, section 3.2): off unless origins are named.

Tokens travel in a header that the page sets itself, so credentials (cookies) are never allowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_ALLOWED_HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, X-Request-Id, X-Distill-Simulate, Traceparent, "
    "Tracestate"
)
_EXPOSED_HEADERS = "X-Request-Id, Retry-After"
_MAX_AGE = "600"


class Cors:
    """Which origins may call, and the headers that say so."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers for any answer to a request with these headers."""
        if not self._origins:
            return {}
        allowed = self._allowed(headers.get("Origin"))
        # A cache must not hand one origin's answer to another.
        vary = {} if self._any else {"Vary": "Origin"}
        if not allowed:
            return vary
        return {
            **vary,
            "Access-Control-Allow-Origin": allowed,
            "Access-Control-Expose-Headers": _EXPOSED_HEADERS,
        }

    def preflight(self, headers: Mapping[str, str], allowed: Sequence[str]) -> dict[str, str]:
        """What a preflight is told beyond that; empty where the request is none, or not allowed."""
        if "Access-Control-Request-Method" not in headers or not self._allowed(
            headers.get("Origin")
        ):
            return {}
        return {
            "Access-Control-Allow-Methods": ", ".join(allowed),
            "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
            "Access-Control-Max-Age": _MAX_AGE,
        }

    def _allowed(self, origin: str | None) -> str:
        if not origin:
            return ""
        if self._any:
            return "*"
        return origin if origin.lower() in self._origins else ""

"""Which URLs are fetched at all. Where they lead is for `addresses.py` to decide."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

from yarl import URL

from distill_grpc.sources.base import PlatformError
from distill_grpc.sources.http_failures import failure

_LONGEST = 8 * 1024  # characters
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")  # parsers disagree about what these mean
_NUMBERS = re.compile(r"[0-9.]+")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")  # a name or an address, after IDNA
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")  # what Python makes of a byte that is no UTF-8


def parse(text: str) -> URL:
    """The URL without its fragment. Raises `PlatformError` (`invalid_url`).

    Only http and https, a host, a port other than 0, no user name or password.
    """
    try:
        if len(text) > _LONGEST or _FORBIDDEN.search(text):
            raise ValueError("too long, or control characters")
        return _checked(URL(text))
    except ValueError:
        raise failure("invalid_url") from None


def follow(base: URL, location: str) -> URL:
    """Where a `Location` header leads (RFC 9110, 10.2.2). Raises `PlatformError`."""
    location = _ESCAPED_BYTE.sub(lambda match: f"%{ord(match[0]) - 0xDC00:02X}", location.strip())
    try:
        if len(location) > _LONGEST or _FORBIDDEN.search(location):
            raise ValueError("too long, or control characters")
        return _checked(base.join(URL(location)))
    except ValueError:
        # Not permanent, other than a wrong address of the user: the server can mend it.
        message = "The address redirects to something that is not a usable http or https address."
        raise PlatformError(message, reason="invalid_url") from None


def origin(url: URL) -> tuple[str, str, int]:
    """Scheme, host and port: what a secret may be sent back to."""
    return url.scheme, url.raw_host or "", url.port or 0


def _checked(url: URL) -> URL:
    if url.scheme not in {"http", "https"}:
        raise ValueError("neither http nor https")
    host = url.raw_host or ""
    if not _HOST.fullmatch(host):
        raise ValueError("no host, or one that is neither a name nor an address")
    if ":" in host:
        IPv6Address(host)
    if _NUMBERS.fullmatch(host):
        IPv4Address(host)  # four decimal numbers; `127.1` and `0177.0.0.1` mean trouble
    if not url.port:
        raise ValueError("port 0")
    if "@" in url.raw_authority:
        raise ValueError("user name or password")
    return url.with_fragment(None)

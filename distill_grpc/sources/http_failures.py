"""The ways in which an exchange with a server fails, and what the user reads about each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from distill_grpc.sources.addresses import AddressRefusedError
from distill_grpc.sources.base import PlatformError
from distill_grpc.sources.decoding import BadEncodingError

# Reason → message. None of them tells whether a port of a private host is open.
MESSAGES: Mapping[str, str] = MappingProxyType(
    {
        "invalid_url": "This is not a usable http or https address.",
        "private_address": "The address does not lead to a server on the public internet.",
        "dns": "The server's name could not be found.",
        "connect": "The server could not be reached.",
        "tls": "The server could not be reached over a secure connection.",
        "timeout": "The server did not answer in time.",
        "too_slow": "The server sent its answer too slowly.",
        "too_large": "The server's answer is too large.",
        "too_many_redirects": "The address redirects too many times.",
        "bad_encoding": "The server's answer is compressed in a way that cannot be read.",
        "protocol": "The exchange with the server broke the rules of HTTP.",
    }
)

# What aiohttp and the reading of bodies raise. TimeoutError is an OSError.
CAUSES = (aiohttp.ClientError, HttpProcessingError, OSError, BadEncodingError)


def failure(reason: str, message: str | None = None) -> PlatformError:
    """The error for one of the reasons of `MESSAGES`.

    `invalid_url` is permanent: only the user can mend an address.
    """
    return PlatformError(
        message or MESSAGES[reason], reason=reason, permanent=reason == "invalid_url"
    )


def reason_of(error: BaseException) -> str:
    """The reason behind one of the `CAUSES`."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, BadEncodingError):
        return "bad_encoding"
    if isinstance(error, aiohttp.InvalidURL):
        return "invalid_url"
    if isinstance(error, aiohttp.ClientConnectorError):
        return _reason_of_no_connection(error)
    return "protocol"


def _reason_of_no_connection(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error.os_error, AddressRefusedError):
        return "private_address"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dns"
    return "tls" if isinstance(error, aiohttp.ClientSSLError) else "connect"

"""Reads a request's body: its type, its size and its time are limited."""

from __future__ import annotations

import asyncio
from email.message import EmailMessage

from aiohttp import web

from distill_grpc.proto.distill.v1.errors_pb2 import ErrorReason
from http_facade.errors import Refusal, invalid

# Sent with refusals after which the rest of the body must not be waited for.
_CLOSE = {"Connection": "close"}
_FORM = "application/x-www-form-urlencoded"


async def read_body(
    request: web.BaseRequest, *, limit: int, timeout: float, any_type: bool = False
) -> bytes:
    """The body, empty where there is none; raises `Refusal` (413, 415 or 400).

    It must be JSON unless the endpoint takes any type.
    """
    if not request.body_exists:
        return b""
    _check_expectation(request)
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    if not any_type:
        check_type(request.headers.get("Content-Type"))
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding != "identity":
        raise Refusal(
            ErrorReason.UNSUPPORTED_MEDIA_TYPE,
            "The body must not be compressed.",
            details={"content_encoding": coding[:100]},
            headers=_CLOSE,
        )
    try:
        async with asyncio.timeout(timeout):
            await _continue(request)
            return await _read(request, limit)
    except TimeoutError:
        refusal = invalid({"body": f"did not arrive within {timeout:g} seconds"})
        refusal.headers.update(_CLOSE)
        raise refusal from None
    except (web.RequestPayloadError, ConnectionError):  # nobody may be there to read the answer
        refusal = invalid({"body": "is not framed as its headers say"})
        refusal.headers.update(_CLOSE)
        raise refusal from None


def check_type(content_type: str | None) -> None:
    """Raises `Refusal` (415) for a type that is not JSON in UTF-8; none at all is taken for JSON."""
    if content_type is None:
        return
    header = EmailMessage()
    header["Content-Type"] = content_type.replace("\r", "").replace("\n", "")
    kind = header.get_content_type()
    charset = header.get_content_charset("utf-8")
    # An unreadable type counts as text/plain in that parser (RFC 2045, 5.2).
    json = kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )
    if json and charset in {"utf-8", "us-ascii"}:
        return
    message = None
    if kind == _FORM:
        message = (
            "The body must be JSON with the content type application/json; "
            "curl says so with -H 'Content-Type: application/json' or --json."
        )
    raise Refusal(
        ErrorReason.UNSUPPORTED_MEDIA_TYPE,
        message,
        details={"content_type": content_type[:100]},
    )


async def _read(request: web.BaseRequest, limit: int) -> bytes:
    first = await request.content.readany()
    if request.content.at_eof() and len(first) <= limit:
        return first
    body = bytearray(first)
    while len(body) <= limit:
        chunk = await request.content.readany()
        if not chunk:
            return bytes(body)
        body += chunk
    raise _too_large(limit)


def _check_expectation(request: web.BaseRequest) -> None:
    expected = request.headers.get("Expect", "100-continue").strip().lower()
    if expected != "100-continue":
        raise invalid({"expect": "must be 100-continue (RFC 9110, 10.1.1)"})


async def _continue(request: web.BaseRequest) -> None:
    """Invites the body of a client that waits for it, now that its headers are accepted."""
    if "Expect" in request.headers and request.version >= (1, 1):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # an interim answer is none that was begun
        await request.writer.drain()


def _too_large(limit: int) -> Refusal:
    return Refusal(
        ErrorReason.PAYLOAD_TOO_LARGE,
        f"The body is larger than {limit} bytes.",
        details={"limit": f"{limit} bytes"},
        headers=_CLOSE,
    )

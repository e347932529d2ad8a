"""Decodes the body of an answer piece by piece, so that a decompression bomb stops at the limit.

Nothing here counts: the reader of the pieces stops asking when it has enough. A piece stays about
`PIECE` in size, whatever the input blows up to.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

PIECE = 256 * 1024  # bytes; what one step of decoding gives at most (Brotli: twice that)
_GZIP_START = 0x1F
_MAX_MEMBERS = 1000  # of one gzip body; empty ones cost time without ever reaching a size limit


class BadEncodingError(ValueError):
    """The body is not what its `Content-Encoding` says, or that says what cannot be decoded."""


class Decoder(Protocol):
    """Undoes one `Content-Encoding`."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The decoded pieces that `data` (not empty) completes. Raises `BadEncodingError`."""
        ...

    def finish(self) -> None:
        """Raises `BadEncodingError` where the body ended too early."""
        ...


def decoder(content_encodings: Iterable[str]) -> Decoder:
    """The decoder for the values of the `Content-Encoding` headers (RFC 9110, 8.4).

    At most one encoding is undone: nobody needs more, and nesting multiplies a bomb.
    """
    names = [name.strip().lower() for value in content_encodings for name in value.split(",")]
    names = [name for name in names if name not in {"", "identity"}]
    if not names:
        return _Identity()
    if len(names) > 1:
        raise BadEncodingError("several encodings")
    if names[0] in {"gzip", "x-gzip"}:
        return _Gzip()
    if names[0] == "deflate":
        return _Deflate()
    if names[0] == "br" and _brotli is not None:
        return _Brotli()
    raise BadEncodingError("unknown encoding")


class _Identity:
    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data

    def finish(self) -> None:
        pass


class _Inflater:
    """One zlib stream."""

    def __init__(self, window_bits: int) -> None:
        self._stream = zlib.decompressobj(window_bits)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while not self._stream.eof:
            try:
                piece = self._stream.decompress(data, PIECE)
            except zlib.error as error:
                raise BadEncodingError(str(error)) from None
            data = self._stream.unconsumed_tail
            if piece:
                yield piece
            if not data and len(piece) < PIECE:  # a full piece may have more behind it
                return

    @property
    def ended(self) -> bool:
        return self._stream.eof

    @property
    def rest(self) -> bytes:
        """What follows the end of the stream."""
        return self._stream.unused_data


class _Gzip:
    """RFC 1952: one or more members in a row; anything else after a member is padding."""

    def __init__(self) -> None:
        self._member = _Inflater(16 + zlib.MAX_WBITS)
        self._members = 1

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            if self._member.ended:
                if not data or data[0] != _GZIP_START:
                    return
                self._members += 1
                if self._members > _MAX_MEMBERS:
                    raise BadEncodingError("too many members")
                self._member = _Inflater(16 + zlib.MAX_WBITS)
            yield from self._member.feed(data)
            if not self._member.ended:
                return
            data = self._member.rest

    def finish(self) -> None:
        if not self._member.ended:
            raise BadEncodingError("ended early")


class _Deflate:
    """`deflate` is a zlib stream; some servers send the bare one (RFC 9110, 8.4.1.2)."""

    def __init__(self) -> None:
        self._head = b""
        self._stream: _Inflater | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            self._head += data
            if len(self._head) < 2:
                return
            data = self._head
            wrapped = data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
            self._stream = _Inflater(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
        yield from self._stream.feed(data)

    def finish(self) -> None:
        if self._stream is None or not self._stream.ended:
            raise BadEncodingError("ended early")


class _Brotli:
    """RFC 7932, through the `Brotli` package where it is installed."""

    def __init__(self) -> None:
        self._stream = _brotli.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            try:
                piece = self._stream.process(data, output_buffer_limit=PIECE)
            except _brotli.error as error:
                raise BadEncodingError(str(error)) from None
            data = b""
            if piece:
                yield piece
            # A full piece may have more behind it, also where more input would be taken.
            waits = self._stream.can_accept_more_data() and len(piece) < PIECE
            if waits or self._stream.is_finished():
                return

    def finish(self) -> None:
        if not self._stream.is_finished():
            raise BadEncodingError("ended early")


def _find_brotli() -> Any:
    try:
        found = importlib.import_module("brotli")
    except ImportError:
        return None
    # Before 1.2 its output could not be limited, which is what a bomb needs.
    return found if hasattr(found.Decompressor, "can_accept_more_data") else None


_brotli = _find_brotli()

# What the client asks for: exactly what it can decode.
ACCEPT_ENCODING = "gzip, deflate" if _brotli is None else "gzip, deflate, br"

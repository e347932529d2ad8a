from __future__ import annotations

import gzip
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_grpc.sources import decoding
from distill_grpc.sources.decoding import PIECE, BadEncodingError, decoder

TEXT = b"What is collected is read once, and kept. " * 200
# `b"hello, world\n"` and ten million zeros, compressed by the Brotli package.
BROTLI_HELLO = bytes.fromhex("0b068068656c6c6f2c20776f726c640a03")
BROTLI_BOMB = bytes.fromhex("cbffff3ff82700e2b14020f7fe2fff2c31f04f00c46111808e2306")


def bare_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def undo(encoding: list[str], data: bytes, step: int = 1 << 16) -> bytes:
    undoing = decoder(encoding)
    out = b"".join(
        piece for at in range(0, len(data), step) for piece in undoing.feed(data[at : at + step])
    )
    undoing.finish()
    return out


ENCODERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "DEFLATE": bare_deflate,
    "identity": bytes,
    "": bytes,
}


@pytest.mark.parametrize("encoding", ENCODERS)
@pytest.mark.parametrize("step", [1, 2, 7, 1000, 1 << 20])
def test_what_was_encoded_comes_back_however_it_is_cut(encoding: str, step: int):
    assert undo([encoding], ENCODERS[encoding](TEXT), step) == TEXT


@given(st.binary(max_size=2000), st.integers(1, 64), st.sampled_from(sorted(ENCODERS)))
def test_any_bytes_come_back(data: bytes, step: int, encoding: str):
    assert undo([encoding], ENCODERS[encoding](data), step) == data


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "DEFLATE"])
@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 258])
def test_a_body_around_the_size_of_a_piece_is_complete(encoding: str, size: int):
    assert undo([encoding], ENCODERS[encoding](b"\0" * size)) == b"\0" * size


def test_members_in_a_row_are_one_body():
    assert undo(["gzip"], gzip.compress(b"one ") + gzip.compress(b"two"), 3) == b"one two"


def test_padding_after_gzip_is_no_content():
    assert undo(["gzip"], gzip.compress(TEXT) + b"\0" * 100, 50) == TEXT


def test_a_thousand_empty_members_are_refused():
    with pytest.raises(BadEncodingError):
        undo(["gzip"], gzip.compress(b"") * 1001)


@pytest.mark.parametrize("cut", range(1, 60))
def test_gzip_that_ends_early_is_refused(cut: int):
    data = gzip.compress(b"some words that do not repeat")
    with pytest.raises(BadEncodingError):
        undo(["gzip"], data[: max(1, len(data) - cut)])


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_wrong_checksum_is_refused(encoding: str):
    data = bytearray(ENCODERS[encoding](TEXT))
    data[-5 if encoding == "gzip" else -1] ^= 1
    with pytest.raises(BadEncodingError):
        undo([encoding], bytes(data))


def test_no_flipped_bit_changes_the_content():
    dice = random.Random(7)
    original = gzip.compress(TEXT)
    refused = 0
    for _ in range(500):
        data = bytearray(original)
        data[dice.randrange(10, len(data))] ^= 1 << dice.randrange(8)
        try:
            assert undo(["gzip"], bytes(data)) == TEXT  # another way to write the same
        except BadEncodingError:
            refused += 1
    assert refused > 450


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_single_byte_is_no_body(encoding: str):
    with pytest.raises(BadEncodingError):
        undo([encoding], b"\x1f")


@pytest.mark.parametrize(
    "encodings",
    [
        ["gzip, gzip"],
        ["gzip", "deflate"],
        ["gzip,gzip,gzip,gzip,gzip"],
        ["compress"],
        ["zstd"],
        ["x"],
    ],
)
def test_nested_and_unknown_encodings_are_refused(encodings: list[str]):
    with pytest.raises(BadEncodingError):
        decoder(encodings)


@pytest.mark.parametrize("encodings", [["identity, gzip"], ["identity", "gzip"], [" GZIP ,"]])
def test_identity_does_not_count_as_an_encoding(encodings: list[str]):
    assert undo(encodings, gzip.compress(TEXT)) == TEXT


def test_a_bomb_comes_in_pieces_of_bounded_size():
    bomb = gzip.compress(b"\0" * 10_000_000)
    pieces = decoder(["gzip"]).feed(bomb)
    assert all(len(next(pieces)) <= PIECE for _ in range(5))


def test_brotli_is_asked_for_exactly_where_it_can_be_decoded():
    if "br" in decoding.ACCEPT_ENCODING.split(", "):
        assert undo(["br"], BROTLI_HELLO, 1) == b"hello, world\n"
        assert len(undo(["br"], BROTLI_BOMB)) == 10_000_000
        assert max(map(len, decoder(["br"]).feed(BROTLI_BOMB))) <= 2 * PIECE
        for damaged in (BROTLI_HELLO[:-3], b"\xff" * 20):
            with pytest.raises(BadEncodingError):
                undo(["br"], damaged)
    else:
        with pytest.raises(BadEncodingError):
            decoder(["br"])

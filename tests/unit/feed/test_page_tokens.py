"""Page tokens hold for one user and one query, and for nothing else."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_grpc.errors import DistillError, ErrorReason
from distill_grpc.feed.page_tokens import PageTokens

TOKENS = PageTokens(b"k" * 32)
POSITION = {
    "since": 1_700_000_000,
    "at": 1_700_000_500,
    "id": "8d9f6c1e-0000-4000-8000-000000000000",
}
QUERY = {"list": "recent", "hours": 24, "sources": ["rss"]}
TOKEN = TOKENS.make(POSITION, user_id="user_1", query=QUERY)


def refused(token: str, user_id: str = "user_1", query: dict[str, Any] | None = None) -> None:
    with pytest.raises(DistillError) as caught:
        TOKENS.read(token, user_id=user_id, query=query or QUERY)
    assert caught.value.reason == ErrorReason.INVALID_ARGUMENT
    assert set(caught.value.details) == {"page_token"}


def test_a_token_gives_its_position_back() -> None:
    assert TOKENS.read(TOKEN, user_id="user_1", query=QUERY) == POSITION


@given(
    st.dictionaries(st.text(), st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, width=32))
)
def test_any_position_survives(position: dict[str, float]) -> None:
    token = TOKENS.make(position, user_id="u", query=QUERY)
    read = TOKENS.read(token, user_id="u", query=QUERY)
    assert read == {k: v for k, v in position.items() if v not in {float("inf"), float("-inf")}} | {
        k: None for k, v in position.items() if v in {float("inf"), float("-inf")}
    }


def test_it_is_of_no_use_to_another_user_or_for_another_query() -> None:
    refused(TOKEN, user_id="user_2")
    refused(TOKEN, query={**QUERY, "hours": 25})
    refused(TOKEN, query={**QUERY, "list": "search"})
    # A boundary that moves between user and query must not matter either.
    refused(TOKEN, user_id='user_1"')


def test_every_flipped_bit_is_refused() -> None:
    raw = base64.urlsafe_b64decode(TOKEN + "=" * (-len(TOKEN) % 4))
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        refused(base64.urlsafe_b64encode(changed).decode().rstrip("="))


def test_every_other_spelling_of_the_text_is_refused() -> None:
    for position, character in enumerate(TOKEN):
        for bit in range(7):
            other = chr(ord(character) ^ 1 << bit)
            refused(TOKEN[:position] + other + TOKEN[position + 1 :])
    for other in (TOKEN + "=", TOKEN + "!", TOKEN[:5] + "\n" + TOKEN[5:], " " + TOKEN):
        refused(other)


@given(st.text(max_size=60))
def test_nonsense_is_refused(text: str) -> None:
    refused(text)


def test_another_key_refuses_it() -> None:
    with pytest.raises(DistillError):
        PageTokens(b"x" * 32).read(TOKEN, user_id="user_1", query=QUERY)

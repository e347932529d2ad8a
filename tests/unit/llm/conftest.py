"""Documents for the summarisers' tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import count

import pytest
from offline_corpus import NOON

from distill_grpc.llm.base import Document


@pytest.fixture
def document() -> Callable[..., Document]:
    """Makes documents with ids `d1`, `d2`, …, each a minute after the one before."""
    numbers = count(1)

    def make(text: str = "", **fields: object) -> Document:
        number = next(numbers)
        values: dict[str, object] = {
            "id": f"d{number}",
            "source": "rss",
            "author": f"Author {number}",
            "title": "",
            "text": text,
            "url": f"https://site{number}.example/{number}",
            "published_at": NOON + timedelta(minutes=number),
        }
        return Document(**(values | fields))  # type: ignore[arg-type]

    return make

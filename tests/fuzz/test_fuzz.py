"""A few thousand questions to a running service; `make fuzz` asks ten times as many."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fuzz.running import fuzz

# `FUZZ_SEED` replays another one.
SEED = int(os.environ.get("FUZZ_SEED", "1"))


@pytest.mark.timeout(600)
async def test_the_service_keeps_to_its_own_openapi_document(tmp_path: Path) -> None:
    figures = await fuzz(tmp_path, examples=60, seed=SEED)
    assert figures.found == [], figures.text[-20_000:]
    assert figures.operations >= 16
    assert figures.calls >= 1500, figures
    assert figures.answers["200"] >= 300
    assert figures.answers["400"] >= 300
    # Without a token and with a wrong one; with a method that an address does not have.
    assert figures.answers["401"] >= 20
    assert figures.answers["405"] >= 16

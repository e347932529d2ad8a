"""The sync engine against its model; `make chaos` runs many more examples, from any seed."""

from __future__ import annotations

import pytest

from tests.chaos import model

pytestmark = pytest.mark.chaos


def test_the_engine_does_what_its_model_does(database_url: str) -> None:
    model.check(database_url, examples=25, steps=20)

"""Where recorded material of the real platforms lies; it is not part of the product."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.servers.own_feeds import own_feeds


def feeds() -> dict[str, bytes]:
    """Feeds by file name: our own, and those of real sites where they are at hand."""
    found = own_feeds()
    if os.environ.get("DISTILL_TEST_FIXTURES"):
        folder = fixtures_dir() / "feeds" / "sites"
        found |= {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    return found


def fixtures_dir() -> Path:
    """The folder named by `DISTILL_TEST_FIXTURES`; a test that needs it is skipped without it."""
    named = os.environ.get("DISTILL_TEST_FIXTURES")
    if not named:
        pytest.skip("DISTILL_TEST_FIXTURES names no folder with recorded material")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"DISTILL_TEST_FIXTURES names {folder}, which is no folder")
    return folder

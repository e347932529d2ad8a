"""Programs that some tests need and that not every machine has."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def program(name: str, *, of: str) -> str:
    """The path of a program of the server `of`; skips where it is missing, and says so.

    `DISTILL_TEST_REQUIRES` names the servers whose absence is a failure instead.
    """
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    return found or _absent(f"{name} is not installed; everything else is tested without it", of)


def _absent(why: str, of: str) -> NoReturn:
    if of in os.environ.get("DISTILL_TEST_REQUIRES", "").split():
        pytest.fail(why)
    pytest.skip(why)

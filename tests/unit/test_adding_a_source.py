"""The worked example of docs/adding-a-source.md is a source: it is checked and run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-a-source.md").read_text()
FILES = dict(re.findall(r"^```python (\S+\.py)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with the example's files."""
    for name, code in FILES.items():
        (tmp_path / name).write_text(code)
    return tmp_path


def run(folder: Path, *command: str) -> None:
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}", "MYPYPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=env, capture_output=True, text=True,
        timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_both_files_are_there() -> None:
    assert set(FILES) == {"status_pages.py", "test_status_pages.py"}


def test_its_own_test_passes(written: Path) -> None:
    config = str(ROOT / "pyproject.toml")
    run(written, "pytest", "-q", "-c", config, "--rootdir", str(written), "-p", "no:cacheprovider",
        "test_status_pages.py")  # fmt: skip


def test_it_keeps_the_rules_of_the_code(written: Path) -> None:
    config = str(ROOT / "pyproject.toml")
    run(written, "ruff", "format", "--check", "--config", config, "status_pages.py")
    # `identify` needs neither argument.
    run(written, "ruff", "check", "--config", config, "--ignore", "ARG002", "status_pages.py")
    run(written, "mypy", "--config-file", "", "--strict", "--follow-imports", "silent",
        "--cache-dir", str(written / "cache"), "status_pages.py")  # fmt: skip

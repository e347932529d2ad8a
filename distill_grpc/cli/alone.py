"""One `distill serve` for a data directory: a second one would share its database and its keys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distill_grpc.cli.failure import Failure
from distill_grpc.db.locks import FileLock


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Holds the data directory; `Failure` where another `serve` does. It ends with its process."""
    path = _path(data_dir)
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        taken = not lock.try_exclusive()
    except OSError as error:
        raise Failure(
            f"the data directory cannot be used: {error.filename}: {error.strerror}"
        ) from None
    try:
        if taken:
            pid = path.read_text().strip() or "unknown"
            raise Failure(f"another `distill serve` runs in this data directory (pid {pid})")
        path.write_text(f"{os.getpid()}\n")
        yield
    finally:
        lock.release()


def refuse_second(data_dir: Path) -> None:
    """Raises `Failure` where another `serve` holds the data directory; makes nothing."""
    if _path(data_dir).exists():
        with only_one(data_dir):
            pass


def _path(data_dir: Path) -> Path:
    return data_dir.expanduser().absolute() / "serve.lock"

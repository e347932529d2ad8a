"""Locks between processes that end with their holder: the kernel's, on a file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

_POLL = 0.02  # seconds


class LockTimeout(Exception):  # noqa: N818 -- says what happened
    """Somebody else has held the lock for too long."""


class FileLock:
    """A lock on a file, exclusive or shared; two objects exclude each other in one process too."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        """True while this object holds the lock, in either way."""
        return self._descriptor is not None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a child must inherit to hold the lock together with this process."""
        return () if self._descriptor is None else (self._descriptor,)

    @contextlib.contextmanager
    def held(self, *, timeout: float) -> Iterator[None]:
        """Holds the lock exclusively; raises `LockTimeout` after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self.try_exclusive():
            if time.monotonic() > deadline:
                self.release()
                raise LockTimeout(str(self._path))
            time.sleep(_POLL)
        try:
            yield
        finally:
            self.release()

    def share(self) -> None:
        """Holds the lock together with others who share it; waits for an exclusive holder."""
        fcntl.flock(self._open(), fcntl.LOCK_SH)

    def try_exclusive(self) -> bool:
        """Takes the lock for itself alone where nobody else holds it."""
        try:
            fcntl.flock(self._open(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Lets go; harmless where the lock is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(
                self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            # Made by root in somebody's folder, it must not lock its owner out.
            owner = self._path.parent.stat()
            if os.geteuid() == 0:
                os.fchown(self._descriptor, owner.st_uid, owner.st_gid)
        return self._descriptor

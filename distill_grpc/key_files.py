"""Key files that the service makes for itself: created once, whole, and private to their owner.

Several processes may start at the same moment on an empty data directory; all of them end up with
the same key, and none ever sees a half-written one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

MAX_BYTES = 65_536

# What filesystems without hard links answer.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}

_log = structlog.get_logger()


class KeyFileError(Exception):
    """A key file cannot be used; the text is one line that names the file, never its content."""


def read_or_create(path: Path, make: Callable[[], bytes]) -> bytes:
    """The bytes of `path`; where it does not exist, those of `make()`, stored there first.

    The file gets mode 0600 in a directory of mode 0700. Raises `KeyFileError`.
    """
    try:
        try:
            return _read(path)
        except FileNotFoundError:
            _make_directory(path.parent)
            with _locked(path.parent):
                if not path.exists():
                    _write(path, make())
            return _read(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise KeyFileError(f"the key file {path} cannot be used: {reason}") from None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        if status.st_mode & 0o077 and status.st_uid == os.geteuid():
            _log.warning("key_file_was_open_to_others", path=str(path))
            os.fchmod(file.fileno(), 0o600)
        content = file.read(MAX_BYTES + 1)
    if not content:
        raise OSError(errno.EINVAL, "it is empty")
    if len(content) > MAX_BYTES:
        raise OSError(errno.EFBIG, "it is too large for a key")
    return content


def _make_directory(directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    if stat.S_IMODE(directory.stat().st_mode) & 0o077:
        directory.chmod(0o700)


def _write(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _publish(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _publish(temporary: str, path: Path) -> None:
    """Gives the finished file its name, and never takes the name from another one."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return  # made elsewhere, where the lock does not reach
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(temporary, path)  # noqa: PTH104 -- the pair of os.link; the lock guards it
    _sync_directory(path.parent)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # let go by the kernel if this process dies
        yield
    finally:
        os.close(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""A hash table of counters in shared memory: a file that all processes of a machine map.

The file starts with a header (layout and hash secret), then come slots of 256 bytes: the key's hash,
the number of its latest span, and a ring of 60 counters. Nobody owns the file: a process may die at
any instruction and leaves at worst one slot with a wrong count, which ages away within a window.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
from pathlib import Path

from distill_grpc.ratelimit.window import SPANS

_MAGIC = b"DSTLCNT1"
_HEADER = struct.Struct("=8sQQQ16s")  # magic, slots, spans, span length, hash secret
_HEADER_BYTES = 4096
_SLOT = struct.Struct(f"=Qq{SPANS}I")
_HEAD = struct.Struct("=Qq")
_COUNTER = struct.Struct("=I")
_COUNTERS_AT = 16
_PROBES = 8


class CounterTable:
    """Slots of counters for keys. Not locked by itself: see `FileLock`."""

    def __init__(self, path: Path | None, *, slots: int, span: int) -> None:
        """Maps the table at `path`, and makes it where there is none of this layout.

        `path` None gives a table of this process alone. `span` is the length of a span in
        nanoseconds; tables of other lengths are not shared. Raises OSError.
        """
        self._slots = slots
        layout = (_MAGIC, slots, SPANS, span)
        if path is None:
            size = _HEADER_BYTES + slots * _SLOT.size
            self._map = mmap.mmap(-1, size)
            self._secret = os.urandom(16)
        else:
            descriptor = _open(path, layout)
            try:
                self._map = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
            finally:
                os.close(descriptor)
            self._secret = _HEADER.unpack_from(self._map)[-1]

    def close(self) -> None:
        """Unmaps the table."""
        self._map.close()

    def hash(self, key: str) -> int:
        """The key's hash: secret, so that nobody can choose keys that collide."""
        digest = hashlib.blake2b(key.encode(), digest_size=8, key=self._secret).digest()
        return int.from_bytes(digest, "big") or 1  # 0 marks an empty slot

    def counts(self, key_hash: int, span: int) -> tuple[int, list[int]]:
        """The place of the key's slot, brought up to `span`, and its ring: span n is at n % 60."""
        at = self._find(key_hash, span)
        stored, latest, *ring = _SLOT.unpack_from(self._map, at)
        if stored == key_hash and latest == span:
            return at, ring
        # A latest span in the future was written before the machine was restarted, or is garbage.
        if stored != key_hash or latest > span or span - latest >= SPANS:
            ring = [0] * SPANS
        for passed in range(max(latest, span - SPANS) + 1, span + 1):
            ring[passed % SPANS] = 0
        _SLOT.pack_into(self._map, at, key_hash, span, *ring)
        return at, ring

    def count(self, at: int, span: int, value: int) -> None:
        """Sets the counter of `span` in the slot at that place."""
        _COUNTER.pack_into(self._map, at + _COUNTERS_AT + 4 * (span % SPANS), value)

    def _find(self, key_hash: int, span: int) -> int:
        """The key's slot; else one that is free or out of date; else the longest unused nearby."""
        oldest, oldest_use = 0, span + 1
        for step in range(_PROBES):
            at = _HEADER_BYTES + (key_hash + step) % self._slots * _SLOT.size
            stored, latest = _HEAD.unpack_from(self._map, at)
            if stored == key_hash:
                return at
            use = -1 if not stored or latest > span else latest
            if use < oldest_use:
                oldest, oldest_use = at, use
        return oldest


class FileLock:
    """A lock between processes, on a file beside the table; the kernel frees it when one dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = self._open()
        self._owner = os.getpid()
        if self.try_acquire():  # a filesystem without locks shows at the start, not at a call
            self.release()

    def try_acquire(self) -> bool:
        """Takes the lock if it is free."""
        if self._owner != os.getpid():  # a forked child would share its parent's lock
            self._descriptor = self._open()
            self._owner = os.getpid()
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Gives it back."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _open(path: Path, layout: tuple[bytes, int, int, int]) -> int:
    """A descriptor of a complete table at `path`."""
    size = _HEADER_BYTES + layout[1] * _SLOT.size
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if _prepare(descriptor, path, layout, size):
                fcntl.flock(
                    descriptor, fcntl.LOCK_UN
                )  # mmap keeps a duplicate, and the lock with it
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _prepare(descriptor: int, path: Path, layout: tuple[bytes, int, int, int], size: int) -> bool:
    """Fills a new file; False where the file had to go, or was replaced, and must be opened anew."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # freed when the descriptor is closed
    status = os.fstat(descriptor)
    if not _is_at(path, status):
        return False
    header = os.pread(descriptor, _HEADER.size, 0)
    if status.st_size == size and header[:-16] == _HEADER.pack(*layout, b"")[:-16]:
        return True
    if status.st_size:
        # Another layout, or torn. Processes that map it keep it; truncating would kill them.
        path.unlink()
        return False
    # Real blocks, not a hole: a full disk must show here, not as a signal on a later write.
    zeros = bytes(1 << 20)
    for start in range(0, size, len(zeros)):
        os.pwrite(descriptor, zeros[: size - start], start)
    os.pwrite(descriptor, _HEADER.pack(*layout, os.urandom(16)), 0)
    return True


def _is_at(path: Path, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), status)
    except FileNotFoundError:
        return False

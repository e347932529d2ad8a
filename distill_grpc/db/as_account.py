"""Runs a command as an unprivileged account: PostgreSQL refuses to run as root.

    python as_account.py UID GID REACH COMMAND [ARGUMENT …]

With REACH `1` (Linux only) the command keeps one of root's powers, CAP_DAC_OVERRIDE, as an ambient
capability (capabilities(7)): it reaches its own files below folders that are closed to its account,
such as a home with mode 0700, and nobody's folder has to be opened for that. Run as a program of its
own, because code between fork and exec is not safe where threads are.
"""

from __future__ import annotations

import ctypes
import os
import sys

_DAC_OVERRIDE = 1  # its number in linux/capability.h
_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 8, 47, 2


def main(arguments: list[str]) -> None:
    """Becomes the account, then the command; returns only by an exception."""
    uid, gid, reach, *command = arguments
    libc = ctypes.CDLL(None, use_errno=True)
    if reach == "1":
        _check(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
    if reach == "1":
        _keep_reach(libc)
    os.execv(command[0], command)  # noqa: S606 -- no shell is wanted


def _keep_reach(libc: ctypes.CDLL) -> None:
    mask = 1 << _DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # Twice effective, permitted, inheritable: the lower and the upper 32 capabilities.
    data = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    _check(libc.capset(header, data))
    _check(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _DAC_OVERRIDE, 0, 0))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as error:
        sys.exit(f"cannot become an unprivileged account: {error.strerror}")

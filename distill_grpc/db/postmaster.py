"""The server process of a cluster, found by its files and its working directory.

A PostgreSQL server and all its children work in the cluster's folder, so that they are recognised
without trusting a process id that may have been given to somebody else meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from distill_grpc.db.accounts import Account

_POLL = 0.02  # seconds
ORPHANS_TIMEOUT = 20.0
# A clean stop writes out what is in memory.
STOP_TIMEOUT = 60.0
QUIT_TIMEOUT = 10.0
SOCKET_NAME = ".s.PGSQL.5432"


class StillRunning(Exception):  # noqa: N818 -- says what is the case
    """Processes of the server do not end; the text names them."""


class Postmaster:
    """The server of the cluster in a folder, whoever started it."""

    def __init__(self, cluster: Path) -> None:
        self._cluster = cluster.resolve()

    def is_running(self) -> bool:
        """True while its main process lives."""
        return self._process() is not None

    def running_socket_folder(self) -> Path | None:
        """Where the running server listens; None where none runs.

        Waits for one that is starting or stopping. Raises `StillRunning` where it does neither.
        """
        deadline = time.monotonic() + STOP_TIMEOUT
        while time.monotonic() < deadline:
            process = self._process()
            if process is None:
                return None
            lines = self._pid_file()
            # Lines of postmaster.pid: 5th the socket's folder, 8th the state.
            if len(lines) >= 8 and lines[7].strip() == "ready":
                return Path(lines[4])
            time.sleep(_POLL)
        raise StillRunning(f"the PostgreSQL in {self._cluster} neither starts nor stops")

    def stop(self) -> None:
        """Stops the server cleanly; at once where it does not obey. Nothing where none runs."""
        for order, patience in ((signal.SIGINT, STOP_TIMEOUT), (signal.SIGQUIT, QUIT_TIMEOUT)):
            process = self._process()
            if process is None:
                return
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(order)
            if _await(lambda: self._process() is None, patience):
                return
        raise StillRunning(f"the PostgreSQL in {self._cluster} does not stop")

    def await_orphans(self) -> None:
        """Waits for the children of a killed server, which end by themselves; forgets its pid file.

        While one of them lives, a second server would damage the files; PostgreSQL itself notices
        that only as long as the pid file is there.
        """
        if not _await(lambda: not list(self._members()), ORPHANS_TIMEOUT):
            pids = ", ".join(str(p.pid) for p in self._members())
            raise StillRunning(
                f"processes of a killed PostgreSQL still use {self._cluster}: {pids}"
            )
        # Its number may have been given to another process, for which PostgreSQL would wait in vain.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def end_those_of_deleted_files(self) -> None:
        """Ends servers whose cluster was deleted under them; for a cluster that is not there.

        They would remove the socket of the one that takes its place when they notice.
        """
        for process in self._members():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGQUIT)
        _await(lambda: not list(self._members()), QUIT_TIMEOUT)

    def _process(self) -> psutil.Process | None:
        lines = self._pid_file()
        if not lines or not lines[0].strip().isdigit():
            return None
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(int(lines[0]))
            if _works_in(process, str(self._cluster)):
                return process
        return None

    def _pid_file(self) -> list[str]:
        try:
            return (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _members(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter(["name"]):
            if "postgres" in (process.info["name"] or ""):
                with contextlib.suppress(psutil.Error):
                    if _works_in(process, str(self._cluster)):
                        yield process


def socket_folder(folder: Path, account: Account) -> Path:
    """A private folder in which a socket can be bound: `run`, or a short one in /tmp.

    The one in /tmp is remembered in the file `socket_folder`, so that the address stays the same.
    """
    inside = folder.resolve() / "run"
    if _can_bind(inside, account):
        return inside
    note = folder / "socket_folder"
    with contextlib.suppress(FileNotFoundError):
        remembered = Path(note.read_text())
        with contextlib.suppress(FileNotFoundError):
            found = remembered.lstat()
            private = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700
            if private and found.st_uid == account.uid:
                return remembered
    # Not the user's runtime folder: it is emptied when the user logs out.
    made = Path(tempfile.mkdtemp(prefix="distill-", dir="/tmp"))
    account.own(made)
    note.write_text(str(made))
    account.own(note)
    return made


def forget_socket(folder: Path) -> None:
    """Removes what a killed server left in its private folder.

    Its lock names a process id that may live on, as a zombie or as somebody else.
    """
    for name in (SOCKET_NAME, f"{SOCKET_NAME}.lock"):
        (folder / name).unlink(missing_ok=True)


def forget_socket_folder(folder: Path) -> None:
    """Removes the folder in /tmp of a server that was stopped, where there is one."""
    note = folder / "socket_folder"
    with contextlib.suppress(OSError):
        forget_socket(Path(note.read_text()))
        Path(note.read_text()).rmdir()
        note.unlink()


def _can_bind(folder: Path, account: Account) -> bool:
    """True where a socket fits below `folder`: the path is short, the file system knows sockets."""
    folder.mkdir(exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    account.own(folder)
    # As long as the real name, and not in the way of a server.
    trial = folder / SOCKET_NAME.replace("s", "t", 1)
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.bind(str(trial))
        except OSError:
            return False
        trial.unlink()
    # The kernel allows 104 bytes on macOS and 108 on Linux. The setting is a list with quotes.
    return len(os.fsencode(trial)) < 100 and not set(str(folder)) & set("\"'\\,")


def _works_in(process: psutil.Process, folder: str) -> bool:
    if process.status() == psutil.STATUS_ZOMBIE:
        return False
    # psutil tells the path of a folder that was deleted, too.
    return process.cwd() == folder


def _await(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True

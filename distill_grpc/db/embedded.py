"""A PostgreSQL that belongs to a data directory: made on first use, shared by all who use it.

    <data_dir>/postgres/
        cluster/       the database files; made as `cluster.new` and renamed when complete
        log/           the server's log: a file a weekday, begun afresh when its day returns; and
                       `start.log`, what is said before that
        run/           the socket, where the path is short enough for one; else a folder in /tmp
        start.lock     held while somebody starts or stops the server
        owners.lock    held (shared) by everybody who uses it; the last one out stops the server

There is no TCP port. The socket lies in a folder with mode 0700, and the server lets in only the user
who runs Distill, and root (peer authentication). Locks are the kernel's (flock), so that whoever dies
lets go of them; the server itself outlives a killed owner, and the next start finds and uses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from distill_grpc.db.accounts import Account, NoAccount
from distill_grpc.db.locks import FileLock, LockTimeout
from distill_grpc.db.postgres_tools import (
    PORT,
    SUPERUSER,
    VERSION,
    EmbeddedPostgresError,
    Tools,
    essence,
)
from distill_grpc.db.postmaster import (
    Postmaster,
    StillRunning,
    forget_socket,
    forget_socket_folder,
    socket_folder,
)

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]

DATABASE = ROLE = "distill"
LOCK_TIMEOUT = 120.0  # seconds
CONNECT_TIMEOUT = 5  # seconds


class EmbeddedPostgres:
    """The PostgreSQL of one data directory.

    `fast` gives up durability against a power cut; it is meant for tests.
    """

    def __init__(self, data_dir: Path, *, fast: bool = False) -> None:
        self.folder = data_dir.expanduser().absolute() / "postgres"
        self.cluster = self.folder / "cluster"
        self._fast = fast
        self._starting = FileLock(self.folder / "start.lock")
        self._owning = FileLock(self.folder / "owners.lock")

    async def start(self) -> str:
        """Starts or joins the server; returns the DSN of its database.

        Safe to repeat: where the server died meanwhile it is started again, at the same address.
        Raises `EmbeddedPostgresError`.
        """
        return await asyncio.to_thread(self.start_sync)

    async def stop(self) -> None:
        """Lets go of the server, and stops it where nobody else uses it."""
        await asyncio.to_thread(self.stop_sync)

    def start_sync(self) -> str:
        """`start` for callers without an event loop."""
        with self._told_in_one_line():
            self._make_folder()
            account = Account.of(self.folder)
            with self._starting.held(timeout=LOCK_TIMEOUT):
                self._owning.share()
                try:
                    return self._start(account)
                except BaseException:
                    self._owning.release()
                    raise

    def stop_sync(self) -> None:
        """`stop` for callers without an event loop."""
        if not self._owning.is_held:
            return
        with self._told_in_one_line():
            try:
                with self._starting.held(timeout=LOCK_TIMEOUT):
                    if self._owning.try_exclusive():
                        Postmaster(self.cluster).stop()
                        forget_socket_folder(self.folder)
            finally:
                self._owning.release()

    def is_running(self) -> bool:
        """True while the server lives; starts nothing, and is cheap enough to be asked often."""
        return Postmaster(self.cluster).is_running()

    def _start(self, account: Account) -> str:
        self._make_subfolders(account)
        tools = Tools(self.folder, account, fast=self._fast)
        postmaster = Postmaster(self.cluster)
        if not self.cluster.exists():
            postmaster.end_those_of_deleted_files()
            self._make_cluster(tools)
        self._check_version()
        socket = postmaster.running_socket_folder()
        if socket is None:
            postmaster.await_orphans()
            socket = socket_folder(self.folder, account)
            forget_socket(socket)
            self._write_access_rules(account)
            tools.start(self.cluster.name, socket)
        return self._ensure_database(socket)

    def _make_folder(self) -> None:
        self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.mkdir(exist_ok=True, mode=0o700)

    def _make_subfolders(self, account: Account) -> None:
        for path in (self.folder, self.folder / "log"):
            path.mkdir(exist_ok=True, mode=0o700)
            path.chmod(0o700)
            account.own(path)

    def _make_cluster(self, tools: Tools) -> None:
        new = self.folder / "cluster.new"
        if new.exists():
            shutil.rmtree(new)
        # initdb holds the lock too: where this process is killed, the next one waits for its end.
        tools.make_cluster(new.name, keep=self._starting.descriptors)
        new.rename(self.cluster)

    def _check_version(self) -> None:
        version = (self.cluster / "PG_VERSION").read_text().strip()
        if version != str(VERSION):
            raise EmbeddedPostgresError(
                f"{self.cluster} was made by PostgreSQL {version}, this Distill brings {VERSION}; "
                "move the folder away, or dump and restore it with its own version"
            )

    def _write_access_rules(self, account: Account) -> None:
        names = sorted(account.clients())
        users = [f'distill "{name}" {role}\n' for name in names for role in (SUPERUSER, ROLE)]
        for file, text in (
            (
                "pg_hba.conf",
                "# Written by Distill at each start.\nlocal all all peer map=distill\n",
            ),
            ("pg_ident.conf", "# Written by Distill at each start.\n" + "".join(users)),
        ):
            path = self.cluster / file
            path.unlink(missing_ok=True)
            with path.open("x") as rules:  # never through a link that the account has laid
                rules.write(text)
            account.own(path)

    def _ensure_database(self, socket: Path) -> str:
        dsn = _dsn(socket, ROLE, DATABASE)
        try:
            psycopg.connect(dsn, connect_timeout=CONNECT_TIMEOUT).close()
        except psycopg.OperationalError as error:
            if "does not exist" not in str(error):
                raise
            self._create_database(socket)
        return dsn

    def _create_database(self, socket: Path) -> None:
        def connect(database: str) -> psycopg.Connection:
            dsn = _dsn(socket, SUPERUSER, database)
            return psycopg.connect(dsn, connect_timeout=CONNECT_TIMEOUT, autocommit=True)

        with connect("template1") as admin:
            # Only a superuser may create it, and every database made later inherits it.
            admin.execute("CREATE EXTENSION IF NOT EXISTS vector")
        with connect("postgres") as admin:
            role, database = sql.Identifier(ROLE), sql.Identifier(DATABASE)
            if not _exists(admin, "SELECT 1 FROM pg_roles WHERE rolname = %s", ROLE):
                admin.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB").format(role))
            if not _exists(admin, "SELECT 1 FROM pg_database WHERE datname = %s", DATABASE):
                admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))

    @contextlib.contextmanager
    def _told_in_one_line(self) -> Iterator[None]:
        try:
            yield
        except LockTimeout:
            raise EmbeddedPostgresError(
                f"another process has been starting the database in {self.folder} for "
                f"{LOCK_TIMEOUT:.0f} s; end it and try again"
            ) from None
        except NoAccount as error:
            raise EmbeddedPostgresError(f"the embedded PostgreSQL cannot run: {error}") from None
        except StillRunning as error:
            raise EmbeddedPostgresError(str(error)) from None
        except subprocess.TimeoutExpired as error:
            raise EmbeddedPostgresError(
                f"the embedded PostgreSQL took longer than {error.timeout:.0f} s (see {self.folder}/log)"
            ) from None
        except psycopg.Error as error:
            raise EmbeddedPostgresError(
                f"the embedded PostgreSQL does not answer: {essence(str(error))}"
            ) from None
        except OSError as error:
            raise EmbeddedPostgresError(
                f"the data directory cannot be used: {error.filename or self.folder}: {error.strerror}"
            ) from None


def _dsn(socket: Path, user: str, database: str) -> str:
    return f"postgresql://{user}@/{database}?host={quote(str(socket), safe='')}&port={PORT}"


def _exists(connection: psycopg.Connection, question: str, name: str) -> bool:
    return connection.execute(question.encode(), [name]).fetchone() is not None

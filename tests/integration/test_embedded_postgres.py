"""The embedded PostgreSQL, with real servers, real kills and real users."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from distill_grpc.db import as_account
from distill_grpc.db.embedded import EmbeddedPostgres, EmbeddedPostgresError

ROOT = Path(__file__).resolve().parents[2]
# Starts the server of the folder in argv[1], says its address, and holds it until stdin ends.
OWNER = """
import sys
from pathlib import Path
from distill_grpc.db.embedded import EmbeddedPostgres
postgres = EmbeddedPostgres(Path(sys.argv[1]), fast=True)
print(postgres.start_sync(), flush=True)
sys.stdin.read()
postgres.stop_sync()
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    # Not tmp_path: pytest's folders are closed to the accounts that root lends the server.
    folder = Path(tempfile.mkdtemp(prefix="distill-test-"))
    yield folder
    for process in servers(folder):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGQUIT)
    wait_until(lambda: not servers(folder))
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def made_before() -> Iterator[Path]:
    """A cluster that is complete, to be copied: making one takes longest."""
    folder = Path(tempfile.mkdtemp(prefix="distill-test-"))
    postgres = EmbeddedPostgres(folder, fast=True)
    postgres.start_sync()
    postgres.stop_sync()
    yield folder / "postgres"
    shutil.rmtree(folder)


@pytest.fixture
def used_before(data_dir: Path, made_before: Path) -> Path:
    """A data directory that has its cluster already."""
    copy = ["cp", "-a", str(made_before), str(data_dir / "postgres")]
    subprocess.run(copy, check=True)
    return data_dir


def servers(folder: Path) -> list[psutil.Process]:
    """Every process of a PostgreSQL below the folder."""
    found = []
    for process in psutil.process_iter(["name", "cwd"]):
        inside = str(process.info["cwd"] or "").startswith(str(folder.resolve()))
        if process.info["name"] == "postgres" and inside:
            found.append(process)
    return found


def owners(folder: Path) -> set[int]:
    return {path.lstat().st_uid for path in folder.rglob("*")}


def postmaster(folder: Path) -> int:
    return int((folder / "postgres/cluster/postmaster.pid").read_text().split()[0])


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def owner(folder: Path, *, prefix: Sequence[str] = (), code: str = OWNER) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def as_nobody() -> list[str]:
    """Words before a command that make it nobody's; the interpreter may lie in a closed home."""
    account = pwd.getpwnam("nobody")
    launcher = [sys.executable, as_account.__file__]
    return [*launcher, str(account.pw_uid), str(account.pw_gid), "1"]


def address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.wait(20)
    process.stdout.close()


def ask(dsn: str, question: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(question).fetchone()
        return None if row is None else row[0]


async def test_the_first_start_makes_a_database_and_the_second_finds_its_rows(
    data_dir: Path,
) -> None:
    postgres = EmbeddedPostgres(data_dir)
    dsn = await postgres.start()
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('ä'), ('B'), ('a')")
    await postgres.stop()
    assert not servers(data_dir)

    began = time.monotonic()
    assert await postgres.start() == dsn
    assert time.monotonic() - began < 3
    assert ask(dsn, "SELECT string_agg(word, ',' ORDER BY word) FROM kept") == "B,a,ä"
    assert ask(dsn, "SHOW fsync") == "on"
    await postgres.stop()


async def test_it_has_no_port_and_its_role_is_no_superuser(used_before: Path) -> None:
    postgres = EmbeddedPostgres(used_before, fast=True)
    dsn = await postgres.start()
    assert ask(dsn, "SHOW listen_addresses") == ""
    assert ask(dsn, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
    connections = psutil.Process(postmaster(used_before)).net_connections(kind="tcp")
    assert connections == []
    await postgres.stop()


async def test_everything_is_closed_to_other_users(used_before: Path) -> None:
    postgres = EmbeddedPostgres(used_before, fast=True)
    await postgres.start()
    for folder in ("", "cluster", "log", "run"):
        assert stat.S_IMODE((used_before / "postgres" / folder).stat().st_mode) == 0o700
    await postgres.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_server_refuses_other_users_even_where_the_way_is_open(used_before: Path) -> None:
    postgres = EmbeddedPostgres(used_before, fast=True)
    dsn = postgres.start_sync()
    for folder in (used_before, used_before / "postgres", used_before / "postgres/run"):
        folder.chmod(0o777)
    (used_before / "postgres/run/.s.PGSQL.5432").chmod(0o777)
    code = f"import psycopg; psycopg.connect({dsn!r})"
    command = [*as_nobody(), sys.executable, "-c", code]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    postgres.stop_sync()
    assert "Peer authentication failed" in refused.stderr


async def test_the_last_one_out_stops_the_server(used_before: Path) -> None:
    first, second = (EmbeddedPostgres(used_before, fast=True) for _ in range(2))
    dsn = await first.start()
    pid = postmaster(used_before)
    assert await second.start() == dsn
    assert postmaster(used_before) == pid
    await first.stop()
    assert ask(dsn, "SELECT 1") == 1
    await second.stop()
    assert not servers(used_before)
    await second.stop()  # harmless


async def test_two_that_start_an_empty_directory_at_once_share_one_server(data_dir: Path) -> None:
    processes = [owner(data_dir) for _ in range(2)]
    dsns = await asyncio.gather(*(asyncio.to_thread(address, p) for p in processes))
    assert dsns[0] == dsns[1]
    assert ask(dsns[0], "SELECT 1") == 1
    end(processes[0])
    assert ask(dsns[1], "SELECT 1") == 1
    end(processes[1])
    assert not servers(data_dir)


async def test_a_killed_owner_leaves_a_server_that_the_next_one_uses_and_stops(
    used_before: Path,
) -> None:
    killed = owner(used_before)
    dsn = address(killed)
    pid = postmaster(used_before)
    killed.kill()
    killed.communicate()
    postgres = EmbeddedPostgres(used_before, fast=True)
    assert await postgres.start() == dsn
    assert postmaster(used_before) == pid
    await postgres.stop()
    assert not servers(used_before)


async def test_a_killed_server_is_started_again_at_the_same_address(used_before: Path) -> None:
    postgres = EmbeddedPostgres(used_before, fast=True)
    dsn = await postgres.start()
    os.kill(postmaster(used_before), signal.SIGKILL)
    wait_until(lambda: not postgres.is_running())
    assert await postgres.start() == dsn
    assert postgres.is_running()
    assert ask(dsn, "SELECT 1") == 1
    await postgres.stop()


async def test_a_pid_file_that_names_somebody_else_is_no_obstacle(used_before: Path) -> None:
    pid_file = used_before / "postgres/cluster/postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{pid_file.parent}\n1\n5432\n/tmp\n\n\nready\n")
    postgres = EmbeddedPostgres(used_before, fast=True)
    assert ask(await postgres.start(), "SELECT 1") == 1
    await postgres.stop()


async def test_an_interrupted_making_is_begun_anew(data_dir: Path) -> None:
    half = data_dir / "postgres/cluster.new/base"
    half.mkdir(parents=True)
    (half / "left").write_text("over")
    postgres = EmbeddedPostgres(data_dir, fast=True)
    assert ask(await postgres.start(), "SELECT 1") == 1
    await postgres.stop()
    assert not half.exists()


async def test_a_killed_making_is_begun_anew(data_dir: Path) -> None:
    killed = owner(data_dir)
    wait_until((data_dir / "postgres/cluster.new/PG_VERSION").exists)
    killed.kill()
    killed.communicate()
    postgres = EmbeddedPostgres(data_dir, fast=True)
    assert ask(await postgres.start(), "SELECT 1") == 1
    await postgres.stop()


def test_a_long_path_with_spaces_and_quotes_works(used_before: Path) -> None:
    deep = used_before / f"a 'deep' \"home\" {'x' * 90}" / "data dir"
    deep.mkdir(parents=True)
    (used_before / "postgres").rename(deep / "postgres")
    postgres = EmbeddedPostgres(deep, fast=True)
    dsn = postgres.start_sync()
    assert ask(dsn, "SELECT 1") == 1
    socket = Path(str(conninfo_to_dict(dsn)["host"]))
    assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    os.kill(postmaster(deep), signal.SIGKILL)
    wait_until(lambda: not postgres.is_running())
    assert postgres.start_sync() == dsn
    postgres.stop_sync()
    assert not socket.exists()


async def test_data_below_a_closed_home_work_and_the_home_stays_closed(used_before: Path) -> None:
    home = used_before / "home"
    (home / "distill").mkdir(parents=True)
    home.chmod(0o700)
    (used_before / "postgres").rename(home / "distill/postgres")
    postgres = EmbeddedPostgres(home / "distill", fast=True)
    assert ask(await postgres.start(), "SELECT 1") == 1
    await postgres.stop()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_a_normal_user_gets_a_server_of_its_own(data_dir: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(data_dir, nobody.pw_uid, nobody.pw_gid)
    process = owner(data_dir, prefix=as_nobody())
    dsn = address(process)
    assert psutil.Process(postmaster(data_dir)).uids().real == nobody.pw_uid
    # Root may join, and leaves everything to its owner.
    postgres = EmbeddedPostgres(data_dir, fast=True)
    assert await postgres.start() == dsn
    await postgres.stop()
    end(process)
    assert not servers(data_dir)
    assert owners(data_dir) == {nobody.pw_uid}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_data_of_another_user_are_refused_in_one_line(used_before: Path) -> None:
    used_before.chmod(0o755)
    (used_before / "postgres").chmod(0o755)
    code = OWNER.replace("print(postgres.start_sync(), flush=True)", START_AND_TELL)
    process = owner(used_before, prefix=as_nobody(), code=code)
    told = address(process)
    end(process)
    assert "belongs to the user" in told


START_AND_TELL = """
from distill_grpc.db.embedded import EmbeddedPostgresError
try:
    postgres.start_sync()
except EmbeddedPostgresError as error:
    print(error, flush=True)
"""


async def test_a_server_that_cannot_start_says_why_in_one_line(used_before: Path) -> None:
    configuration = used_before / "postgres/cluster/postgresql.conf"
    configuration.write_text(configuration.read_text() + "\nno_such_setting = 1\n")
    with pytest.raises(EmbeddedPostgresError) as caught:
        await EmbeddedPostgres(used_before, fast=True).start()
    assert "no_such_setting" in str(caught.value) or "configuration file" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_another_version_is_refused(used_before: Path) -> None:
    (used_before / "postgres/cluster/PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedPostgresError, match="PostgreSQL 16"):
        await EmbeddedPostgres(used_before, fast=True).start()


async def test_a_data_directory_that_is_a_file_is_refused(data_dir: Path) -> None:
    (data_dir / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match="data directory cannot be used"):
        await EmbeddedPostgres(data_dir / "file", fast=True).start()


async def test_deleting_a_running_server_s_files_does_not_disturb_the_next(
    used_before: Path, made_before: Path
) -> None:
    abandoned = EmbeddedPostgres(used_before, fast=True)
    await abandoned.start()
    pid = postmaster(used_before)
    shutil.rmtree(used_before / "postgres")
    postgres = EmbeddedPostgres(used_before, fast=True)
    dsn = await postgres.start()
    assert pid not in {process.pid for process in servers(used_before)}
    assert ask(dsn, "SELECT 1") == 1
    await postgres.stop()
    await abandoned.stop()


async def test_the_environment_of_libpq_changes_nothing(
    used_before: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PGUSER", "somebody")
    monkeypatch.setenv("PGHOST", "nowhere.invalid")
    postgres = EmbeddedPostgres(used_before, fast=True)
    assert ask(await postgres.start(), "SELECT current_user::text") == "distill"
    await postgres.stop()

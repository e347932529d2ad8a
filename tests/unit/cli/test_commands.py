"""What every command line meets: help, tokens, wrong use, wrong settings, taken ports."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from typer.main import get_command

from distill_grpc.cli import alone, environment, ports
from distill_grpc.cli.banner import banner
from distill_grpc.cli.failure import Failure
from distill_grpc.cli.main import app
from distill_grpc.settings import Settings

Run = Callable[..., Any]

PROMISED = [
    *(
        "serve",
        "core",
        "facade",
        "worker",
        "migrate",
        "token",
        "doctor",
        "watch",
        "unwatch",
        "sync",
    ),
    *("status", "recent", "search", "digest", "connect", "connections", "disconnect"),
    *("ask", "tags", "preferences", "feed", "keys"),
]


@pytest.mark.parametrize("command", PROMISED)
def test_every_promised_command_has_help(distill: Run, command: str) -> None:
    told = distill(command, "--help")
    assert told.code == 0
    assert f"Usage: distill {command}" in told.out


def test_every_option_explains_itself() -> None:
    left = [("distill", get_command(app))]
    seen = 0
    while left:
        name, command = left.pop()
        assert command.help, name
        for parameter in command.params:
            seen += 1
            assert getattr(parameter, "help", ""), f"{name} {parameter.name}"
        left += [(f"{name} {word}", own) for word, own in getattr(command, "commands", {}).items()]
    assert seen > 100


def test_no_command_shows_the_help(distill: Run) -> None:
    told = distill()
    assert told.code == 0
    assert "serve" in told.out
    assert "node" not in told.out.split()
    assert "completion" not in told.out


def test_summaries_stand_whole_on_80_columns(distill: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert "..." not in distill("--help").out.partition("Commands:")[2]


def test_the_help_of_serve_lists_settings_with_their_defaults(
    distill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = distill("serve", "--help").out
    for line in (
        "DISTILL_SYNC_FREQUENCY (default: 30m)",
        "DISTILL_SUMMARY_RETENTION (default: 30d)",
        "DISTILL_DATA_DIR (default: .distill)",
        "DISTILL_MOCK (default: 0)",
        "DISTILL_REDIS_URL\n",
        "DISTILL_LOCAL_ISSUER\n",
    ):
        assert line in told
    assert max(map(len, told.splitlines())) <= 80


def test_the_version_is_printed(distill: Run) -> None:
    assert distill("--version").out.startswith("distill 0.")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["nonsense"], "No such command"),
        (["sync", "--nonsense"], "No such option"),
        (["token"], "--user-id"),
        (["recent", "--hours", "169"], "--hours"),
        (["watch", "--backfill-days", "x"], "--backfill-days"),
        (["facade", "--core", "nowhere"], "--core must be host:port"),
        (["facade", "--core", "127.0.0.1:50051,"], "(it is '')"),
        (["facade", "--core", "127.0.0.1:50051,core:0"], "(it is 'core:0')"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(distill: Run, line: list[str], says: str) -> None:
    told = distill(*line)
    assert told.code == 2
    assert told.out == ""
    assert says in told.err
    assert told.err.count("\n") == 1


@pytest.mark.parametrize("command", ["serve", "core", "worker", "migrate", "status"])
def test_a_wrong_setting_is_one_line_that_names_the_variable(
    distill: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("DISTILL_SYNC_FREQUENCY", "1s")
    told = distill(command)
    assert told.code == 2
    assert told.err.startswith("distill: DISTILL_SYNC_FREQUENCY: ")
    assert told.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DISTILL_MOCK", "maybe", "must be 0 or 1 (it is 'maybe')"),
        ("DISTILL_SOURCES", "foo", "unknown source 'foo'"),
        ("DISTILL_PUBLIC_URL", "distill.example", "must be an http or https address"),
        ("DISTILL_PUBLIC_URL", "https://", "must be an http or https address"),
        ("DISTILL_PUBLIC_URL", "https://a@d.example", "must have no query, fragment, user name"),
        ("DISTILL_PUBLIC_URL", "https://d.example/?a=b", "must have no query, fragment, user name"),
        ("DISTILL_ENCRYPTION_KEYS", "abc", "key 1"),
    ],
)
def test_serve_refuses_a_wrong_setting_once_before_it_starts_anything(
    distill: Run, home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv("DISTILL_HTTP_ADDRESS", "127.0.0.1:0")
    monkeypatch.setenv("DISTILL_GRPC_ADDRESS", "127.0.0.1:0")
    monkeypatch.setenv(name, value)
    told = distill("serve")
    assert told.code == 2
    assert told.err.startswith(f"distill: {name}: ")
    assert says in told.err
    assert told.err.count("\n") == 1
    assert not (home / ".distill" / "postgres").exists()


def test_serve_refuses_one_address_for_both_doors(
    distill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISTILL_HTTP_ADDRESS", "DISTILL_GRPC_ADDRESS"):
        monkeypatch.setenv(name, "127.0.0.1:8080")
    told = distill("serve")
    assert told.code == 2
    assert told.err == (
        "distill: DISTILL_HTTP_ADDRESS and DISTILL_GRPC_ADDRESS must differ "
        "(both are 127.0.0.1:8080)\n"
    )


def test_a_second_serve_in_a_data_directory_is_refused(distill: Run, home: Path) -> None:
    with alone.only_one(home / ".distill"):
        told = distill("serve")
    assert told.code == 1
    assert told.err == (
        f"distill: another `distill serve` runs in this data directory (pid {os.getpid()})\n"
    )
    with alone.only_one(home / ".distill"):  # who is gone holds nothing
        pass


def test_what_is_set_in_vain_is_told_with_what_was_meant(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for known in ("URL", "TOKEN", "CREDENTIAL_X", "TEST_X", "MOCK"):
        monkeypatch.setenv(f"DISTILL_{known}", "1")
    assert environment.strays() == []
    monkeypatch.setenv("DISTILL_DATADIR", "x")
    (home / ".env").write_text("DISTILL_ZZZZ=1\nOTHER=1\nthis is no line\n")
    assert environment.strays() == [
        ".env: line 3 cannot be read",
        "DISTILL_DATADIR is no setting; did you mean DISTILL_DATA_DIR?",
        "DISTILL_ZZZZ is no setting",
    ]


def test_a_role_tells_what_is_set_in_vain_and_a_client_command_does_not(
    distill: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".env").write_text("DISTILL_MOC=1\nthis is no line\n")
    monkeypatch.setenv("DISTILL_DATABASE_URL", "postgresql://127.0.0.1:1/x")
    told = distill("migrate").err.splitlines()
    assert ["line 2" in line for line in told] == [True, False, False]
    assert ["did you mean DISTILL_MOCK?" in line for line in told] == [False, True, False]
    monkeypatch.setenv("DISTILL_HTTP_ADDRESS", "127.0.0.1:1")
    assert distill("status").err.count("\n") == 1


def test_an_env_file_that_is_no_text_is_one_line(distill: Run, home: Path) -> None:
    (home / ".env").write_bytes(b"DISTILL_MOCK=\xff")
    told = distill("status")
    assert told.code == 2
    assert told.err.startswith("distill: .env cannot be read")
    assert told.err.count("\n") == 1


def test_mock_data_lies_apart_unless_a_folder_is_set(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Settings().data_dir == Path(".distill")
    monkeypatch.setenv("DISTILL_MOCK", "1")
    assert Settings().data_dir == Path(".distill-mock")
    monkeypatch.setenv("DISTILL_DATA_DIR", "own")
    assert Settings().data_dir == Path("own")


def test_a_token_and_nothing_else_is_printed(distill: Run) -> None:
    told = distill("token", "--user-id", "u1", "--email", "u@example.com", "--no-credits")
    assert told.err == ""
    claims = jwt.decode(told.out.strip(), options={"verify_signature": False})
    assert claims["user_id"] == "u1"
    assert claims["email"] == "u@example.com"
    assert claims["credits_available"] is False
    assert claims["exp"] - claims["iat"] == 3600


def test_a_negative_expiry_makes_an_expired_token(distill: Run) -> None:
    told = distill("token", "--user-id", "u", "--email", "u@e.com", "--expires-in", "-60")
    claims = jwt.decode(told.out.strip(), options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == -60


def test_a_token_that_nobody_would_accept_is_refused(distill: Run) -> None:
    told = distill("token", "--user-id", "", "--email", "u@e.com")
    assert told.code == 1
    assert "user id" in told.err
    assert told.err.count("\n") == 1


def test_keys_that_cannot_be_made_are_told_in_one_line(distill: Run, home: Path) -> None:
    (home / ".distill").write_text("a file")
    told = distill("token", "--user-id", "u", "--email", "u@e.com")
    assert told.code == 1
    assert told.err.count("\n") == 1


def test_a_free_port_is_claimed_and_zero_becomes_one() -> None:
    address = ports.claim("127.0.0.1:0", "DISTILL_HTTP_ADDRESS")
    assert int(address.rpartition(":")[2]) > 0
    assert ports.claim(address, "DISTILL_HTTP_ADDRESS") == address


def test_two_ports_that_are_drawn_at_once_differ() -> None:
    names = "DISTILL_HTTP_ADDRESS", "DISTILL_GRPC_ADDRESS"
    # More draws than the system has ports for: only what is held is never drawn again.
    for _ in range(20_000):
        drawn = ports.claim_all(dict.fromkeys(names, "127.0.0.1:0"))
        assert len(set(drawn.values())) == 2


def test_a_port_that_another_instance_would_share_is_refused() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(Failure, match="taken by another program"):
            ports.claim(address, "DISTILL_HTTP_ADDRESS")


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(Failure, match="no address of this machine"):
        ports.claim("192.0.2.1:8080", "DISTILL_HTTP_ADDRESS")


@pytest.mark.parametrize(
    ("given", "called"),
    [
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("[::]:80", "[::1]:80"),
        ("localhost:80", "localhost:80"),
        ("[::1]:80", "[::1]:80"),
    ],
)
def test_an_address_is_shown_as_this_machine_calls_it(given: str, called: str) -> None:
    assert ports.reachable(given) == called


def test_the_banner_has_addresses_a_token_and_three_commands(home: Path) -> None:
    shown = banner(Settings(http_address="0.0.0.0:8080"), with_token=True)
    assert "http://127.0.0.1:8080/docs" in shown
    assert shown.count("curl ") == 3
    token = next(line for line in shown.splitlines() if "export TOKEN=" in line).partition("=")[2]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 86_400
    assert "'http://127.0.0.1:8080/content/recent?hours=168'" in shown
    assert "Mock mode" not in shown


def test_where_no_terminal_reads_the_banner_has_no_token(home: Path) -> None:
    shown = banner(Settings(mock=True), with_token=False)
    assert "eyJ" not in shown
    assert f"export TOKEN=$(DISTILL_DATA_DIR={home}/.distill-mock " in shown
    assert "distill token --user-id you --email you@example.com)" in shown
    assert "Mock mode: platforms are played, nothing is fetched." in shown


def test_where_another_issuer_signs_the_banner_makes_no_token(home: Path) -> None:
    shown = banner(Settings(jwt_jwks_url="https://issuer.example/keys"), with_token=True)
    assert "https://issuer.example/keys" in shown
    assert "eyJ" not in shown

"""Logs: one line an event, no secret in any, nothing that a stranger could smuggle in."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill_grpc import logs

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJ1c2VyX2lkIjoidSJ9.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, Any]]]:
    logs.configure(format="json", level="info", role="test")
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_an_event_is_one_line_with_time_level_and_role(lines: Any) -> None:
    structlog.get_logger().info("something", count=3)
    (line,) = lines()
    assert line["event"] == "something"
    assert line["level"] == "info"
    assert line["role"] == "test"
    assert line["count"] == 3
    assert line["timestamp"].endswith("Z")


def test_the_request_s_context_stands_in_every_line(lines: Any) -> None:
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger().info("inside")
    assert lines()[0]["request_id"] == "r1"


def test_levels_below_the_chosen_one_are_silent(lines: Any) -> None:
    structlog.get_logger().debug("nothing")
    assert lines() == []


def test_libraries_are_heard_from_warning_upwards(lines: Any) -> None:
    logging.getLogger("grpc").info("nothing")
    logging.getLogger("grpc").warning("look %s", "here")
    (line,) = lines()
    assert (line["event"], line["logger"], line["level"]) == ("look here", "grpc", "warning")


def test_an_exception_is_in_its_line(lines: Any) -> None:
    try:
        raise ValueError(f"wrong {JWT}")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = lines()
    assert "ValueError: wrong [redacted]" in line["exception"]


@pytest.mark.parametrize(
    "name",
    ["authorization", "Authorization", "access_token", "refresh_token", "password", "client_secret",
     "credentials", "Set-Cookie", "api_key", "apikey", "dsn", "database_url", "private_key"],
)  # fmt: skip
def test_fields_with_a_secret_s_name_are_emptied_at_every_depth(lines: Any, name: str) -> None:
    structlog.get_logger().info("event", **{name: "hush", "deep": [{"more": {name: "hush"}}]})
    (line,) = lines()
    assert "hush" not in json.dumps(line)
    assert line[name] == logs.REDACTED


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"token {JWT} refused", "eyJ1c2Vy"),
        ("Authorization: Bearer abcdef1234567890", "abcdef1234567890"),
        ("connect postgresql://me:s3cret@host/db", "s3cret"),
        ("connect amqp://me:p%40ss@host", "p%40ss"),
        ("GET https://api.example/v3?part=x&key=AIzaSecret&id=1", "AIzaSecret"),
        ("GET https://e.com/?access_token=abc123", "abc123"),
        ("host=h password=s3cret dbname=d", "s3cret"),
    ],
)
def test_values_that_look_like_a_secret_are_taken_out(lines: Any, text: str, hidden: str) -> None:
    structlog.get_logger().info("event", said=text)
    logging.getLogger("library").error(text)
    for line in lines():
        assert hidden not in json.dumps(line)
        assert logs.REDACTED in json.dumps(line)


def test_harmless_values_stay(lines: Any) -> None:
    said = {"input_tokens": 12, "token_type": "OAuth2", "has_credentials": True, "path": "/a?b=c"}
    structlog.get_logger().info("event", **said)
    assert said.items() <= lines()[0].items()


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(value=st.text(alphabet=st.characters(exclude_categories=())), key=st.text(max_size=10))
def test_nothing_begins_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str], value: str, key: str
) -> None:
    logs.configure(format="json", level="info", role="test")
    structlog.get_logger().info(
        "event", value=value, more={key: value}, bytes=value.encode("utf-8", "replace")
    )
    out = capsys.readouterr().err
    assert out.count("\n") == 1
    assert "\x1b" not in out
    assert json.loads(out)["event"] == "event"


def test_a_console_shows_control_characters_instead_of_obeying_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure(format="console", level="info", role="test")
    structlog.get_logger().info("event", value="\x1b[31mred\x07", more="a\nlevel=error")
    out = capsys.readouterr().err
    assert "\x1b" not in out
    assert "\x07" not in out
    assert out.count("\n") == 1


def test_auto_is_json_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(format="auto", level="info", role="test")
    structlog.get_logger().info("event")
    assert json.loads(capsys.readouterr().err)["event"] == "event"


def test_a_stderr_that_is_gone_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def isatty(self) -> bool:
            return False

        def write(self, _text: str) -> int:
            raise BrokenPipeError

    logs.configure(format="json", level="info", role="test")
    monkeypatch.setattr("sys.stderr", Gone())
    structlog.get_logger().info("event")

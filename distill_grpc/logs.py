"""One line an event, on stderr, from structlog and from the libraries' loggers alike.

`json` for machines: nothing that a stranger sends can begin a line of its own. `console` for people.
Secrets are taken out on the way, by the name of the field and by the look of the value; that is the
net below the rule that nobody logs them.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"
_MAX_DEPTH = 6

_SECRET_NAME = re.compile(
    r"authorization|token|password|passwd|secret|credential|cookie|api_?key|private_?key"
    r"|dsn|database_url",
    re.IGNORECASE,
)
# Their names only look like a secret's.
_HARMLESS = re.compile(r"tokens$|token_(type|count|id)$|has_credentials$", re.IGNORECASE)

_SECRET_VALUES: tuple[tuple[re.Pattern[str], str], ...] = (
    # A JSON Web Token: its header always begins with `{"`, which is `eyJ` in base64url.
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]*\.?[\w-]*"), REDACTED),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {REDACTED}"),
    # scheme://user:password@host
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*):[^\s@/]+@", re.IGNORECASE), rf"\1:{REDACTED}@"),
    (
        re.compile(
            r"([?&;](?:[\w-]*token|[\w-]*key|password|secret|signature|sig|code)=)[^&\s#'\"]+",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
    # libpq's key=value form.
    (re.compile(r"(\bpassword=)('[^']*'|[^\s&]+)", re.IGNORECASE), rf"\1{REDACTED}"),
)
# What every one of those patterns needs.
_SUSPICIOUS = re.compile(r"eyJ|=|://|[BbRrCc] ")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(
    *,
    format: Literal["json", "console", "auto"] = "auto",  # noqa: A002 -- the setting's name
    level: str = "info",
    role: str,
) -> None:
    """Sets up logging for this process.

    `auto` is `console` on a terminal, else `json`. `role` stands in every line (`node`, `worker`, …).
    Libraries are heard from `warning` upwards. Calling it again replaces what was set up.
    """
    on_terminal = sys.stderr.isatty()
    console = format == "console" or (format == "auto" and on_terminal)
    number = _LEVELS[level]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _with_role(role),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            redact,
            *(_console(colours=on_terminal) if console else (_render_json,)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_Lines,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Bridge):
            root.removeHandler(handler)
    root.addHandler(_Bridge(level=max(number, logging.WARNING)))
    logging.captureWarnings(capture=True)


@contextmanager
def silenced() -> Iterator[None]:
    """Nothing is logged meanwhile: a command tells what it finds, and its output is for scripts too."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Takes secrets out of an event: a structlog processor."""
    return {name: _clean(value, name) for name, value in event.items()}


def _clean(value: Any, name: str = "", depth: int = 0) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if _names_a_secret(name):
        return REDACTED
    if isinstance(value, str):
        return _clean_text(value)
    if isinstance(value, int | float):
        return value
    return _clean_other(value, depth)


def _clean_other(value: Any, depth: int) -> Any:
    match value:
        case Mapping() if depth < _MAX_DEPTH:
            return {str(k): _clean(v, str(k), depth + 1) for k, v in value.items()}
        case list() | tuple() | set() | frozenset() if depth < _MAX_DEPTH:
            return [_clean(v, "", depth + 1) for v in value]
        case bytes():
            return _clean_text(value.decode(errors="replace"))
        case _:
            return _clean_text(str(value))


@lru_cache(maxsize=1000)
def _names_a_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(name)) and not _HARMLESS.search(name)


def _clean_text(text: str) -> str:
    # Most values are short words and paths, and are logged by the thousand.
    if not _SUSPICIOUS.search(text):
        return text
    for pattern, replacement in _SECRET_VALUES:
        text = pattern.sub(replacement, text)
    return text


class _Lines:
    """Writes lines to stderr; a stderr that is gone stops nobody's work."""

    def __init__(self, *_arguments: object) -> None:
        pass

    def msg(self, line: str) -> None:
        try:
            # One write a line: processes that share the stream do not mix their lines.
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = warn = error = critical = exception = fatal = log = msg


class _Bridge(logging.Handler):
    """Hands the records of the standard library's loggers to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            structlog.get_logger().log(
                record.levelno,
                record.getMessage(),
                logger=record.name,
                **({"exc_info": record.exc_info} if record.exc_info else {}),
            )
        except Exception:
            self.handleError(record)


def _with_role(role: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["role"] = role
        return event

    return add


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    # The three that every line has come first, for people who read JSON.
    line: dict[str, Any] = {k: event.pop(k) for k in ("timestamp", "level", "event") if k in event}
    line.update(event)
    try:
        return orjson.dumps(line, default=str).decode()
    except TypeError:  # a lone surrogate, an integer beyond 64 bits: rare, and not to be lost
        return json.dumps(line, default=str)


def _console(*, colours: bool) -> tuple[Processor, ...]:
    def visible(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Shows control characters instead of sending them to the terminal."""
        return {
            name: _CONTROL.sub(lambda m: repr(m[0])[1:-1], value)
            if isinstance(value, str)
            else value
            for name, value in event.items()
        }

    renderer = structlog.dev.ConsoleRenderer(
        colors=colours, exception_formatter=structlog.dev.plain_traceback
    )
    return visible, renderer

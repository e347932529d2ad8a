"""The variables: which there are, with their defaults, and which are set without being any."""

from __future__ import annotations

import difflib
import os
import textwrap
from datetime import timedelta
from pathlib import Path
from typing import Any

from distill_grpc.cli.supervised import VARIABLE
from distill_grpc.settings import Settings, variable

_PREFIX = "DISTILL_"
# What commands and tests read beside the settings.
_OTHERS = {"DISTILL_URL", "DISTILL_TOKEN", VARIABLE}
_FAMILIES = ("DISTILL_CREDENTIAL_", "DISTILL_TEST_")


def table() -> str:
    """Every setting with its default and its meaning, for `--help`."""
    lines = ["\b", "Settings, from the environment or from .env in the working directory:"]
    for name, field in Settings.model_fields.items():
        # Some follow others where they are unset; the description says how.
        default = "" if "unset: " in str(field.description) else _shown(field.default)
        lines.append(f"  {variable(name)}" + (f" (default: {default})" if default else ""))
        lines += textwrap.wrap(
            str(field.description), 78, initial_indent="      ", subsequent_indent="      "
        )
    return "\n".join(lines)


def strays() -> list[str]:
    """One line for each `DISTILL_…` variable that is no setting, and each broken line of .env."""
    names, broken = _env_file()
    fields = [name.upper() for name in Settings.model_fields]
    known = {_PREFIX + field for field in fields} | _OTHERS
    found = [f".env: line {number} cannot be read" for number in broken]
    for name in sorted({name.upper() for name in (*os.environ, *names)}):
        if not name.startswith(_PREFIX) or name in known or name.startswith(_FAMILIES):
            continue
        near = difflib.get_close_matches(name.removeprefix(_PREFIX), fields, n=1)
        meant = f"; did you mean {_PREFIX}{near[0]}?" if near else ""
        found.append(f"{name} is no setting{meant}")
    return found


def _env_file() -> tuple[list[str], list[int]]:
    """The names in .env, and the numbers of the lines that are no assignment."""
    from dotenv.parser import parse_stream

    path = Path(str(Settings.model_config["env_file"]))
    if not path.is_file():
        return [], []
    with path.open(encoding="utf-8") as stream:
        bindings = list(parse_stream(stream))
    return (
        [binding.key for binding in bindings if binding.key],
        [binding.original.line for binding in bindings if binding.error],
    )


def _shown(default: Any) -> str:
    """A default as it would be set; empty where a setting is unset by default."""
    match default:
        case None | ():
            return ""
        case bool():
            return str(int(default))
        case timedelta():
            return _duration(default)
        case _:
            return str(default)


def _duration(value: timedelta) -> str:
    seconds = int(value.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"

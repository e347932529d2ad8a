"""Options of `distill connect` that only the source knows: its credentials and settings by name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distill_grpc.cli.failure import Failure


@dataclass(frozen=True, slots=True)
class Told:
    """Options sorted by what the source calls them."""

    secrets: list[tuple[str, str | None]] = field(default_factory=list, repr=False)
    settings: dict[str, Any] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)  # to be added to what there is


def named_options(arguments: Sequence[str]) -> list[tuple[str, str | None]]:
    """`--name value`, `--name=value` and `--name` as names and values, in their order."""
    found: list[tuple[str, str | None]] = []
    rest = list(arguments)
    while rest:
        first = rest.pop(0)
        if not first.startswith("--") or len(first) == 2:
            raise Failure("connect takes one source, then options", exit_code=2)
        name, assigned, value = first[2:].partition("=")
        if assigned:
            found.append((_plain(name), value))
        elif rest and not rest[0].startswith("--"):
            found.append((_plain(name), rest.pop(0)))
        else:
            found.append((_plain(name), None))
    return found


def sort_options(options: Sequence[tuple[str, str | None]], source: Mapping[str, Any]) -> Told:
    """Options by what `/capabilities` says about the source; `Failure` for those it does not know.

    The singular of a setting (`--channel` of `channels`) adds to its list.
    """
    credentials, settings = source.get("credentials") or {}, source.get("settings") or {}
    told = Told()
    for name, value in options:
        if name in credentials:
            told.secrets.append((name, value))
        elif value is None and (name in settings or f"{name}s" in settings):
            raise Failure(f"--{name} needs a value", exit_code=2)
        elif value is not None and name in settings:
            told.settings[name] = _json(value)
        elif value is not None and f"{name}s" in settings:
            told.lists.setdefault(f"{name}s", []).append(value)
        else:
            known = ", ".join(f"--{known}" for known in (*credentials, *settings)) or "no options"
            raise Failure(f"{source.get('name')} has no --{name}; it has {known}", exit_code=2)
    return told


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _json(value: str) -> Any:
    """A value that is JSON is taken as such, so that lists and numbers can be given."""
    try:
        return json.loads(value)
    except ValueError:
        return value

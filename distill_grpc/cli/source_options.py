"""Options of `distill connect` that only the source knows: its credentials and settings by name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distill_grpc.cli.failure import Failure
from distill_grpc.cli.known_sources import known


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

    A setting that is a list is added to by its singular and its plural (`--channel`, `--channels`); a
    list in JSON takes its place.
    """
    credentials, settings = source.get("credentials") or {}, source.get("settings") or {}
    lists = _lists(str(source.get("name")), settings)
    told = Told()
    for name, value in options:
        if name in credentials:
            told.secrets.append((name, value))
        elif name not in settings and name not in lists:
            names = ", ".join(f"--{one}" for one in (*credentials, *settings)) or "no options"
            raise Failure(f"{source.get('name')} has no --{name}; it has {names}", exit_code=2)
        elif value is None:
            raise Failure(f"--{name} needs a value", exit_code=2)
        elif name in lists and not isinstance(_json(value), list):
            told.lists.setdefault(lists[name], []).append(value)
        else:
            told.settings[lists.get(name, name)] = _json(value)
    return told


def _lists(source: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings that are lists, by each option's name; of a source nobody knows here, by singulars."""
    named = known(source).lists
    if not named:
        named = {name: _singular(name) for name in settings if _singular(name) not in settings}
        return {singular: name for name, singular in named.items()}
    return {option: name for name, singular in named.items() for option in (name, singular)}


def _singular(name: str) -> str:
    return name[:-3] + "y" if name.endswith("ies") else name.removesuffix("s")


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _json(value: str) -> Any:
    """A value that is JSON is taken as such, so that lists and numbers can be given."""
    try:
        return json.loads(value)
    except ValueError:
        return value

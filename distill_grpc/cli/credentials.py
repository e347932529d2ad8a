"""Credentials for `distill connect`: from the environment, a line of stdin, or a person."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import typer

from distill_grpc.cli.failure import Failure
from distill_grpc.cli.known_sources import OPEN, known

# Errors that new credentials may mend.
REFUSED = {"no_platform_auth", "token_expired"}


def named(name: str) -> str:
    """A credential that stands on no command line, where every user of the machine could read it."""
    variable = f"DISTILL_CREDENTIAL_{name.upper()}"
    if value := os.environ.get(variable):
        return value
    if not sys.stdin.isatty():
        raise Failure(f"set {variable}, or run this in a terminal to be asked for it", exit_code=2)
    return str(typer.prompt(name, hide_input=True, err=True))


def given(name: str, value: str | None) -> str:
    """A credential that was named as an option: its value, a line of stdin for `-`, or asked for."""
    if value is None:
        return named(name)
    if value != "-":
        return value
    if line := sys.stdin.readline().rstrip("\r\n"):
        return line
    raise Failure(f"--{name} - reads the value from stdin, which has none", exit_code=2)


def are_wanted(
    source: Mapping[str, Any],
    connection: Mapping[str, Any] | None,
    settings: Mapping[str, Any],
) -> bool:
    """True where an account is new, or refused, and nobody but the user has its credentials.

    `source` is what `/capabilities` says about it, `settings` are those that it is to have.
    """
    if not source.get("credentials") or source.get("central_tokens"):
        return False
    only_with = known(str(source["name"])).only_with
    if only_with and only_with not in settings:
        return False
    return connection is None or (
        connection.get("state") == "action_required" and connection.get("error") in REFUSED
    )


def asked_for(source: Mapping[str, Any]) -> dict[str, str]:
    """What a person types, unseen where it is a secret; nothing where they only press Enter."""
    sets = known(str(source["name"])).credentials
    for names in sets:
        if first := _ask(names[0], optional=True):
            return {names[0]: first} | {name: _ask(name) for name in names[1:]}
    return {} if sets else _ask_each(source["credentials"])


def _ask_each(names: Iterable[str]) -> dict[str, str]:
    answers = {name: _ask(name, optional=True) for name in names}
    return {name: answer for name, answer in answers.items() if answer}


def _ask(name: str, *, optional: bool = False) -> str:
    return str(
        typer.prompt(
            f"{name} (Enter: none)" if optional else name,
            default="" if optional else None,
            show_default=False,
            hide_input=name not in OPEN,
            err=True,
        )
    )

"""Puts the commands together, and turns every failure into one line."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.main import get_command

from distill_grpc.cli import (
    connecting,
    doctor,
    feeds,
    jobs,
    keys,
    preferences,
    reading,
    roles,
    tags,
    tokens,
    watching,
)
from distill_grpc.settings import SettingsError

app = typer.Typer(
    name="distill",
    help="Watches people's accounts, collects what is new, and turns it into search and digests.",
    epilog="Settings are environment variables: `distill serve --help` lists them.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"distill {metadata.version('distill')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 -- its callback acts on it
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for part in (
    roles,
    tokens,
    keys,
    jobs,
    doctor,
    watching,
    connecting,
    reading,
    tags,
    preferences,
    feeds,
):
    part.add_commands(app)


def run() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Runs one command line; returns its exit code, having told every failure on stderr."""
    # A broken line in .env is told by the roles, and by `distill doctor`.
    logging.getLogger("dotenv").setLevel(logging.ERROR)
    try:
        result = get_command(app).main(
            args=list(arguments), prog_name="distill", standalone_mode=False
        )
    except SettingsError as error:
        return _tell(str(error), 2)
    except typer.TyperException as error:
        return _tell(error.format_message().rstrip(".") + _where_help_is(error), error.exit_code)
    except typer.Abort:
        return 130
    except Exception as error:
        if os.environ.get("DISTILL_LOG_LEVEL") == "debug":
            raise
        told = " ".join(f"{type(error).__name__}: {error}".split())
        return _tell(f"unexpected: {told} (DISTILL_LOG_LEVEL=debug shows where)", 1)
    return result if isinstance(result, int) else 0


def _tell(message: str, code: int) -> int:
    print(f"distill: {message}", file=sys.stderr)
    return code


def _where_help_is(error: typer.TyperException) -> str:
    context: Any = getattr(error, "ctx", None)
    return f" (see `{context.command_path} --help`)" if context is not None else ""

"""`distill keys`: the keys for stored credentials, listed and rotated while everything runs."""

from __future__ import annotations

import base64
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from distill_grpc import settings as settings_module
from distill_grpc.cli.database import with_engine
from distill_grpc.cli.failure import Failure
from distill_grpc.cli.options import Json, print_json
from distill_grpc.cli.showing import console, count, plain, rows
from distill_grpc.settings import SettingsError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from distill_grpc.encryption import Keyring

T = TypeVar("T")

_group = typer.Typer(
    name="keys",
    help="List, make and rotate the keys for stored credentials.",
    no_args_is_help=True,
)


def add_commands(app: typer.Typer) -> None:
    """Adds `keys`."""
    app.add_typer(_group)


@_group.command("list")
def list_keys(as_json: Json = False) -> None:
    """List the keys, by their ids, and how much each has sealed."""
    from distill_grpc.feed import keys

    found = _run(keys.list_keys)
    if as_json:
        print_json(
            [
                {"key": use.key_id, "values": use.values, "known": use.is_there, "seals": use.seals}
                for use in found
            ]
        )
        return
    table = rows("key", "seals", "values")
    for use in found:
        role = "what is new" if use.seals else "nothing new" if use.is_there else "is missing"
        table.add_row(plain(use.key_id), plain(role), plain(use.values))
    console().print(table)


@_group.command("new")
def new() -> None:
    """Print a new key, to be put in front of the others in DISTILL_ENCRYPTION_KEYS."""
    typer.echo(base64.b64encode(os.urandom(32)).decode())


@_group.command("rotate")
def rotate(as_json: Json = False) -> None:
    """Seal everything with the newest key, while the service runs.

    Put the new key in front of the old ones in DISTILL_ENCRYPTION_KEYS and restart; rotate; then take
    the old ones away.
    """
    from distill_grpc.feed import keys

    done = _run(keys.rotate)
    if as_json:
        by_kind = {kind.replace(" ", "_"): number for kind, number in done.sealed.items()}
        print_json({**by_kind, "left": done.left})
    else:
        sealed = ", ".join(f"{number} {kind}" for kind, number in done.sealed.items())
        typer.echo(f"sealed anew: {sealed}; old keys are needed for {done.left} values")
    if done.left:
        raise Failure("some values open with no key that is there; `distill keys list` shows whose")


@_group.command("forget")
def forget(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove what was sealed with keys that are lost; those accounts must be connected again."""
    from distill_grpc.feed import keys

    missing = sum(use.values for use in _run(keys.list_keys) if not use.is_there)
    if not missing:
        typer.echo("every key that has sealed something is there")
        return
    if not yes:
        typer.confirm(f"Remove {count(missing, 'value')} for good?", abort=True, err=True)
    typer.echo(f"removed {count(_run(keys.forget_missing), 'value')}")


def _run(work: Callable[[AsyncEngine, Keyring], Awaitable[T]]) -> T:
    """Runs with the database and the keys of this machine's settings."""
    from distill_grpc.encryption import KeyFileError, Keyring

    settings = settings_module.load()
    try:
        keyring = Keyring.load(settings.encryption_keys, settings.data_dir)
    except (ValueError, KeyFileError) as error:
        raise SettingsError(f"DISTILL_ENCRYPTION_KEYS: {error}") from None

    return with_engine(settings, lambda engine: work(engine, keyring))

"""`distill connect`, `connections` and `disconnect`."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Any
from urllib.parse import quote

import typer

from distill_grpc.cli.failure import Failure
from distill_grpc.cli.options import Json, Token, Url, ask
from distill_grpc.cli.showing import console, facts, plain, rows, state, when

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The source's name, such as `rss`.")]


def add_commands(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    app.command("connect")(connect)
    app.command("connections")(connections)
    app.command("disconnect")(disconnect)


def connect(
    source: Source,
    *,
    feed: Annotated[
        list[str], typer.Option(metavar="URL", help="`rss`: a feed's address; may be repeated.")
    ] = [],  # noqa: B006 -- typer copies it
    setting: Annotated[
        list[str],
        typer.Option(metavar="NAME=VALUE", help="A setting of the source; may be repeated."),
    ] = [],  # noqa: B006 -- typer copies it
    credential: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="A credential of the source; its value is read from the environment variable "
            "DISTILL_CREDENTIAL_<NAME>, or asked for. May be repeated.",
        ),
    ] = [],  # noqa: B006 -- typer copies it
    as_json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Connect an account, or change how it is connected."""
    settings = dict(_pair(text) for text in setting)
    if feed:
        settings["feeds"] = feed
    body: dict[str, Any] = {"settings": settings} if settings else {}
    if credential:
        body["credentials"] = {name: _secret(name) for name in credential}
    ask(
        url,
        token,
        lambda client: client.call("PUT", _path(source), body=body),
        as_json=as_json,
        show=lambda answer: _show([answer]),
    )


def connections(as_json: Json = False, url: Url = None, token: Token = None) -> None:
    """List what is connected, and how it does."""
    ask(
        url,
        token,
        lambda client: client.call("GET", "/connections"),
        as_json=as_json,
        show=lambda answer: _show(answer.get("connections", [])),
    )


def disconnect(source: Source, as_json: Json = False, url: Url = None, token: Token = None) -> None:
    """Disconnect an account: its credentials are deleted at once."""
    ask(
        url,
        token,
        lambda client: client.call("DELETE", _path(source)),
        as_json=as_json,
        show=lambda answer: console().print(facts([(answer["source"], answer["status"])])),
    )


def _path(source: str) -> str:
    return f"/connections/{quote(source, safe='')}"


def _pair(text: str) -> tuple[str, Any]:
    """`name=value`; a value that is JSON is taken as such, so that lists and numbers can be given."""
    name, found, value = text.partition("=")
    if not found or not name:
        raise Failure(f"--setting takes NAME=VALUE (it is {text!r})", exit_code=2)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _secret(name: str) -> str:
    """A credential that stands on no command line, where every user of the machine could read it."""
    variable = f"DISTILL_CREDENTIAL_{name.upper()}"
    if value := os.environ.get(variable):
        return value
    if not sys.stdin.isatty():
        raise Failure(f"set {variable}, or run this in a terminal to be asked for it", exit_code=2)
    return str(typer.prompt(name, hide_input=True, err=True))


def _show(found: list[Any]) -> None:
    out = console()
    if not found:
        out.print("Nothing is connected; `distill connect rss --feed URL` connects a feed.")
        return
    table = rows("source", "part", "state", "last read", "")
    for connection in found:
        table.add_row(
            plain(connection["source"], style="bold"),
            plain(connection.get("account", "")),
            state(connection["state"]),
            when(connection.get("last_success")),
            plain(connection.get("message", "")),
        )
        for part in connection.get("parts", []):
            table.add_row(
                "",
                plain(part.get("title") or part["name"]),
                state(part["state"]),
                when(part.get("last_success")),
                plain(part.get("message", "")),
            )
    out.print(table)

"""`distill feed`: your digests as a feed behind a secret address."""

from __future__ import annotations

from typing import Any

import typer

from distill_grpc.cli.options import Json, Token, Url, ask
from distill_grpc.cli.showing import console, facts, plain

_PATH = "/digests/feed"

_group = typer.Typer(
    name="feed",
    help="Make and end the feed of your digests, for any feed reader.",
    no_args_is_help=True,
)


def add_commands(app: typer.Typer) -> None:
    """Adds `feed`."""
    app.add_typer(_group)


@_group.command("new")
def new(as_json: Json = False, url: Url = None, token: Token = None) -> None:
    """Make a secret address for your digests; the one before stops working."""
    ask(url, token, lambda client: client.call("POST", _PATH), as_json=as_json, show=_show)


@_group.command("end")
def end(as_json: Json = False, url: Url = None, token: Token = None) -> None:
    """End the feed: its address stops working."""
    ask(
        url,
        token,
        lambda client: client.call("DELETE", _PATH),
        as_json=as_json,
        show=lambda _: console().print(plain("The feed's address does not work any more.")),
    )


def _show(answer: Any) -> None:
    out = console()
    out.print(facts((kind, answer[kind]) for kind in ("rss", "atom", "json")))
    out.print(plain("Whoever has an address can read your digests; it is shown once.", style="dim"))

"""`distill tags`: the words that items are tagged with."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from distill_grpc.cli.client import Client
from distill_grpc.cli.failure import Failure
from distill_grpc.cli.options import Json, Token, Url, ask
from distill_grpc.cli.showing import console, plain

_PATH = "/tags/vocabulary"


def add_commands(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    app.command("tags")(tags)


def tags(
    *,
    add: Annotated[
        list[str],
        typer.Option(
            metavar="NAME[=ALIAS,…]",
            help="Add a tag with other words for it, or replace it: --add kubernetes=k8s,kube.",
        ),
    ] = [],
    remove: Annotated[
        list[str], typer.Option(metavar="NAME", help="Remove a tag; may be repeated.")
    ] = [],
    as_json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Show or change your vocabulary of tags.

    What is there is tagged anew in the background.
    """

    async def work(client: Client) -> Any:
        kept = await client.call("GET", _PATH)
        if not add and not remove:
            return kept
        return await client.call("PUT", _PATH, body={"tags": _changed(kept["tags"], add, remove)})

    ask(url, token, work, as_json=as_json, show=_show)


def _changed(kept: list[Any], add: list[str], remove: list[str]) -> list[Any]:
    known = {tag["name"].casefold(): tag for tag in kept}
    for name in remove:
        if known.pop(name.casefold(), None) is None:
            raise Failure(f"there is no tag {name!r} (`distill tags` lists them)")
    for told in add:
        name, _, aliases = told.partition("=")
        words = [word.strip() for word in aliases.split(",") if word.strip()]
        known[name.strip().casefold()] = {"name": name.strip(), "aliases": words}
    return list(known.values())


def _show(answer: Any) -> None:
    out = console()
    for tag in answer["tags"]:
        line = plain(tag["name"], style="bold")
        if tag["aliases"]:
            line.append(plain(f"  {', '.join(tag['aliases'])}", style="dim"))
        out.print(line)
    if not answer["tags"]:
        out.print(plain("No vocabulary: items have the tags of their sources.", style="dim"))

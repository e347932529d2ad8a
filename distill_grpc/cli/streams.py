"""Streams as they come: an answer sentence by sentence, a search item by item."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import typer
from rich.padding import Padding

from distill_grpc.cli import showing
from distill_grpc.cli.showing import console, plain

if TYPE_CHECKING:
    from distill_grpc.cli.client import Client

_REASONS = {
    "nothing_found": "No item has a word of that.",
    "not_answered": "There are items about it, but none holds the answer.",
}


async def answer(client: Client, body: dict[str, Any]) -> None:
    """Prints each sentence of an answer, and the items that say so."""
    out = console()
    async with aclosing(client.stream("/content/ask:stream", body)) as events:
        async for kind, told in events:
            if kind == "statement":
                out.print(plain(told["text"]))
                for cited in told["items"]:
                    known = (cited[key] for key in ("title", "source", "url") if cited.get(key))
                    out.print(Padding(plain(" · ".join(known), style="dim"), (0, 0, 0, 2)))
            elif kind == "done":
                if reason := told.get("reason"):
                    out.print(plain(_REASONS.get(reason, reason), style="yellow"))
                showing.warnings(out, told["metadata"])


async def search_all(client: Client, body: dict[str, Any], *, as_json: bool) -> None:
    """Prints everything that is found; where a stream ends at its bound, the next one goes on."""
    out = console()
    number, asked = 0, dict(body)
    about: dict[str, Any] = {}
    while True:
        async with aclosing(client.stream("/content/search:stream", asked)) as events:
            async for kind, told in events:
                if kind == "item":
                    number += 1
                    if as_json:
                        typer.echo(json.dumps(told, ensure_ascii=False))
                    else:
                        showing.item(out, told)
                elif kind == "done":
                    about = about or told
                    asked["page_token"] = told.get("next_page_token")
        if not asked["page_token"]:
            break
    if not as_json:
        out.print(plain(showing.count(number, "item"), style="dim"))
        showing.warnings(out, about)

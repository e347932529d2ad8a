"""Options and small steps that every client command shares."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from distill_grpc.cli.client import Client

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="DISTILL_URL",
        help="Where Distill answers; default: DISTILL_HTTP_ADDRESS on this machine.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="DISTILL_TOKEN",
        show_envvar=True,
        help="Your token; default: one made with the keys in the data directory, for the user `you`.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the answer's JSON, for scripts.")]


def ask(
    url: str | None,
    token: str | None,
    question: Callable[[Client], Awaitable[Any]],
    *,
    as_json: bool,
    show: Callable[[Any], None],
) -> None:
    """Asks Distill, and shows the answer to a person or, with `as_json`, to a script."""
    answer = run(url, token, question)
    if as_json:
        print_json(answer)
    else:
        show(answer)


def run(url: str | None, token: str | None, work: Callable[[Client], Awaitable[Any]]) -> Any:
    """What `work` returns, which is given a client of Distill."""
    from distill_grpc.cli.client import connected

    async def connect() -> Any:
        async with connected(url, token) as client:
            return await work(client)

    return asyncio.run(connect())


def print_json(answer: Any) -> None:
    """One answer on stdout as JSON."""
    typer.echo(json.dumps(answer, ensure_ascii=False, indent=2))

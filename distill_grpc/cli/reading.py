"""`distill recent`, `search`, `ask` and `digest`."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer
from rich.padding import Padding

from distill_grpc.cli import showing, streams, zones
from distill_grpc.cli.failure import Failure
from distill_grpc.cli.options import Json, Token, Url, ask, print_json, run
from distill_grpc.cli.showing import console, count, plain, when

# Items named behind a highlight on a terminal; `--json` has them all.
SHOWN_CITATIONS = 4

Limit = Annotated[int, typer.Option(min=1, max=500, help="How many items at most.")]
Sources = Annotated[
    list[str], typer.Option("--source", metavar="NAME", help="Only this source; may be repeated.")
]


def add_commands(app: typer.Typer) -> None:
    """Adds the commands of this module."""
    app.command("recent")(recent)
    app.command("search")(search)
    app.command("ask")(ask_items)
    app.command("digest")(digest)


def recent(
    *,
    hours: Annotated[int, typer.Option(min=1, max=168, help="Hours of history.")] = 24,
    limit: Limit = 20,
    source: Sources = [],
    include_raw: Annotated[
        bool, typer.Option("--include-raw", help="With --json: what the platform sent.")
    ] = False,
    as_json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Show what was published lately, newest first."""
    params: dict[str, str | int] = {"hours": hours, "limit": limit}
    if source:
        params["sources"] = ",".join(source)
    if include_raw:
        params["include_raw"] = "true"
    ask(
        url,
        token,
        lambda client: client.call("GET", "/content/recent", params=params),
        as_json=as_json,
        show=showing.items,
    )


def search(
    query: Annotated[
        list[str],
        typer.Argument(
            help='Words; "a phrase" in quotes, `or`, and -without; from:ada source:rss tag:city since:7d '
            "until:2026-11-01, each with a minus too (then put -- in front)."
        ),
    ],
    *,
    limit: Limit = 20,
    source: Sources = [],
    tag: Annotated[
        list[str], typer.Option(metavar="TAG", help="Only with this tag; may be repeated.")
    ] = [],
    facets: Annotated[
        bool, typer.Option("--facets", help="Count all that was found by source, author and tag.")
    ] = False,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="All of it, as it comes and without --limit; with --json an item a line."
        ),
    ] = False,
    as_json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Search what was collected, best first."""
    body: dict[str, Any] = {"query": " ".join(query), "highlight": True}
    if source:
        body["sources"] = source
    if tag:
        body["tags"] = tag
    if everything:
        if facets:
            raise Failure("--facets cannot be had with --all", exit_code=2)
        run(url, token, lambda client: streams.search_all(client, body, as_json=as_json))
        return
    body |= {"limit": limit, "facets": facets}
    ask(
        url,
        token,
        lambda client: client.call("POST", "/content/search", body=body),
        as_json=as_json,
        show=showing.items,
    )


def ask_items(
    question: Annotated[list[str], typer.Argument(help="What you want to know.")],
    *,
    source: Sources = [],
    as_json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Ask a question about what was collected."""
    body: dict[str, Any] = {"question": " ".join(question)}
    if source:
        body["sources"] = source
    if as_json:
        print_json(run(url, token, lambda client: client.call("POST", "/content/ask", body=body)))
    else:
        run(url, token, lambda client: streams.answer(client, body))


def digest(
    period: Annotated[
        str, typer.Argument(help="`daily`, `weekly`, or a date as YYYY-MM-DD.")
    ] = "daily",
    *,
    tz: Annotated[
        str | None,
        typer.Option(help="Your time zone, such as Europe/Berlin; default: this machine's."),
    ] = None,
    date: Annotated[
        str | None,
        typer.Option(
            metavar="YYYY-MM-DD", help="With `daily` or `weekly`: a day of it; default: today."
        ),
    ] = None,
    as_json: Json = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Show what mattered over a day or a week, with sources."""
    if not re.fullmatch(r"daily|weekly|\d{4}-\d{2}-\d{2}", period):
        raise Failure(
            f"the period is `daily`, `weekly` or a date as YYYY-MM-DD (it is {period!r})",
            exit_code=2,
        )
    params: dict[str, str | int] = {"tz": tz or zones.of_this_machine()}
    if date is not None:
        params["date"] = date
    ask(
        url,
        token,
        lambda client: client.call("GET", f"/content/summary/{period}", params=params),
        as_json=as_json,
        show=_show_digest,
    )


def _show_digest(answer: Any) -> None:
    out = console()
    summary = answer["summary"]
    content, about = summary["content"], answer.get("metadata", {})
    days = zones.days(summary["period"], summary["date"])
    out.print(plain(f"{summary['period'].capitalize()} digest, {days}", style="bold"))
    out.print()
    for number, highlight in enumerate(content.get("highlights", [])):
        out.print(Padding(plain(f"• {highlight}"), (0, 0, 0, 1)))
        _show_cited(content, highlight=number)
    for name, text in content.get("sections", {}).items():
        out.print()
        out.print(plain(name.replace("_", " ").capitalize(), style="bold"))
        out.print(plain(text))
        _show_cited(content, section=name)
    numbers = summary.get("statistics", {})
    read = count(numbers.get("items_processed", 0), "item")
    origins = count(numbers.get("sources", 0), "author or feed", "authors and feeds")
    made = f"{read} from {origins}"
    model, at = about.get("model_used", "?"), when(summary.get("generated_at"))
    out.print()
    out.print(plain(f"{made} · {model} · {at}", style="dim"))


def _show_cited(content: Any, **statement: Any) -> None:
    """Prints the first items behind a highlight or a section, by address where they have one."""
    cited = [
        entry.get("url") or entry.get("title", "")
        for citation in content.get("citations", [])
        if statement.items() <= citation.items()
        for entry in citation.get("items", [])
    ]
    if len(cited) > SHOWN_CITATIONS:
        more = len(cited) - SHOWN_CITATIONS + 1
        cited = [*cited[: SHOWN_CITATIONS - 1], f"and {more} more"]
    for line in cited:
        console().print(Padding(plain(line, style="dim"), (0, 0, 0, 3)))

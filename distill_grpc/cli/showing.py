"""How answers look in a terminal.

What comes from platforms is shown as it is, never read as markup, and without control characters,
which could move the cursor or rename the window.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from distill_grpc import clock

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_COLOURS = {
    "completed": "green",
    "ok": "green",
    "watching": "green",
    "partial": "yellow",
    "pending": "yellow",
    "queued": "yellow",
    "failing": "yellow",
    "failed": "red",
    "action_required": "red",
    "warn": "yellow",
    "fail": "red",
}


def console() -> Console:
    """The terminal; where stdout is none, plain text of a width that keeps lines whole."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=160)


def plain(value: Any, *, style: str = "") -> Text:
    """A value as text that is only text."""
    return Text(_CONTROL.sub("", str(value)), style=style)


def state(value: str) -> Text:
    """A state, in its colour."""
    return plain(value, style=_COLOURS.get(value, ""))


def when(value: Any, *, seconds: bool = False) -> str:
    """An instant of an answer in the time of this machine, such as `Mon 12 Jan 10:15`.

    The year stands there where it is not the current one.
    """
    if not value:
        return "-"
    try:
        moment = datetime.fromisoformat(str(value)).astimezone()
    except ValueError:
        return str(value)
    year = "" if moment.year == clock.utc_now().astimezone().year else " %Y"
    return moment.strftime(f"%a %d %b{year} %H:%M" + (":%S" if seconds else ""))


def count(number: int, one: str, several: str = "") -> str:
    """A number of things in words, such as `1 feed` or `4 feeds`."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def hints(out: Console, entries: Iterable[Mapping[str, Any]]) -> None:
    """What the operator of the service can do about the failures that these entries tell of."""
    from distill_grpc.sources.http_failures import MESSAGES

    if any(MESSAGES["private_address"] in str(entry.get("message", "")) for entry in entries):
        out.print(
            "Private addresses are read where Distill is started with "
            "DISTILL_ALLOW_PRIVATE_ADDRESSES=1.",
            style="dim",
        )


def facts(pairs: Iterable[tuple[str, Any]]) -> Table:
    """Names and values below each other; those without a value are left out."""
    table = Table.grid(padding=(0, 2))
    for name, value in pairs:
        if value is not None and value != "":
            table.add_row(
                Text(name, style="bold"), value if isinstance(value, Text) else plain(value)
            )
    return table


def rows(*columns: str) -> Table:
    """An empty table with these columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def item(out: Console, entry: Mapping[str, Any]) -> None:
    """One item: headline, where it comes from, and its beginning."""
    title = entry.get("title") or _beginning(str(entry.get("content", "")), 90)
    out.print(plain(title, style="bold"))
    origin = [entry.get("source"), entry.get("author"), when(entry.get("timestamp"))]
    out.print(plain(" · ".join(str(part) for part in origin if part), style="dim"))
    if entry.get("snippet"):
        out.print(marked(str(entry["snippet"])))
    elif entry.get("title") and entry.get("content"):
        out.print(plain(_beginning(str(entry["content"]), 280)))
    if entry.get("url"):
        out.print(plain(entry["url"], style="blue"))
    if tags := entry.get("ai_tags"):
        out.print(plain(" ".join(f"#{tag}" for tag in tags), style="cyan"))
    out.print()


def marked(snippet: str) -> Text:
    """A snippet, with what was found in bold."""
    text = Text()
    for index, part in enumerate(re.split(r"</?mark>", " ".join(snippet.split()))):
        text.append(plain(html.unescape(part), style="bold yellow" if index % 2 else ""))
    return text


def facets(answer: Mapping[str, Any]) -> None:
    """Counts of all that was found."""
    out = console()
    for kind, counted in answer.get("facets", {}).items():
        told = ", ".join(f"{one['value']} {one['items']}" for one in counted)
        if told:
            out.print(plain(f"{kind}: {told}", style="dim"))


def items(answer: Mapping[str, Any]) -> None:
    """A list of items, and what there is to say about it."""
    out = console()
    for entry in answer.get("data", []):
        item(out, entry)
    about = answer.get("metadata", {})
    facets(answer)
    more = ", and there are more (--limit)" if about.get("has_more") else ""
    out.print(plain(count(about.get("count", 0), "item") + more, style="dim"))
    warnings(out, about)


def warnings(out: Console, about: Mapping[str, Any]) -> None:
    """What to know before relying on an answer."""
    for warning in about.get("warnings", []):
        out.print(plain(str(warning).replace("_", " "), style="yellow"))


def _beginning(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1].rsplit(" ", 1)[0] + "…"

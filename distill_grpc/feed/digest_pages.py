"""A digest as text and as HTML: what mails and feeds carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from html import escape
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Row

from distill_grpc.feed.periods import following

_TITLES = {"trending": "Trending", "mentions": "Mentions", "important": "Important"}
_LINKS = 5  # of the items behind a statement


def title(row: Row[Any]) -> str:
    """What a digest is called."""
    if row.period == "daily":
        return f"Your digest of {row.date.isoformat()}"
    last = following(row.period, row.date) - timedelta(days=1)
    return f"Your weekly digest of {row.date.isoformat()} to {last.isoformat()}"


def identity(row: Row[Any]) -> str:
    """What names a digest for ever, also where it is made anew."""
    named = (row.user_id, row.date.isoformat(), row.tz)
    # Days came first: their names stay what they were.
    return "\0".join(named if row.period == "daily" else (*named, row.period))


def as_text(row: Row[Any]) -> str:
    """The digest as plain text, each statement with the addresses of its items."""
    lines = [title(row), ""]
    for said in row.content["highlights"]:
        lines += [f"* {said['text']}", *_text_links(said), ""]
    for name, said in row.content["sections"].items():
        lines += [_heading(name), said["text"], *_text_links(said), ""]
    return "\n".join([*lines, _origin(row), ""])


def as_html(row: Row[Any]) -> str:
    """The digest as an HTML fragment; everything that others wrote is escaped, nothing is loaded."""
    highlights = row.content["highlights"]
    parts = [
        "<ul>",
        *(f"<li><p>{escape(said['text'])}{_html_links(said)}</p></li>" for said in highlights),
        "</ul>",
    ]
    for name, said in row.content["sections"].items():
        parts.append(f"<h2>{escape(_heading(name))}</h2>")
        parts.append(f"<p>{escape(said['text'])}{_html_links(said)}</p>")
    parts.append(f"<p><small>{escape(_origin(row))}</small></p>")
    return "\n".join(parts)


def _heading(name: str) -> str:
    return _TITLES.get(name, name)


def _origin(row: Row[Any]) -> str:
    items = "1 item" if row.items_processed == 1 else f"{row.items_processed} items"
    return f"Made from {items} by {row.model}."


def _text_links(said: Mapping[str, Any]) -> list[str]:
    return [f"  {url}" for _, url in _links(said)] or [f"  {name}" for name in _names(said)]


def _html_links(said: Mapping[str, Any]) -> str:
    shown = [f'<a href="{escape(url)}">{escape(name)}</a>' for name, url in _links(said)]
    return "".join(f"<br>{link}" for link in shown or map(escape, _names(said)))


def _names(said: Mapping[str, Any]) -> list[str]:
    """What the items behind a statement are called, for those that are nowhere on the web."""
    named = (
        f"{item['title']} ({', '.join(filter(None, (item['author'], item['source'])))})"
        for item in said["items"]
    )
    return [" ".join(name.split()) for name in list(dict.fromkeys(named))[:_LINKS]]


def _links(said: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """(title, address) of the first items behind a statement that can be read on the web."""
    found: dict[str, str] = {}
    for item in said["items"]:
        url = item["url"]
        try:
            web = urlsplit(url).scheme in {"http", "https"}
        except ValueError:
            continue
        if web and not any(character.isspace() for character in url):
            found.setdefault(url, item["title"] or url)
    return [(name, url) for url, name in list(found.items())[:_LINKS]]

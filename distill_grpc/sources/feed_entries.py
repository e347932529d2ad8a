"""One entry of a feed, whatever its format, as plain JSON: runs inside the sandbox."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from distill_grpc.sources import text

# Of one document; feeds with more entries hold archives, and newest come first.
MAX_ENTRIES = 5_000

_MAX_HTML = 64 * 1024  # bytes of sanitised HTML kept with an entry
_MAX_TAGS = 20
_MAX_TAG = 100
_MAX_FIELD = 2_000
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,4}")
_KINDS = ("video", "audio")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawEntry:
    """An entry as its format's reader found it: nothing is cleaned, nothing is resolved."""

    id: str = ""
    link: str = ""
    base: str = ""  # relative addresses of the entry are resolved against it
    title: str = ""
    bodies: tuple[tuple[str, bool], ...] = ()  # (text, whether it is HTML), the best first
    author: str = ""
    published: int | None = None  # epoch seconds
    updated: int | None = None
    dates: Mapping[str, str] = field(default_factory=dict)  # as written
    tags: Iterable[str] = ()
    language: str = ""
    enclosures: Iterable[Mapping[str, str]] = ()  # url, type, length
    comments: str = ""
    metrics: Mapping[str, str] = field(default_factory=dict)
    medium: str = ""  # `video` or `audio` where the feed says so


def entry(raw: RawEntry, oldest: int | None) -> dict[str, Any]:
    """The entry in plain JSON.

    Always: `id` (as given, trimmed), `link` (absolute or empty), `published` (epoch seconds or
    None), `twin` and `digest` (hashes that tell entries with the same id apart: of link, title and
    date, and of everything). Unless published before `oldest` also: `url` (the link, else the
    first enclosure), `title`, `content` (plain text; empty where nothing is said at all), `html`
    (sanitised), `author`, `dates`, `tags`, `language`, `enclosures`, `comments`,
    `kind`, `metrics`.
    """
    published = raw.published if raw.published is not None else raw.updated
    link = text.absolute_url(raw.link, raw.base)
    named = (raw.link, raw.title, raw.dates.get("published") or raw.dates.get("updated") or "")
    result: dict[str, Any] = {
        "id": " ".join(text.clean(raw.id).split()),
        "link": link,
        "published": published,
        "twin": _hash(*named),
        "digest": _hash(*named, *(body for body, _ in raw.bodies)),
    }
    if oldest is not None and published is not None and published < oldest:
        return result
    content, html = _content(raw)
    enclosures = list(_enclosures(raw))
    title = text.one_line(text.readable(raw.title, raw.base), text.MAX_TITLE)
    url = link or (enclosures[0]["url"] if enclosures else "")
    result |= {
        "url": url,
        "title": title,
        "content": text.shorten(content or title or url, text.MAX_CONTENT),
        "html": html,
        "author": text.one_line(text.readable(raw.author), text.MAX_AUTHOR),
        "dates": {name: text.one_line(date, 100) for name, date in raw.dates.items() if date},
        "tags": _tags(raw.tags),
        "language": language(raw.language),
        "enclosures": enclosures,
        "comments": text.absolute_url(raw.comments, raw.base),
        "kind": _kind(raw.medium, enclosures),
        "metrics": {name: n for name, said in raw.metrics.items() if (n := _count(said))},
    }
    return result


def language(code: str) -> str:
    """The language tag in the form of BCP 47, or an empty string where it is none."""
    code = code.strip().replace("_", "-")
    return code if _LANGUAGE.fullmatch(code) else ""


def _content(raw: RawEntry) -> tuple[str, str]:
    """The longest of the texts that the entry has, and its HTML where it is HTML."""
    best, best_html = "", ""
    for body, is_html in raw.bodies:
        marked_up = is_html and text.looks_like_html(body)
        html = text.sanitise_html(body, raw.base) if marked_up else ""
        words = (
            text.text_of(html, raw.base)
            if marked_up
            else text.plain_text(body[: 2 * text.MAX_CONTENT])
        )
        if len(words) > len(best) or not best:
            best, best_html = words, html
    if len(best_html.encode()) > _MAX_HTML:
        best_html = text.sanitise_html(best_html, raw.base, max_bytes=_MAX_HTML)
    return best, best_html


def _enclosures(raw: RawEntry) -> Iterable[dict[str, str]]:
    for enclosure, _ in zip(raw.enclosures, range(10), strict=False):
        url = text.absolute_url(enclosure.get("url", ""), raw.base)
        if url:
            yield {
                "url": url,
                "type": text.one_line(enclosure.get("type", ""), 100),
                "length": text.one_line(enclosure.get("length", ""), 20),
            }


def _kind(medium: str, enclosures: list[dict[str, str]]) -> str:
    if medium in _KINDS:
        return medium
    types = {enclosure["type"].partition("/")[0].lower() for enclosure in enclosures}
    return next((kind for kind in _KINDS if kind in types), "article")


def _tags(given: Iterable[str]) -> list[str]:
    tags: dict[str, None] = {}
    for tag in given:
        if named := text.one_line(text.plain_text(tag), _MAX_TAG):
            tags.setdefault(named)
        if len(tags) == _MAX_TAGS:
            break
    return list(tags)


def _count(said: str) -> float:
    said = said.strip()
    return float(said) if said.isascii() and said.isdigit() and len(said) <= 15 else 0.0


def _hash(*parts: str) -> str:
    joined = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(joined).hexdigest()[:20]

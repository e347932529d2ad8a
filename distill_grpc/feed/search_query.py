"""What a person types into a search: words, phrases and qualifiers (`from:ada -tag:city since:7d`).

`parse` is a pure function that takes any text. What is no qualifier stays text: `foo:bar` is two words.
A qualifier whose value cannot be meant is told in `problems`, so that nothing is left out silently.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from distill_grpc.feed import ingesting
from distill_grpc.feed.search_text import phrased, plain, straight
from distill_grpc.feed.store.item_lists import Narrowing

_QUOTED = r'"[^"]*"?'
_PART = re.compile(
    rf"""(?<!\S)(?P<minus>-*)(?P<name>from|source|tag|since|until):(?P<value>(?:{_QUOTED}|[^\s"])+)
    | (?P<text>{_QUOTED} | [^\s"]+)""",
    re.IGNORECASE | re.VERBOSE,
)
# Dashes that exclude nothing: not in front of a word or phrase, as in `Title - Site`. PostgreSQL would
# take them for operators all the same, and fails on dozens of them.
_DASHES = re.compile(r'-(?![^\W_]|")')
# A word or phrase of what is left, with what stands before it.
_TERM = re.compile(rf"(?P<minus>-?)(?:(?P<phrase>{_QUOTED})|(?P<word>[^\s\"]+))")
_SPAN = re.compile(r"(\d{1,5})([hdw])", re.IGNORECASE)
_SPANS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_DAYS = {"today": 0, "yesterday": 1}
INSTANT = (
    "must be a date as YYYY-MM-DD, an instant, today, yesterday or a span such as 12h, 7d or 2w"
)


@dataclass(slots=True)
class SearchQuery:
    """A query, taken apart."""

    words: str = ""  # for PostgreSQL's `websearch_to_tsquery`
    meant: str = ""  # the words without signs: what is looked for by meaning
    demands: str = ""  # phrases and exclusions, which hold for what is found by meaning too
    narrowing: Narrowing = field(default_factory=Narrowing)
    since: datetime | None = None  # published then or later
    until: datetime | None = None  # published before
    qualified: bool = False  # by any qualifier
    problems: list[str] = field(default_factory=list)  # each names the qualifier and its rule


def parse(text: str, *, known_sources: Collection[str], now: datetime) -> SearchQuery:
    """Takes a query apart; never raises. Days are those of UTC, spans count back from `now`.

    Of several `from:` or `source:` one must hold, of several `tag:` all; `-` in front excludes, and
    turns `since:` and `until:` round.
    """
    query = SearchQuery()
    text = straight(text)
    words = []
    end = 0
    for part in _PART.finditer(text):
        if part["name"] is None:
            words += [text[end : part.start()], part["text"]]
        else:
            words.append(text[end : part.start()])
            _qualify(query, part, known_sources, now)
        end = part.end()
    query.words = _DASHES.sub(" ", plain("".join(words))).strip()
    _look_behind_words(query)
    query.words, query.demands = phrased(query.words), phrased(query.demands)
    return query


def _look_behind_words(query: SearchQuery) -> None:
    """Sets `meant` and `demands`: the latter are those of one alternative or another."""
    meant: list[str] = []
    demands: list[list[str]] = [[]]
    for term in _TERM.finditer(query.words):
        if term["word"] is not None and not term["minus"]:
            if term["word"].casefold() == "or":
                demands.append([])
            else:
                meant.append(term["word"])
            continue
        text = (term["word"] or term["phrase"]).replace('"', "").strip()
        if text:
            demands[-1].append(f'{term["minus"]}"{text}"')
            meant += [] if term["minus"] else [text]
    query.meant = " ".join(" ".join(meant).split())
    if all(demands):
        query.demands = " or ".join(map(" ".join, demands))


def _qualify(
    query: SearchQuery, part: re.Match[str], known_sources: Collection[str], now: datetime
) -> None:
    name, excluded = part["name"].casefold(), bool(part["minus"])
    value = part["value"].replace('"', "").strip()
    wanted = query.narrowing
    query.qualified = True
    if name in {"since", "until"}:
        instant = _instant(value, now)
        if instant is None:
            query.problems.append(f"{name}: {INSTANT}")
        elif (name == "since") != excluded:
            query.since = max(query.since or instant, instant)
        else:
            query.until = min(query.until or instant, instant)
    elif name == "source":
        source = value.casefold()
        if source in known_sources:
            (wanted.not_sources if excluded else wanted.sources).append(source)
        else:
            query.problems.append(f"source: must be one of {', '.join(known_sources)}")
    elif name == "tag" and (tag := ingesting.tag(value)):
        (wanted.not_tags if excluded else wanted.tags).append(tag)
    elif name == "from" and value:
        (wanted.not_authors if excluded else wanted.authors).append(value.lower())
    else:
        query.problems.append(f"{name}: must have a value")


def _instant(value: str, now: datetime) -> datetime | None:
    try:
        if span := _SPAN.fullmatch(value):
            return now - int(span[1]) * _SPANS[span[2].lower()]
        if value.casefold() in _DAYS:
            day = now.astimezone(UTC) - timedelta(days=_DAYS[value.casefold()])
            return day.replace(hour=0, minute=0, second=0, microsecond=0)
        instant = datetime.fromisoformat(value.upper())
        aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
        return aware.astimezone(UTC)
    except (ValueError, OverflowError):
        return None

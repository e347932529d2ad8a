"""Preferences: what a user wants of their digests, and when the next one is due."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from distill_grpc import clock
from distill_grpc.auth import Caller
from distill_grpc.errors import invalid_argument
from distill_grpc.feed import watching
from distill_grpc.feed.periods import first_day, following, require_zone, zone
from distill_grpc.feed.store import preferences
from distill_grpc.llm.base import OwnSection
from distill_grpc.llm.languages import words

DEFAULTS: Mapping[str, Any] = {
    "language": None,
    "length": "medium",
    "sections": [],
    "tags": [],
    "sources": [],
    "authors": [],
    "names": [],
    "digest_hour": None,
    "tz": "UTC",
    "mail": False,
    "daily": True,
    "weekly": True,
    "tags_by_model": False,
    "daily_llm_tokens": None,
}
# How much a digest says: (highlights, characters of each).
LENGTHS = {"short": (4, 200), "medium": (7, 300), "long": (12, 420)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Taste:
    """Preferences as a digest needs them."""

    language: str = ""
    highlights: int = 7
    limit: int = 300
    tags: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    sections: tuple[OwnSection, ...] = ()
    daily_llm_tokens: int | None = None

    @classmethod
    def of(cls, row: Row[Any] | None) -> Taste:
        """The taste that a row tells; the defaults for None."""
        if row is None:
            return cls()
        highlights, limit = LENGTHS[row.length]
        return cls(
            language=row.language or "",
            highlights=highlights,
            limit=limit,
            tags=tuple(row.tags),
            sources=tuple(row.sources),
            authors=tuple(row.authors),
            names=tuple(row.names),
            sections=tuple(
                OwnSection(
                    name=section["name"],
                    words=tuple(section["words"]),
                    tags=tuple(section["tags"]),
                    sources=tuple(section["sources"]),
                )
                for section in row.sections
            ),
            daily_llm_tokens=row.daily_llm_tokens,
        )


async def update(
    connection: AsyncConnection,
    caller: Caller,
    wanted: Mapping[str, Any],
    *,
    known_sources: Collection[str],
    now: datetime,
) -> Row[Any]:
    """Replaces a user's preferences by the given ones (columns as in `DEFAULTS`).

    A schedule stays where hour and time zone do. Raises NOT_WATCHING, and INVALID_ARGUMENT naming
    each wrong field.
    """
    _check(wanted, known_sources)
    await watching.require_watch(connection, caller.user_id)
    before = await preferences.get_preferences(connection, caller.user_id, lock=True)
    values = {**DEFAULTS, **wanted}
    for kind in preferences.SCHEDULES:
        values |= _schedule(kind, values, before, now)
    return await preferences.upsert_preferences(
        connection,
        caller.user_id,
        **values,
        credits_available=caller.credits_available,
        updated_at=clock.whole_seconds(now),
    )


def first_due(kind: str, hour: int, tz: str, now: datetime) -> tuple[date, datetime]:
    """The first period to digest, and when: the next time that the clock shows the hour after one."""
    today = now.astimezone(zone(tz)).date()
    running = first_day(kind, today)
    ended = first_day(kind, running - timedelta(days=1))
    due = due_at(kind, ended, hour, tz)
    return (ended, due) if due > now else (running, due_at(kind, running, hour, tz))


def due_at(kind: str, first: date, hour: int, tz: str) -> datetime:
    """When the digest of a period is due: on the day after it, when the clock there shows the hour."""
    return _instant(following(kind, first), hour, zone(tz))


def end_of(kind: str, first: date, tz: str) -> datetime:
    """The instant at which a period of a time zone is over."""
    return _instant(following(kind, first), 0, zone(tz))


def _schedule(
    kind: str, values: Mapping[str, Any], before: Row[Any] | None, now: datetime
) -> dict[str, Any]:
    """The columns that change of a kind's schedule; what was digested already is not due again."""
    columns = preferences.SCHEDULES[kind]
    told = ("digest_hour", "tz", kind)
    if before is not None and all(getattr(before, name) == values[name] for name in told):
        return {}
    hour, tz = values["digest_hour"], values["tz"]
    if hour is None or not values[kind]:
        return {columns.due: None}
    first, due = first_due(kind, hour, tz, now)
    known = getattr(before, columns.date) if before is not None else None
    if known is not None and known > first:
        first, due = known, due_at(kind, known, hour, tz)
    return {columns.date: first, columns.due: due}


def _instant(day: date, hour: int, where: ZoneInfo) -> datetime:
    return datetime.combine(day, time(hour), where).astimezone(UTC)


def _check(wanted: Mapping[str, Any], known_sources: Collection[str]) -> None:
    problems: dict[str, str] = {}
    rule = f"must be among {', '.join(sorted(known_sources))}"
    if set(wanted.get("sources", ())) - set(known_sources):
        problems["sources"] = rule
    for kind in ("tags", "authors"):
        problems |= _blank(kind, wanted.get(kind, ()))
    for place, name in enumerate(wanted.get("names", ())):
        if len(name.strip().lstrip("@")) < 2:  # as few are looked for
            problems[f"names[{place}]"] = "must have two characters or more"
    seen: set[str] = set()
    sections: Sequence[Mapping[str, Any]] = wanted.get("sections", ())
    for index, section in enumerate(sections):
        if set(section["sources"]) - set(known_sources):
            problems[f"sections[{index}].sources"] = rule
        name = " ".join(section["name"].casefold().split())
        if name in seen:
            problems[f"sections[{index}].name"] = "must differ from the other sections' names"
        seen.add(name)
        problems |= _blank(f"sections[{index}].tags", section["tags"])
        for place, phrase in enumerate(section["words"]):
            if not words(phrase):
                problems[f"sections[{index}].words[{place}]"] = "must have a letter or digit"
    if problems:
        raise invalid_argument(problems)
    require_zone(wanted.get("tz", "UTC"))


def _blank(field: str, values: Sequence[str]) -> dict[str, str]:
    """What nothing can ever match."""
    return {
        f"{field}[{place}]": "must not be blank"
        for place, value in enumerate(values)
        if not value.strip()
    }

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
from distill_grpc.feed.periods import zone
from distill_grpc.feed.store import preferences
from distill_grpc.llm.base import OwnSection

DEFAULTS: Mapping[str, Any] = {
    "language": None,
    "length": "medium",
    "sections": [],
    "tags": [],
    "sources": [],
    "names": [],
    "digest_hour": None,
    "tz": "UTC",
    "mail": False,
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

    The schedule stays where hour and time zone do. Raises NOT_WATCHING, and INVALID_ARGUMENT naming
    each wrong field.
    """
    _check(wanted, known_sources)
    await watching.require_watch(connection, caller.user_id)
    before = await preferences.get_preferences(connection, caller.user_id, lock=True)
    values = {**DEFAULTS, **wanted}
    schedule = (values["digest_hour"], values["tz"])
    if before is None or schedule != (before.digest_hour, before.tz):
        day, due = first_due(*schedule, now) if schedule[0] is not None else (None, None)
        values |= {"digest_date": day, "next_digest_at": due}
    return await preferences.upsert_preferences(
        connection,
        caller.user_id,
        **values,
        credits_available=caller.credits_available,
        updated_at=clock.whole_seconds(now),
    )


def first_due(hour: int, tz: str, now: datetime) -> tuple[date, datetime]:
    """The first day to digest, and when: the next instant at which the clock shows the hour."""
    today = now.astimezone(zone(tz)).date()
    yesterday = today - timedelta(days=1)
    due = due_at(yesterday, hour, tz)
    return (yesterday, due) if due > now else (today, due_at(today, hour, tz))


def due_at(day: date, hour: int, tz: str) -> datetime:
    """When the digest of a day is due: on the next day, when the clock there shows the hour."""
    return _instant(day + timedelta(days=1), hour, zone(tz))


def end_of(day: date, tz: str) -> datetime:
    """The instant at which a day of a time zone is over."""
    return _instant(day + timedelta(days=1), 0, zone(tz))


def _instant(day: date, hour: int, where: ZoneInfo) -> datetime:
    return datetime.combine(day, time(hour), where).astimezone(UTC)


def _check(wanted: Mapping[str, Any], known_sources: Collection[str]) -> None:
    problems: dict[str, str] = {}
    rule = f"must be among {', '.join(sorted(known_sources))}"
    if set(wanted.get("sources", ())) - set(known_sources):
        problems["sources"] = rule
    seen: set[str] = set()
    sections: Sequence[Mapping[str, Any]] = wanted.get("sections", ())
    for index, section in enumerate(sections):
        if set(section["sources"]) - set(known_sources):
            problems[f"sections[{index}].sources"] = rule
        if section["name"].casefold() in seen:
            problems[f"sections[{index}].name"] = "must differ from the other sections' names"
        seen.add(section["name"].casefold())
    if problems:
        raise invalid_argument(problems)
    zone(wanted.get("tz", "UTC"))

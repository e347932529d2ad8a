"""Plays every platform without a network: the same items at the same instants, for everybody.

Each part of an account publishes at fixed slots of time; what it says depends on the platform's name,
the part and the slot only. So a later sync finds what was published since, and the same item is the
same for ever. Connects without credentials; `settings.simulate` and its kin fail, page and delay.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

from distill_grpc.sources import mock_platforms
from distill_grpc.sources.base import (
    Account,
    FetchRequest,
    InvalidConnection,
    Item,
    Json,
    NoPlatformAuth,
    Page,
    PlatformError,
    RateLimited,
    SourceFailure,
    TokenExpired,
)
from distill_grpc.sources.github_webhooks import GithubWebhooks
from distill_grpc.sources.mock_stories import tell
from distill_grpc.sources.pushes import Webhooks
from distill_grpc.sources.rss import check_feeds
from distill_grpc.sources.x_webhooks import XWebhooks

PLATFORMS = tuple(sorted(mock_platforms.PLATFORMS))

_BETWEEN_ITEMS = 40 * 60  # seconds, on average over the parts that a platform has by default
_LIMIT_LASTS = timedelta(minutes=15)
_MAX_PAGES = 1_000
_MAX_DELAY = 60.0
_CHANGES = ("edits", "deletions", "gaps")
_WEBHOOKS: Mapping[str, Webhooks] = {"github": GithubWebhooks(), "x": XWebhooks()}
_FAILURES = ("rate_limited", "token_expired", "no_platform_auth", "platform_error")

SETTINGS = {
    "simulate": f"The whole account fails in this way: {', '.join(_FAILURES)}",
    "simulate_parts": "Parts that fail: the part's name and the way",
    "changes": f"What happens beside news, at each read that brings some: any of {', '.join(_CHANGES)}",
    "pages": f"Number of pages that a fetch of a part comes in, 1 to {_MAX_PAGES}",
    "delay": f"Seconds before each page, 0 to {_MAX_DELAY:.0f}",
}


class MockSource:
    """Plays the platform of that name; `PLATFORMS` lists them."""

    def __init__(self, name: str) -> None:
        self._platform = mock_platforms.PLATFORMS[name]
        own = self._platform.info
        self.info = dataclasses.replace(own, settings={**own.settings, **SETTINGS})
        self.webhooks = _WEBHOOKS.get(name)
        # Several parts publish as much as one would.
        self._slot = _BETWEEN_ITEMS * len(self._platform.parts)

    def check(self, credentials: Mapping[str, Json], settings: Mapping[str, Json]) -> None:
        """Raises `InvalidConnection` for names that the platform does not know and wrong values."""
        details = {
            f"credentials.{name}": "is not known"
            for name in credentials
            if name not in self.info.credentials
        }
        for name, value in settings.items():
            if name not in self.info.settings:
                details[f"settings.{name}"] = "is not known"
            else:
                details |= self._rules_broken(name, value)
        if details:
            raise InvalidConnection(details)

    async def identify(
        self,
        credentials: Mapping[str, Json],  # noqa: ARG002 -- the seam's
        settings: Mapping[str, Json],  # noqa: ARG002 -- the seam's
    ) -> Account:
        """An invented account."""
        return Account(name="mock", id="mock")

    def parts(self, settings: Mapping[str, Json]) -> tuple[str, ...]:
        """The parts that the settings name, else those that the platform has by default."""
        named = settings.get(self._platform.parts_setting)
        return tuple(named) if named else self._platform.parts

    async def fetch(self, request: FetchRequest) -> AsyncIterator[Page]:
        """Yields what the parts published since their cursors, oldest first."""
        settings = request.settings
        if code := settings.get("simulate"):
            raise _failure(code, request.now)
        failing = settings.get("simulate_parts") or {}
        for part in self.parts(settings):
            if part in request.skip:
                continue
            if code := failing.get(part):
                yield Page(part=part, failure=_failure(code, request.now))
                continue
            for page in self._pages(part, request):
                await asyncio.sleep(float(settings.get("delay") or 0))
                yield page

    def _pages(self, part: str, request: FetchRequest) -> Iterator[Page]:
        slots = self._slots(part, request)
        title = part if self._platform.parts_setting else None
        if not slots:
            # The slot that has begun may still publish.
            cursor = request.cursors.get(part) or {"slot": self._first_slot(part, request) - 1}
            yield Page(part=part, cursor=cursor, title=title, unchanged=True)
            return
        pages = min(int(request.settings.get("pages") or 1), len(slots))
        size = -(-len(slots) // pages)
        for start in range(0, len(slots), size):
            some = slots[start : start + size]
            page = Page(
                part=part,
                items=[self._item(part, slot) for slot in some],
                cursor={"slot": some[-1]},
                title=title,
                last=start + size >= len(slots),
            )
            first = start == 0 and request.cursors.get(part) is not None
            yield self._changed(page, part, some[0], request) if first else page

    def _changed(self, page: Page, part: str, slot: int, request: FetchRequest) -> Page:
        """With what `settings.changes` asks for.

        The item before the news is edited, the one before that deleted, and what may lie between is
        out of reach.
        """
        changes = request.settings.get("changes") or ()
        items = list(page.items)
        if "edits" in changes:
            old = self._item(part, slot - 1)
            items.append(dataclasses.replace(old, content=f"{old.content}\n\nCorrected since."))
        gone = [self._item(part, slot - 2).platform_id] if "deletions" in changes else []
        return dataclasses.replace(page, items=items, deleted=gone, gap="gaps" in changes)

    def _slots(self, part: str, request: FetchRequest) -> Sequence[int]:
        """The slots since the cursor that have published by now."""
        since = request.since.get(part, request.default_since)
        slots = range(self._first_slot(part, request), self._slot_of(request.now) + 1)
        return [slot for slot in slots if since <= self._published(part, slot) <= request.now]

    def _first_slot(self, part: str, request: FetchRequest) -> int:
        first = self._slot_of(request.since.get(part, request.default_since))
        cursor = request.cursors.get(part)
        # A cursor without a slot was left by the real source of that name.
        slot = cursor.get("slot") if isinstance(cursor, dict) else None
        return max(first, slot + 1) if isinstance(slot, int) else first

    def _slot_of(self, instant: datetime) -> int:
        return int(instant.timestamp()) // self._slot

    def _published(self, part: str, slot: int) -> datetime:
        # Somewhere in the first half of its slot, so that a slot that has begun may be silent yet.
        offset = Random(f"{self.info.name} {part} {slot} at").randrange(self._slot // 2)
        return datetime.fromtimestamp(slot * self._slot + offset, UTC)

    def _item(self, part: str, slot: int) -> Item:
        chance = Random(f"{self.info.name} {part} {slot}")
        published = self._published(part, slot)
        telling = tell(int(published.timestamp()), chance)
        # Digits only, and different for the parts of a source.
        identity = f"{slot:06d}{Random(part).randrange(10**9):09d}"
        rendered = self._platform.render(part, telling, identity, chance)
        return Item(
            platform_id=rendered.id,
            published_at=published,
            content=rendered.content,
            author=rendered.author,
            title=rendered.title,
            url=rendered.url,
            kind=rendered.kind,
            thread_id=rendered.thread_id,
            metrics=rendered.metrics,
            tags=rendered.tags,
            language="en",
            raw=rendered.raw,
        )

    def _rules_broken(self, name: str, value: Json) -> dict[str, str]:
        """What is wrong with the value of a known setting: field → rule."""
        rule = ""
        if name == "feeds":
            return check_feeds(value)
        if name == "simulate" and value not in _FAILURES:
            rule = f"must be one of {', '.join(_FAILURES)}"
        elif name == "simulate_parts":
            if not isinstance(value, dict) or not all(v in _FAILURES for v in value.values()):
                rule = f"must give each part one of {', '.join(_FAILURES)}"
        elif name == "changes":
            if not _is_names(value) or not set(value) <= set(_CHANGES):
                rule = f"must be a list of any of {', '.join(_CHANGES)}"
        elif name == "pages":
            if not _is_number(value, 1, _MAX_PAGES) or value != int(value):
                rule = f"must be a whole number from 1 to {_MAX_PAGES}"
        elif name == "delay" and not _is_number(value, 0, _MAX_DELAY):
            rule = f"must be a number of seconds from 0 to {_MAX_DELAY:.0f}"
        elif name == self._platform.parts_setting and not _is_names(value):
            rule = "must be a list of names"
        return {f"settings.{name}": rule} if rule else {}


def _is_number(value: Json, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def _is_names(value: Json) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) and v for v in value)


def _failure(code: str, now: datetime) -> SourceFailure:
    if code == "rate_limited":
        return RateLimited("The platform asks to wait (simulated).", retry_at=now + _LIMIT_LASTS)
    if code == "token_expired":
        return TokenExpired("The platform's token has expired (simulated).")
    if code == "no_platform_auth":
        return NoPlatformAuth("The platform refuses the credentials (simulated).")
    return PlatformError("The platform failed (simulated).", reason="simulated")

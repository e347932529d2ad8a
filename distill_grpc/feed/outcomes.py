"""How a part and an account did: what is remembered of it, and what it means. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from distill_grpc.errors import ErrorReason
from distill_grpc.feed import ingesting, scheduling
from distill_grpc.sources.base import (
    NoPlatformAuth,
    Page,
    PlatformError,
    RateLimited,
    SourceFailure,
    TokenExpired,
)

_KINDS = {kind.code: kind for kind in (NoPlatformAuth, TokenExpired, RateLimited, PlatformError)}
_REASONS = {
    NoPlatformAuth.code: ErrorReason.NO_PLATFORM_AUTH,
    TokenExpired.code: ErrorReason.TOKEN_EXPIRED,
    RateLimited.code: ErrorReason.RATE_LIMITED,
    PlatformError.code: ErrorReason.PLATFORM_ERROR,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one source ended: `completed`, `partial`, `failed` or `skipped`."""

    status: str
    failure: SourceFailure | None = None
    changed: bool = False


def reason_of(failure: SourceFailure) -> int:
    """The error that a failure is for a caller."""
    return _REASONS.get(failure.code, ErrorReason.PLATFORM_ERROR)


def last_failure(row: Row[Any]) -> SourceFailure:
    """The failure that a connection or a part was left with."""
    kind = _KINDS.get(row.error_code, RateLimited if row.retry_at else PlatformError)
    message = row.error_message or "The platform asked to wait."
    return kind(message, permanent=row.permanent, retry_at=row.retry_at)


def verdict(
    failure: SourceFailure | None, failed_parts: list[SourceFailure], *, some_good: bool
) -> Verdict:
    """How an account ended by its own failure and those of its parts."""
    if failure is not None:
        status = "skipped" if isinstance(failure, RateLimited) else "failed"
        return Verdict("partial" if some_good else status, failure)
    if not failed_parts:
        return Verdict("completed")
    # What only the user can mend is told first.
    worst = max(failed_parts, key=lambda failed: failed.permanent)
    return Verdict("partial" if some_good else "failed", worst)


def part_state(
    page: Page,
    known: Row[Any] | None,
    *,
    had_news: bool,
    interval: timedelta,
    pushed: bool,
    now: datetime,
    jitter: float,
) -> dict[str, Any]:
    """What is remembered of a part after a page; `known` is what there was before the run.

    `pushed`: its platform pushes what is new, so that polling it once a day is enough.
    """
    state: dict[str, Any] = {"first_seen_at": now}
    if page.waiting > 0:
        # Neither a good read nor a failure: as it was, and read when the platform lets it be.
        open_at = now + timedelta(seconds=page.waiting)
        return state | {"retry_at": open_at, "next_attempt_at": open_at}
    if page.last or page.failure is not None:
        state["last_attempt_at"] = now
    if page.cursor is not None:
        state["cursor"] = page.cursor
    if page.title is not None:
        state["title"] = ingesting.plain(page.title, 500)
    if page.url is not None:
        state["url"] = page.url if page.url != page.part else None
    if page.gap:
        state["gap_until"] = _gap_until(page, now)
    if page.failure is not None:
        failures = known.failures if known is not None else 0
        return state | failed_state(
            page.failure, failures, interval=interval, now=now, jitter=jitter
        )
    if not page.last:
        return state
    quiet = 0 if had_news or known is None else known.quiet_reads + 1
    return state | {
        "last_success_at": now,
        "error_code": None,
        "error_message": None,
        "permanent": False,
        "failures": 0,
        "quiet_reads": quiet,
        "retry_at": None,
        "next_attempt_at": scheduling.next_after_success(
            interval,
            quiet_reads=quiet,
            min_interval=timedelta(seconds=page.min_interval),
            pushed=pushed,
            now=now,
        ),
    }


def failed_state(
    failure: SourceFailure, before: int, *, interval: timedelta, now: datetime, jitter: float
) -> dict[str, Any]:
    """What is remembered of a failure after `before` others in a row."""
    failures = before + 1
    return {
        "error_code": failure.code,
        "error_message": ingesting.plain(failure.message, 500),
        "permanent": failure.permanent,
        "failures": failures,
        "retry_at": failure.retry_at,
        "next_attempt_at": scheduling.next_after_failure(
            interval, failures=failures, now=now, jitter=jitter, retry_at=failure.retry_at
        ),
    }


def told(failure: SourceFailure, failed: Mapping[str, SourceFailure], parts: int) -> str:
    """A failure in words; one of several parts is named, with how many fail like it."""
    message = failure.message
    if parts > 1:
        for part, one in failed.items():
            if one is failure:
                message = f"{len(failed)} of {parts} parts failed, such as {part}: {message}"
    return ingesting.plain(message, 500)


def _gap_until(page: Page, now: datetime) -> datetime:
    """What is missing lies before the oldest item that was still to be had."""
    ages = [item.published_at for item in page.items if item.published_at is not None]
    return min((*ages, now))

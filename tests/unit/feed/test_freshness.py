"""Freshness, completeness and warnings, by their definitions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from distill_grpc.feed import freshness

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HALF_AN_HOUR = timedelta(minutes=30)


@dataclass(frozen=True)
class Facts:
    """The columns that a connection and a part have in common."""

    source: str = "rss"
    permanent: bool = False
    failures: int = 0
    last_success_at: datetime | None = NOW - timedelta(minutes=10)
    last_attempt_at: datetime | None = None
    next_attempt_at: datetime | None = None
    error_code: str | None = None


def measure(connections: list[Facts], parts: list[Facts]) -> freshness.Freshness:
    return freshness.measure(
        cast("Any", connections), cast("Any", parts), interval=HALF_AN_HOUR, now=NOW
    )


READ = Facts()
NEVER = Facts(last_success_at=None)
FAILING = Facts(failures=2, last_success_at=NOW - 5 * HOUR)
DEAD = Facts(permanent=True, failures=1, last_success_at=NOW - 9 * HOUR)
FORGIVEN = Facts(last_success_at=NOW - 9 * HOUR, last_attempt_at=NOW - HOUR)
AWAY = replace(READ, failures=1, next_attempt_at=NOW + HOUR, error_code="platform_error")
LIMITED = replace(AWAY, error_code="rate_limited")


def test_everything_read_lately_is_complete() -> None:
    older = replace(READ, last_success_at=NOW - timedelta(minutes=50))
    measured = measure([READ], [READ, older])
    assert measured == freshness.Freshness(older.last_success_at, 1.0, ())


def test_without_a_connection_or_a_read_nothing_is_known() -> None:
    assert measure([], []) == freshness.Freshness(None, 0.0, ("not_synced_yet",))
    assert measure([NEVER], []) == freshness.Freshness(None, 0.0, ("not_synced_yet",))


def test_a_part_is_up_to_date_for_two_intervals() -> None:
    just = replace(READ, last_success_at=NOW - HOUR)
    late = replace(READ, last_success_at=NOW - HOUR - timedelta(seconds=1))
    assert measure([READ], [just]).completeness == 1
    assert measure([READ], [late]).completeness == 0
    assert measure([READ], [late]).warnings == ("some_data_delayed",)


def test_a_part_that_is_read_less_often_on_purpose_is_up_to_date() -> None:
    quiet = replace(READ, last_success_at=NOW - 3 * HOUR, next_attempt_at=NOW + HOUR)
    assert measure([READ], [quiet]).completeness == 1


def test_a_failing_part_is_named_by_its_source_and_holds_freshness_back() -> None:
    measured = measure([READ], [READ, FAILING])
    assert measured.completeness == 0.5
    assert measured.fresh_until == FAILING.last_success_at
    assert measured.warnings == ("some_data_delayed", "source_failing:rss")


def test_a_part_that_is_not_read_any_more_does_not_hold_freshness_back() -> None:
    measured = measure([READ], [READ, DEAD])
    assert measured.fresh_until == READ.last_success_at
    assert measured.completeness == 0.5
    assert measured.warnings == ("some_data_delayed", "source_failing:rss")


@pytest.mark.parametrize(
    "account", [replace(READ, permanent=True), replace(READ, failures=1, next_attempt_at=NOW)]
)
def test_an_account_that_fails_as_a_whole_takes_all_its_parts_along(account: Facts) -> None:
    other = Facts(source="x")
    measured = measure([account, other], [READ, READ, replace(other)])
    assert measured.completeness == pytest.approx(1 / 3, abs=1e-4)
    assert measured.warnings == ("some_data_delayed", "source_failing:rss")


@pytest.mark.parametrize(
    ("part", "state"),
    [
        (READ, "ok"),
        (NEVER, "pending"),
        (FAILING, "failing"),
        (DEAD, "action_required"),
        (FORGIVEN, "pending"),
    ],
)
def test_a_part_has_a_state(part: Facts, state: str) -> None:
    assert freshness.part_state(cast("Any", part)) == state


@pytest.mark.parametrize(
    ("account", "parts", "state"),
    [
        (READ, [], "ok"),
        (NEVER, [], "pending"),
        (READ, [READ, FAILING], "failing"),
        (READ, [READ, FAILING, DEAD], "action_required"),
        (DEAD, [READ], "action_required"),
        (FAILING, [NEVER, NEVER], "failing"),
        (READ, [READ, NEVER], "pending"),
        (AWAY, [READ, READ], "failing"),
        (AWAY, [READ, NEVER], "failing"),
        (AWAY, [DEAD], "action_required"),
        (LIMITED, [READ], "ok"),
    ],
)
def test_the_worst_part_decides_about_an_account(
    account: Facts, parts: list[Facts], state: str
) -> None:
    assert freshness.connection_state(cast("Any", account), cast("Any", parts)) == state

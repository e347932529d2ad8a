"""When what is read again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_grpc.feed.scheduling import (
    LONGEST,
    PartTimes,
    next_after_failure,
    next_after_success,
    parts_to_skip,
    schedule_next,
    window_start,
)

NOW = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
HALF_AN_HOUR = timedelta(minutes=30)

intervals = st.timedeltas(timedelta(minutes=5), timedelta(hours=24))
jitters = st.floats(-1, 1)
instants = st.timedeltas(timedelta(days=-30), timedelta(days=30)).map(lambda away: NOW + away)
triggers = st.sampled_from(["watch", "request", "schedule"])
times = st.builds(
    PartTimes,
    last_attempt_at=st.none() | instants,
    next_attempt_at=st.none() | instants,
    retry_at=st.none() | instants,
    permanent=st.booleans(),
)


@given(intervals, st.lists(st.none() | instants), jitters)
def test_the_next_sync_is_never_much_sooner_than_the_interval(
    interval: timedelta, parts: list[datetime | None], jitter: float
) -> None:
    due = schedule_next(interval, parts, NOW, jitter=jitter)
    assert due >= NOW + interval * 0.9 - timedelta(microseconds=1)


@given(intervals, st.lists(instants), jitters)
def test_the_next_sync_keeps_its_interval_while_one_part_may_be_read(
    interval: timedelta, waiting: list[datetime], jitter: float
) -> None:
    due = schedule_next(interval, [None, *waiting], NOW, jitter=jitter)
    assert due <= NOW + interval * 1.1 + timedelta(microseconds=1)


def test_the_next_sync_waits_for_the_first_part_where_all_wait() -> None:
    waits = [NOW + timedelta(hours=5), NOW + timedelta(hours=3)]
    assert schedule_next(HALF_AN_HOUR, waits, NOW, jitter=0) == NOW + timedelta(hours=3)


@given(intervals, st.integers(1, 10_000), jitters)
def test_back_off_ends_within_a_day(interval: timedelta, failures: int, jitter: float) -> None:
    again = next_after_failure(interval, failures=failures, now=NOW, jitter=jitter)
    assert NOW < again <= NOW + LONGEST


@given(intervals, st.integers(1, 40), jitters)
def test_back_off_never_shrinks_with_more_failures(
    interval: timedelta, failures: int, jitter: float
) -> None:
    sooner = next_after_failure(interval, failures=failures, now=NOW, jitter=jitter)
    later = next_after_failure(interval, failures=failures + 1, now=NOW, jitter=jitter)
    assert later >= sooner


@given(intervals, jitters, jitters)
def test_the_first_failure_does_not_miss_the_next_cycle(
    interval: timedelta, cycle: float, jitter: float
) -> None:
    due = schedule_next(interval, [None], NOW, jitter=cycle)
    again = next_after_failure(interval, failures=1, now=NOW, jitter=jitter)
    assert again <= due + interval * 0.05 + timedelta(microseconds=1)


@given(intervals, st.integers(1, 10_000), jitters, st.timedeltas(timedelta(0), LONGEST))
def test_who_names_an_instant_is_never_asked_before_it_and_not_much_later(
    interval: timedelta, failures: int, jitter: float, wait: timedelta
) -> None:
    named = NOW + wait
    again = next_after_failure(interval, failures=failures, now=NOW, jitter=jitter, retry_at=named)
    usual = next_after_failure(interval, failures=failures, now=NOW, jitter=jitter)
    assert named <= again <= max(named, usual)
    if failures == 1:
        assert again == named


def test_who_names_one_instant_after_another_is_asked_less_and_less() -> None:
    def pauses(retry_in: timedelta) -> list[timedelta]:
        return [
            next_after_failure(
                HALF_AN_HOUR, failures=failures, now=NOW, jitter=0, retry_at=NOW + retry_in
            )
            - NOW
            for failures in range(1, 6)
        ]

    minutes = [timedelta(minutes=m) for m in (1, 3, 7, 15)]
    assert pauses(timedelta(seconds=2)) == [timedelta(seconds=2), *minutes]
    assert pauses(timedelta(hours=20)) == [timedelta(hours=20)] * 5


@given(intervals, st.lists(st.none() | instants), st.lists(instants, min_size=1), jitters)
def test_the_next_sync_comes_when_an_interrupted_one_may_go_on(
    interval: timedelta, parts: list[datetime | None], named: list[datetime], jitter: float
) -> None:
    regular = schedule_next(interval, parts, NOW, jitter=jitter)
    due = schedule_next(interval, parts, NOW, jitter=jitter, named=named)
    assert due == max(NOW, min(regular, *named))


@given(intervals, jitters, st.integers(0, 2))
def test_a_busy_part_waits_for_the_next_regular_sync_and_does_not_miss_it(
    interval: timedelta, cycle: float, quiet: int
) -> None:
    due = schedule_next(interval, [None], NOW, jitter=cycle)
    again = next_after_success(interval, quiet_reads=quiet, min_interval=timedelta(0), now=NOW)
    assert NOW + interval * 0.8 < again <= due


@given(intervals, st.integers(0, 1000), st.floats(0, 10**7))
def test_a_part_that_does_well_is_read_within_a_day(
    interval: timedelta, quiet: int, wanted: float
) -> None:
    again = next_after_success(
        interval, quiet_reads=quiet, min_interval=timedelta(seconds=wanted), now=NOW
    )
    assert NOW + interval * 0.84 <= again <= NOW + LONGEST


@pytest.mark.parametrize(("quiet", "pause"), [(0, 1), (2, 1), (3, 2), (4, 4), (40, 4)])
def test_a_quiet_part_is_read_less_often(quiet: int, pause: int) -> None:
    again = next_after_success(HALF_AN_HOUR, quiet_reads=quiet, min_interval=timedelta(0), now=NOW)
    assert again == NOW + HALF_AN_HOUR * pause - HALF_AN_HOUR * 0.15


def test_a_pause_that_the_platform_wants_is_kept() -> None:
    again = next_after_success(
        HALF_AN_HOUR, quiet_reads=0, min_interval=timedelta(hours=6), now=NOW
    )
    assert again >= NOW + timedelta(hours=5, minutes=55)


@given(st.dictionaries(st.text(max_size=3), times, max_size=5), triggers, st.booleans())
def test_nothing_bypasses_a_platforms_window_or_a_permanent_failure(
    parts: dict[str, PartTimes], trigger: str, force: bool
) -> None:
    skipped = parts_to_skip(
        parts, trigger=trigger, force=force, min_interval=timedelta(minutes=5), now=NOW
    )
    for name, known in parts.items():
        if known.permanent or (known.retry_at is not None and known.retry_at > NOW):
            assert name in skipped
        elif force or trigger == "watch":
            held = trigger == "schedule" and (known.next_attempt_at or NOW) > NOW
            assert (name in skipped) is held


def test_only_scheduled_runs_wait_for_our_own_back_off() -> None:
    backing_off = {
        "feed": PartTimes(NOW - timedelta(hours=1), NOW + timedelta(hours=1), None, False)
    }

    def skipped(trigger: str) -> frozenset[str]:
        return parts_to_skip(
            backing_off, trigger=trigger, force=False, min_interval=timedelta(minutes=5), now=NOW
        )

    assert skipped("schedule") == {"feed"}
    assert skipped("request") == skipped("watch") == frozenset()


def test_who_asks_gets_no_part_that_was_read_just_now_unless_forced() -> None:
    fresh = {"feed": PartTimes(NOW - timedelta(minutes=1), None, None, False)}

    def skipped(force: bool) -> frozenset[str]:
        return parts_to_skip(
            fresh, trigger="request", force=force, min_interval=timedelta(minutes=5), now=NOW
        )

    assert skipped(force=False) == {"feed"}
    assert skipped(force=True) == frozenset()


@given(st.none() | instants, st.integers(1, 30), st.integers(1, 90), st.integers(0, 60))
def test_the_window_reaches_back_over_the_last_success(
    last: datetime | None, backfill: int, retention: int, seen: int
) -> None:
    first = NOW - timedelta(days=seen)
    start = window_start(
        first_seen_at=first,
        last_success_at=last,
        backfill=timedelta(days=backfill),
        retention=timedelta(days=retention),
        now=NOW,
    )
    if last is None:
        assert start == NOW - timedelta(days=backfill)
    else:
        assert start <= last - timedelta(hours=1)
        kept, wanted = NOW - timedelta(days=retention), first - timedelta(days=backfill)
        assert start <= max(kept, wanted)
        assert start in {last - timedelta(hours=1), kept, wanted}


def test_a_short_period_stays_short_and_a_longer_one_counts_from_the_beginning() -> None:
    def start(days: int) -> datetime:
        return window_start(
            first_seen_at=NOW - timedelta(hours=2),
            last_success_at=NOW - timedelta(hours=1),
            backfill=timedelta(days=days),
            retention=timedelta(days=7),
            now=NOW,
        )

    assert start(1) == NOW - timedelta(days=1, hours=2)
    assert start(5) == NOW - timedelta(days=5, hours=2)
    assert start(30) == NOW - timedelta(days=7), "nothing that was deleted comes back"

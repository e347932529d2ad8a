"""How a source ends, and how a run ends by its sources."""

from __future__ import annotations

import pytest

from distill_grpc.feed.collecting import run_status
from distill_grpc.feed.outcomes import Verdict, verdict
from distill_grpc.sources.base import NoPlatformAuth, PlatformError, RateLimited, SourceFailure

BROKEN = PlatformError("broken")
WAIT = RateLimited("wait")


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ([], "completed"),
        (["completed", "completed"], "completed"),
        (["completed", "failed"], "partial"),
        (["completed", "skipped"], "partial"),
        (["partial", "failed"], "partial"),
        (["partial"], "partial"),
        (["failed", "skipped"], "failed"),
        (["skipped"], "failed"),
        (["failed"], "failed"),
    ],
)
def test_a_run_is_as_good_as_its_sources(statuses: list[str], status: str) -> None:
    assert run_status([Verdict(one) for one in statuses]) == status


def test_a_connection_that_was_changed_meanwhile_does_not_count() -> None:
    changed = Verdict("skipped", changed=True)
    assert run_status([changed]) == "completed"
    assert run_status([changed, Verdict("completed")]) == "completed"
    assert run_status([changed, Verdict("failed")]) == "failed"


@pytest.mark.parametrize(
    ("failure", "parts", "some_good", "status", "told"),
    [
        (None, [], True, "completed", None),
        (None, [], False, "completed", None),
        (None, [BROKEN, WAIT], True, "partial", BROKEN),
        (None, [BROKEN], False, "failed", BROKEN),
        (BROKEN, [], False, "failed", BROKEN),
        (BROKEN, [WAIT], True, "partial", BROKEN),
        (WAIT, [], False, "skipped", WAIT),
        (WAIT, [], True, "partial", WAIT),
    ],
)
def test_a_source_is_as_good_as_its_parts(
    failure: SourceFailure | None,
    parts: list[SourceFailure],
    some_good: bool,
    status: str,
    told: SourceFailure | None,
) -> None:
    assert verdict(failure, parts, some_good=some_good) == Verdict(status, told)


def test_a_refused_account_is_failed() -> None:
    refused = NoPlatformAuth("no", permanent=True)
    assert verdict(refused, [], some_good=False).status == "failed"

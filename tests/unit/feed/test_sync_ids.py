"""The ids of syncs as the API shows them."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_grpc.feed.syncing import job_id, parse_job_id


@given(st.uuids())
def test_an_id_comes_back(run_id: UUID) -> None:
    text = job_id(run_id)
    assert re.fullmatch(r"sync_[a-z2-7]{26}", text)
    assert parse_job_id(text) == run_id


@given(st.text(max_size=64) | st.text(max_size=40).map(lambda tail: f"sync_{tail}"))
def test_any_other_text_is_no_id(text: str) -> None:
    found = parse_job_id(text)
    assert found is None or job_id(found)[:30] == text.lower()[:30]


@pytest.mark.parametrize(
    "text", ["", "sync_", "sync_abc", "run_" + "a" * 26, "sync_" + "a" * 27, "sync_\x00"]
)
def test_what_is_malformed_is_no_id(text: str) -> None:
    assert parse_job_id(text) is None

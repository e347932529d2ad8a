"""Instants in answers are whole seconds, rounded so that nobody is misled."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from distill_grpc.rpc.instants import set_earliest, set_instant

WHOLE = datetime(2024, 1, 10, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(("micros", "past", "earliest"), [(0, 0, 0), (1, 0, 1), (999_999, 0, 1)])
def test_what_was_is_rounded_down_and_what_may_be_is_rounded_up(
    micros: int, past: int, earliest: int
) -> None:
    was, may_be = Timestamp(), Timestamp()
    set_instant(was, WHOLE.replace(microsecond=micros))
    set_earliest(may_be, WHOLE.replace(microsecond=micros))
    start = int(WHOLE.timestamp())
    assert (was.seconds - start, may_be.seconds - start) == (past, earliest)
    assert (was.nanos, may_be.nanos) == (0, 0)


def test_what_is_not_known_stays_unset() -> None:
    holder = Timestamp()
    set_earliest(holder, None)
    assert holder.ByteSize() == 0

"""Instants to proto and back."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from distill_grpc import clock
from distill_grpc.errors import invalid_argument


def set_instant(target: Timestamp, instant: datetime | None) -> None:
    """Sets a timestamp in whole seconds; leaves it unset for None."""
    if instant is not None:
        target.seconds = int(instant.timestamp())


def set_earliest(target: Timestamp, instant: datetime | None) -> None:
    """Sets the instant before which nothing may be asked: rounded up, so that it is never too early."""
    set_instant(target, None if instant is None else clock.seconds_up(instant))


def read_instant(field: str, given: Timestamp) -> datetime:
    """The instant that a request's field holds; raises INVALID_ARGUMENT beyond the years 1 to 9999."""
    try:
        return given.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise invalid_argument({field: "must lie in the years 1 to 9999"}) from None

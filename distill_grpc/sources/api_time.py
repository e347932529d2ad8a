"""Instants of a platform's clock told by ours, for APIs that name limits by their own clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import cast

from multidict import MultiMapping

from distill_grpc.sources import freshness
from distill_grpc.sources.http import Response

_LATEST_EPOCH = 253_402_300_799  # the last second that Python can tell


class FetchClock:
    """Our clock during one fetch: the instant of the request, and what has passed since."""

    def __init__(self, now: datetime) -> None:
        self._began = now
        self._monotonic = time.monotonic()

    def now(self) -> datetime:
        """The present instant."""
        return self._began + timedelta(seconds=time.monotonic() - self._monotonic)

    def after(self, seconds: float, longest: timedelta = freshness.LONGEST_WAIT) -> datetime:
        """The first whole second that is at least `seconds` away; at most `longest` ahead."""
        wait = min(max(seconds, 0.0), longest.total_seconds())
        return _up(self.now() + timedelta(seconds=wait))

    def retry_after(self, response: Response) -> datetime | None:
        """The instant that the answer's `Retry-After` names, in whichever of its forms."""
        found = freshness.retry_at(cast("MultiMapping[str]", response.headers), self.now())
        return _up(found) if found else None

    def of_server(
        self,
        moment: datetime,
        response: Response,
        longest: timedelta = freshness.LONGEST_WAIT,
    ) -> datetime:
        """An instant of the server's clock, which its `Date` tells, by ours; never in the past."""
        headers = cast("MultiMapping[str]", response.headers)
        present = self.now()
        wait = (moment - freshness.server_date(headers, present)).total_seconds()
        return self.after(wait, longest)

    def server_now(self, response: Response) -> datetime:
        """The server's clock as of the answer, or ours where it has no `Date`."""
        return freshness.server_date(cast("MultiMapping[str]", response.headers), self.now())


def from_epoch(seconds: str) -> datetime | None:
    """An instant given in epoch seconds; None where it is no such number."""
    seconds = seconds.strip()
    if not (seconds.isascii() and seconds.isdigit()) or len(seconds) > 15:
        return None
    return datetime.fromtimestamp(min(int(seconds), _LATEST_EPOCH), UTC)


def _up(moment: datetime) -> datetime:
    whole = moment.replace(microsecond=0)
    return whole if whole == moment else whole + timedelta(seconds=1)

"""Sends the mails of deliveries: a few at a time under a lease, each noted as soon as it was taken.

A worker that is killed may have one mail taken and not noted: it goes out once more when the lease
ends, with the same `Message-ID`. One worker sends one mail after the other, so it is one at most.
Where the mail server is away, deliveries wait, and nothing else does.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import EmailMessage
from itertools import groupby
from typing import Any, Protocol

import structlog
from prometheus_client import Counter
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.jobs.ticks import LAST_TICK
from distill_grpc.mail.base import (
    MailDelayed,
    Mailer,
    MailRefused,
    MailServerAway,
    RecipientRefused,
)
from distill_grpc.publishing import mails
from distill_grpc.publishing.feeds import Addresses
from distill_grpc.publishing.links import SubscriptionLinks
from distill_grpc.publishing.store import deliveries

log = structlog.get_logger()

DELIVERIES = Counter("distill_deliveries", "Mails about posts, by what became of them.", ["status"])


class MailNotNoted(Exception):  # noqa: N818 -- an outcome
    """A mail was taken, but the database does not answer; it may go out once more."""


class Pace(Protocol):
    """Waits until the next mail may go out."""

    async def wait(self) -> None:
        """Takes the next place."""
        ...


@dataclass(slots=True)
class SteadyPace:
    """At most so many a second, evenly."""

    per_second: float
    _next: float = 0.0

    async def wait(self) -> None:
        """Takes the next place."""
        now = time.monotonic()
        place = max(self._next, now)
        self._next = place + 1 / self.per_second
        await asyncio.sleep(place - now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long things take at most, and when they are tried again."""

    lease: timedelta = timedelta(seconds=90)
    batch: int = 10  # deliveries under one lease
    mail: float = 30.0  # seconds for one mail
    # After the n-th failure about 2^n times `first` passes, at most `longest`.
    first: timedelta = timedelta(minutes=1)
    longest: timedelta = timedelta(hours=6)
    failures: int = 12
    age: timedelta = timedelta(days=3)  # then even what nobody refused is given up

    def after(self, failures: int) -> timedelta:
        """How long to wait after so many failures, with jitter."""
        doubled = self.first * 2 ** min(failures - 1, 20)
        return timedelta(
            seconds=min(doubled, self.longest).total_seconds() * random.uniform(0.75, 1.25)
        )


@dataclass(slots=True, kw_only=True)
class Notifier:
    """Sends what is due."""

    engine: AsyncEngine
    mailer: Mailer
    links: SubscriptionLinks
    addresses: Addresses
    sender: str  # address in `From`
    pace: Pace
    sends: bool = True  # False: the mailer only logs
    patience: Patience = field(default_factory=Patience)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _away: int = 0  # how often in a row the server was found away
    _quiet_until: float = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Sends what is due until `stop` is set, and then finishes the mail it is at."""
        self._stop = stop
        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                try:
                    await self.send_due()
                    LAST_TICK.labels("notifications").set(time.time())
                except Exception as error:
                    log.exception("tick_failed", tick="notifications", error=type(error).__name__)
                await asyncio.wait({stopped}, timeout=random.uniform(0.8, 1.2))
        finally:
            stopped.cancel()

    async def send_due(self) -> int:
        """Sends all that is due; returns how many mails were taken."""
        sent = 0
        while not self._pauses():
            until = time.monotonic() + self.patience.lease.total_seconds() - self.patience.mail
            async with self.engine.begin() as connection:
                claimed = await deliveries.claim_due(
                    connection, self.patience.lease, self.patience.batch
                )
            if not claimed:
                break
            sent += await self._send_claimed(claimed, until)
        return sent

    async def _send_claimed(self, claimed: Sequence[Row[Any]], until: float) -> int:
        """Sends deliveries until the lease comes near its end; the others become due with it."""
        sent = 0
        waiting = sorted(claimed, key=lambda row: row.post_id)
        async with AsyncExitStack() as stack:
            mailer = await stack.enter_async_context(self.mailer.session())
            for post_id, group in groupby(waiting, key=lambda row: row.post_id):
                rows = list(group)
                async with self.engine.connect() as connection:
                    post = await deliveries.get_announced(connection, post_id)
                    recipients = await deliveries.get_recipients(
                        connection, post_id, [row.subscriber_id for row in rows]
                    )
                written = await asyncio.to_thread(mails.write, post, self.addresses)
                with structlog.contextvars.bound_contextvars(
                    request_id=post.request_id, post_id=str(post_id)
                ):
                    for row in rows:
                        if time.monotonic() > until or self._pauses():
                            return sent
                        recipient = recipients.get(row.subscriber_id)
                        sent += await self._send(mailer, row, written, recipient, until)
        return sent

    async def _send(
        self,
        mailer: Mailer,
        row: Row[Any],
        written: mails.Written,
        recipient: Row[Any] | None,
        until: float,
    ) -> bool:
        if recipient is None or not recipient.is_active:
            await self._finish(row, "cancelled")
            return False
        if recipient.is_suppressed:
            await self._finish(row, "suppressed")
            return False
        message = mails.compose(
            written,
            recipient,
            sender=self.sender,
            addresses=self.addresses,
            token=self.links.token(row.subscriber_id, written.post.creator_id),
        )
        if message is None:
            await self._finish(row, "refused", error="no address that mail can go to")
            return False
        await self.pace.wait()
        if time.monotonic() > until:
            return False
        return await self._hand_over(mailer, row, recipient, message)

    async def _hand_over(
        self, mailer: Mailer, row: Row[Any], recipient: Row[Any], message: EmailMessage
    ) -> bool:
        try:
            async with asyncio.timeout(self.patience.mail):
                await mailer.send(message)
        except RecipientRefused as refused:
            await self._suppress(row, recipient.email_key, str(refused))
        except MailRefused as refused:
            await self._finish(row, "refused", error=str(refused))
        except MailServerAway as away:
            self._pause(str(away))
            await self._delay(row, row.failures, str(away))
        except (MailDelayed, TimeoutError) as delayed:
            self._away = 0
            await self._delay(row, row.failures + 1, str(delayed) or "no answer in time")
        else:
            self._away = 0
            await self._note_sent(row)
            return True
        return False

    async def _note_sent(self, row: Row[Any]) -> None:
        """Notes a mail that was taken, whatever it takes: what is not noted goes out again."""
        for pause in (0.2, 0.5, 1.0, 2.0, 4.0):
            try:
                await self._finish(row, "sent" if self.sends else "logged")
            except Exception as error:
                log.warning("mail_not_noted_yet", error=type(error).__name__)
                await asyncio.sleep(pause)
            else:
                return
        raise MailNotNoted

    async def _delay(self, row: Row[Any], failures: int, why: str) -> None:
        old = clock.utc_now() - row.created_at > self.patience.age
        if old or failures >= self.patience.failures:
            await self._finish(row, "given_up", error=why)
            return
        log.info("mail_delayed", why=why, failures=failures)
        wait = self.patience.after(max(failures, 1))
        async with self.engine.begin() as connection:
            await deliveries.put_off(connection, row, wait, failures=failures, error=why)

    async def _suppress(self, row: Row[Any], email_key: str, why: str) -> None:
        log.warning("mail_refused", why=why)
        async with self.engine.begin() as connection:
            await deliveries.insert_suppression(connection, email_key, why)
            await deliveries.finish(connection, row, status="refused", error=why)
        DELIVERIES.labels("refused").inc()

    async def _finish(self, row: Row[Any], status: str, error: str | None = None) -> None:
        async with self.engine.begin() as connection:
            noted = await deliveries.finish(connection, row, status=status, error=error)
        if noted:
            DELIVERIES.labels(status).inc()

    def _pauses(self) -> bool:
        return self._stop.is_set() or time.monotonic() < self._quiet_until

    def _pause(self, why: str) -> None:
        """Leaves the mail server alone for a while, longer each time."""
        self._away += 1
        wait = min(self.patience.after(self._away), timedelta(minutes=10)).total_seconds()
        self._quiet_until = time.monotonic() + wait
        log.warning("mail_server_away", why=why, seconds=round(wait))

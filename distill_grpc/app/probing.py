"""Whether servers beside the database answer: asked now and then, so that `/health` waits for none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from distill_grpc.jobs.amqp import AmqpJobs, BrokerAway
from distill_grpc.mail.base import MailServerAway
from distill_grpc.mail.smtp import SmtpMailer
from distill_grpc.settings import Settings

log = structlog.get_logger()

EVERY = 30.0  # seconds


@dataclass(slots=True)
class Probe:
    """One server. `ask` raises where it is away; what that means to users is `means`."""

    name: str
    means: str
    ask: Callable[[], Awaitable[None]]
    away: str = field(default="", init=False)  # why, as of the last time

    async def run(self, *, every: float = EVERY) -> None:
        """Asks until it is cancelled."""
        while True:
            try:
                await self.ask()
                self.away = ""
            except (BrokerAway, MailServerAway) as error:
                if not self.away:
                    log.warning("server_away", name=self.name, error=str(error))
                self.away = f"{self.means} ({error})"
            await asyncio.sleep(every)


def build_probes(settings: Settings) -> list[Probe]:
    """One for each server that the settings name and no call needs."""
    probes = []
    if settings.smtp_url:
        mailer = SmtpMailer.from_url(settings.smtp_url)
        probes.append(Probe("mail", "mails wait", mailer.greet))
    if settings.amqp_url:
        jobs = AmqpJobs(settings.amqp_url)
        probes.append(Probe("rabbitmq", "jobs of the publishing platform wait", jobs.greet))
    return probes

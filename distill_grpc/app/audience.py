"""What a worker does for the publishing platform: its jobs, its mails, its recurring tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from distill_grpc import clock
from distill_grpc.app.parts import Parts, public_url
from distill_grpc.app.working import RETENTION_TICK, SCHEDULE_TICK, build_mailer
from distill_grpc.feed.link_tokens import LinkTokens
from distill_grpc.jobs.amqp import AmqpJobs
from distill_grpc.jobs.queue import JobQueue
from distill_grpc.publishing import posts
from distill_grpc.publishing.analytics import ANALYTICS_JOB, EventProcessor
from distill_grpc.publishing.announcing import Announcer
from distill_grpc.publishing.feeds import Addresses
from distill_grpc.publishing.links import SubscriptionLinks
from distill_grpc.publishing.notifying import Notifier, SteadyPace
from distill_grpc.publishing.pinging import PING_JOB, HubPinger
from distill_grpc.publishing.relaying import Relay
from distill_grpc.settings import Settings

RELAY_TICK = 1.0
# Attempts of a job after the first; the last comes hours later.
JOB_RETRIES = 13


def build_addresses(settings: Settings) -> Addresses:
    """The addresses that leave this service."""
    return Addresses(public_url(settings), settings.websub_hub)


def build_links(tokens: LinkTokens) -> SubscriptionLinks:
    """The links that end mails."""
    return SubscriptionLinks(tokens.sign, tokens.read)


def build_notifier(settings: Settings, engine: AsyncEngine, tokens: LinkTokens) -> Notifier:
    """What mails new posts."""
    return Notifier(
        engine=engine,
        mailer=build_mailer(settings),
        links=build_links(tokens),
        addresses=build_addresses(settings),
        sender=settings.mail_from,
        pace=SteadyPace(settings.mails_per_second),
        sends=settings.smtp_url is not None,
    )


def handle_jobs(
    settings: Settings, parts: Parts, queue: JobQueue | AmqpJobs, events: EventProcessor
) -> None:
    """Says what does the jobs."""
    addresses = build_addresses(settings)
    queue.handle(posts.NOTIFY_JOB, Announcer(parts.engine, addresses).run, retries=JOB_RETRIES)
    queue.handle(ANALYTICS_JOB, events.run, retries=JOB_RETRIES)
    # The hub is the operator's, and may lie in their own network.
    http = parts.http.trusting(addresses.hub) if addresses.hub else parts.http
    queue.handle(PING_JOB, HubPinger(addresses, http).run, retries=JOB_RETRIES)


def build_audience_ticks(
    parts: Parts, relay: Relay, events: EventProcessor
) -> list[tuple[float, str, Callable[[], Any]]]:
    """The recurring tasks, as `working.build_ticks`."""

    async def publish_due() -> None:
        async with parts.engine.begin() as connection:
            await posts.publish_due(connection, clock.utc_now())

    async def forget_events() -> None:
        await events.forget(clock.utc_now())

    return [
        (SCHEDULE_TICK, "publication", publish_due),
        (RELAY_TICK, "outbox", relay.hand_on),
        (RETENTION_TICK, "outbox_retention", relay.forget),
        (RETENTION_TICK, "analytics_retention", forget_events),
    ]

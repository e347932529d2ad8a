"""Whatever happens while it is read, and wherever it dies: what GitHub showed is what is stored."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill_grpc.sources.base import RateLimited
from distill_grpc.sources.github import GithubSource
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext
from tests.servers.github import GithubServer, stamp
from tests.servers.platform import Clock, cut, html
from tests.servers.reader import Reader
from tests.unit.sources_github.conftest import NOW, TOKEN

STEPS = st.lists(
    st.tuples(
        st.integers(0, 60),  # events that happen before the read
        st.integers(0, 60),  # new threads, and threads that are touched
        st.sampled_from([None, 0, 1, 2, 3]),  # pages after which the reader dies
        st.sampled_from(["", "", "", "html", "cut", "limit"]),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, seed=st.integers(0, 2**32), repeats=st.sampled_from([0.0, 0.3]))
async def test_what_was_served_is_what_is_stored(
    steps: list[Any], seed: int, repeats: float
) -> None:
    clock = Clock(NOW)
    chance = Random(seed)
    async with (
        GithubServer(clock, seed=seed) as server,
        HttpClient(allow_private_addresses=True, now=clock) as http,
    ):
        server.add_account(TOKEN)
        server.repeats = repeats
        source = GithubSource(SourceContext(http=http, api_urls={"github": server.origin}))
        reader = Reader(source, clock, {"token": TOKEN})

        def drift() -> None:
            clock.advance(seconds=1)
            if chance.random() < 0.5:
                # Up to a quarter of an hour late, and several in one second.
                late = timedelta(minutes=chance.randrange(0, 14))
                server.add_event(created_at=stamp(clock() - late))
            if server.threads and chance.random() < 0.3:
                server.touch(chance.choice(server.threads))

        server.between_pages = drift
        for events, threads, crash, trouble in steps:
            clock.advance(minutes=3)
            for _ in range(events):
                clock.advance(seconds=chance.randrange(2))
                server.add_event()
            for number in range(threads):
                clock.advance(seconds=chance.randrange(2))
                if server.threads and chance.random() < 0.3:
                    server.touch(chance.choice(server.threads))
                else:
                    server.add_thread(f"Thread {number}")
            if trouble:
                kinds = {"html": html(), "cut": cut(300), "limit": server.secondary(after=5)}
                server.fault("page=2", kinds[trouble])
            with suppress(RateLimited):
                await reader.read(crash_after=crash)
        server.faults.clear()
        server.between_pages = lambda: None
        server.repeats = 0.0
        for _ in range(2):
            clock.advance(minutes=3)
            await reader.read()
        stored = reader.items.keys()
        assert stored == {f"event:{i}" for i in server.served["event"]} | {
            f"thread:{i}" for i in server.served["thread"]
        }
        # And everything that is there was served.
        assert {f"thread:{thread['id']}" for thread in server.threads} <= stored
        assert {f"event:{event['id']}" for event in server.events} <= stored
        assert len(server.events) <= 300
        assert not reader.gaps
        for thread in server.threads:
            assert (
                stamp(reader.items[f"thread:{thread['id']}"].published_at) == thread["updated_at"]
            )
        assert not server.violations

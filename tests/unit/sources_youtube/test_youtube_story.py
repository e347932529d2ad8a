"""From the first connection to the second token: one account's life, with a ledger of everything."""

from __future__ import annotations

from datetime import timedelta

import pytest

from distill_grpc.sources.base import RateLimited, TokenExpired
from distill_grpc.sources.youtube import YoutubeSource
from tests.servers.platform import Clock
from tests.servers.reader import LedgerBudgets, Reader
from tests.servers.youtube import YoutubeServer, midnight
from tests.unit.sources_youtube.conftest import NOW, TOKEN


async def test_an_accounts_life(
    youtube: YoutubeServer,
    source: YoutubeSource,
    reader: Reader,
    clock: Clock,
    budgets: LedgerBudgets,
) -> None:
    youtube.accounts[TOKEN].expires_at = NOW + timedelta(days=3)
    handle = youtube.add_channel("By handle", handle="@byhandle")
    busy, quiet = youtube.add_channel("Busy"), youtube.add_channel("Quiet")
    youtube.subscriptions = [busy, quiet]
    settings = {"channels": ["@byhandle"], "subscriptions": True}
    reader.credentials, reader.settings = {"access_token": TOKEN}, settings

    # Connect.
    source.check(reader.credentials, settings)
    assert (await source.identify(reader.credentials, settings)).name == "You"

    # Back-fill, in which the reader dies twice.
    for number in range(110):
        clock.advance(minutes=5)
        youtube.add_video(busy, f"Busy {number}")
    youtube.add_video(handle, "Handle 1")
    old = youtube.add_video(quiet, "Quiet 1")
    for crash in (1, 3, None):
        await reader.read(crash_after=crash)
    assert reader.items.keys() == youtube.videos.keys()
    clock.advance(hours=1)
    await reader.read()

    # A quiet day costs nothing but the list of subscriptions.
    spent = sum(youtube.spent.values())
    for _ in range(8):
        clock.advance(hours=2)
        await reader.read(skip=frozenset({"subscriptions"}))
    assert sum(youtube.spent.values()) == spent

    # News, an edit, a deletion.
    new = youtube.add_video(busy, "Busy again")
    youtube.edit(old, title="Quiet, corrected")
    gone = youtube.channels[busy]["videos"][3]
    youtube.delete(gone)
    clock.advance(hours=1)
    await reader.read()
    assert new in reader.items
    assert reader.items[old].title == "Quiet, corrected"
    clock.advance(days=1)  # the list is read once a day in any case
    await reader.read()
    assert gone in reader.deleted
    assert reader.items.keys() == youtube.videos.keys()

    # The day's units are spent: nothing is asked before midnight Pacific time.
    youtube.quota = 0
    video = youtube.add_video(busy, "During the limit")
    clock.advance(minutes=30)
    until = midnight(clock())
    with pytest.raises(RateLimited) as limited:
        await reader.read()
    assert limited.value.retry_at is not None
    assert until <= limited.value.retry_at <= until + timedelta(seconds=2)
    clock.advance(hours=1)
    with pytest.raises(RateLimited):
        await reader.read(skip=frozenset({"subscriptions"}))
    clock.advance(seconds=(limited.value.retry_at - clock()).total_seconds())
    youtube.quota = 10_000
    await reader.read()
    assert video in reader.items

    # The token ends; a new one goes on where the old one stopped.
    clock.advance(days=3)
    with pytest.raises(TokenExpired):
        await reader.read()
    youtube.add_account("second")
    last = youtube.add_video(quiet, "After the pause")
    reader.credentials = {"access_token": "second"}
    await reader.read()
    assert last in reader.items
    assert reader.items.keys() == youtube.videos.keys()
    assert not youtube.violations
    assert {name for name, *_ in budgets.reserved} == {"youtube.project_units"}

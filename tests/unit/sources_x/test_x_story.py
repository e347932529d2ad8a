"""One user's X from the first read to the reconnection, as the core would live through it."""

from __future__ import annotations

from datetime import timedelta

from distill_grpc.sources.base import RateLimited, TokenExpired
from distill_grpc.sources.x import XSource
from tests.servers.x import XServer, until_reset
from tests.unit.sources_x.x_reading import Reader, StrictBudgets


async def test_connect_backfill_news_edit_delete_limit_expiry_and_reconnection(
    server: XServer, source: XSource, budgets: StrictBudgets
) -> None:
    reader = Reader(source, server, {"timelines": ["home", "mentions"], "daily_usd": 50})
    source.check({"access_token": reader.token}, reader.settings)
    assert (await source.identify({"access_token": reader.token}, {})).name == "distill_reader"

    # Backfill, interrupted by a crash.
    for minutes in range(600, 0, -5):
        server.world.publish(f"home {minutes}", at=server.world.now - timedelta(minutes=minutes))
    server.page_limit = 25
    await reader.read(pages=2)
    await reader.read()
    assert reader.items.keys() == server.world.first_ids("home")

    # News, one of it late; an edit and a deletion.
    server.world.pass_time(minutes=10)
    kept = server.world.publish("spelt rong")
    gone = server.world.publish("regretted")
    server.world.publish("late", late=timedelta(minutes=5))
    await reader.read()
    server.world.pass_time(minutes=6)
    server.world.edit(kept, "spelt wrong")
    server.world.delete(gone)
    server.world.publish("to me", on=["mentions"])
    await reader.read()
    assert {"spelt wrong", "late", "to me"} <= reader.texts()
    assert reader.deleted == {str(gone.id)}

    # The window is used up by another program of the user's; later it opens again.
    server._used["home", server._resets()] = server.limits["home"]
    server.world.publish("behind the limit")
    pages = await reader.read()
    assert [type(page.failure) for page in pages if page.failure] == [RateLimited]
    assert server.violations == 1
    await reader.read()
    assert server.violations == 1
    server.world.now += until_reset(server) + timedelta(seconds=3)
    await reader.read()
    assert "behind the limit" in reader.texts()

    # The token ends; the user connects again, and nothing is missing.
    server.tokens = {"token-2"}
    server.world.pass_time(hours=2)
    server.world.publish("meanwhile")
    await reader.read()
    assert isinstance(reader.failure, TokenExpired)
    reader.token = "token-2"
    await reader.read()
    assert reader.items.keys() == (
        server.world.first_ids("home") | server.world.first_ids("mentions")
    )
    # A little in advance for each read, and the user's own record at identify.
    assert abs(budgets.money() - server.cost) < 0.02

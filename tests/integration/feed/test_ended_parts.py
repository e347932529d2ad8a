"""A part that belongs to an account no more is forgotten; what was collected of it stays."""

from __future__ import annotations

from datetime import timedelta

from distill_grpc.feed import freshness
from distill_grpc.sources.base import Page, PlatformError
from tests.integration.feed.scripted import items
from tests.integration.feed.world import World


async def parts(world: World) -> list[str]:
    return [row.part for row in await world.ask("SELECT part FROM connection_parts ORDER BY 1")]


async def test_it_is_forgotten_and_its_items_stay(world: World) -> None:
    world.source.named = ()
    at = world.now()
    world.source.plays(
        Page(part="list", cursor=1),
        Page(part="kept", items=items("kept", [1], at), cursor=1),
        Page(part="left", items=items("left", [1], at), cursor=1),
    )
    await world.sync(await world.watch())
    assert await parts(world) == ["kept", "left", "list"]
    world.source.script = lambda request: [
        *(Page(part=part, unchanged=True) for part in ("list", "kept")),
        *(Page(part=part, ended=True) for part in request.left({"list", "kept"})),
    ]
    run = await world.sync()
    assert await parts(world) == ["kept", "list"]
    assert await world.stored() == ["kept-1", "left-1"]
    report = (await world.report(run.id))["scripted"]
    assert (report.status, report.parts_done, report.parts_total) == ("completed", 3, 3)
    await world.sync()
    assert "left" not in world.source.requests[-1].since


async def test_a_part_that_failed_takes_its_failure_along(world: World) -> None:
    """Else an account would fail for ever by what the user has left."""
    world.source.named = ()
    gone = PlatformError("There is no such list.", reason="gone", permanent=True)
    world.source.plays(Page(part="list", cursor=1), Page(part="left", failure=gone))
    await world.sync(await world.watch())
    row, rows = await world.connection(), await world.ask("SELECT * FROM connection_parts")
    assert freshness.connection_state(row, rows) == "action_required"
    world.source.plays(Page(part="list", cursor=2))
    steps = world.source.script
    world.source.script = lambda request: [
        *steps(request),
        *(Page(part=part, ended=True) for part in request.left({"list"})),
    ]
    await world.sync()
    row, rows = await world.connection(), await world.ask("SELECT * FROM connection_parts")
    assert freshness.connection_state(row, rows) == "ok"
    assert row.error_code is None
    told = freshness.measure(
        [row], rows, interval=timedelta(minutes=30), now=world.now(), since=None
    )
    assert told.completeness == 1

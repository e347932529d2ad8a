"""The ways by which a user makes Distill fetch an address. Each new one gets a line in `ENTRANCES`.

An entrance takes addresses from a user, waits until Distill has tried to fetch them, and tells what
the user was then told about each.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from tests.service import Service

# What a user was told about each address; None where it was fetched.
Told = Mapping[str, str | None]
Entrance = Callable[[Service, str, Sequence[str]], Awaitable[Told]]


async def feeds_of_a_connection(service: Service, user: str, urls: Sequence[str]) -> Told:
    """`PUT /connections/rss` and a sync. What the first refuses, the second is not asked."""
    wanted = list(dict.fromkeys(urls))
    refused: dict[str, str] = {}
    while True:
        body = {"settings": {"feeds": wanted}}
        answer = await service.call("PUT", "/connections/rss", body, user=user)
        if answer.status != 400:
            break
        for field, rule in answer.body["details"].items():
            place = int(field.removeprefix("settings.feeds[").removesuffix("]"))
            refused[wanted[place]] = rule
        wanted = [url for url in wanted if url not in refused]
        if not wanted:
            return refused
    assert answer.status == 200, answer.text[:2000]
    began = await service.call("POST", "/watch", user=user)
    assert began.status in {200, 201}, began.text
    synced = await service.call("POST", "/sync", {"force": True}, user=user)
    job = synced.body.get("job_id") or synced.body["details"]["job_id"]
    await service.job_done(job, user)
    parts = (await service.call("GET", "/connections/rss", user=user)).body["parts"]
    told: dict[str, str | None] = dict(refused)
    for part in parts:
        assert part["state"] != "pending", part
        told[part["name"]] = f"{part['error']}: {part['message']}" if "error" in part else None
    assert set(told) == set(urls)
    return told


ENTRANCES: Mapping[str, Entrance] = {"feeds": feeds_of_a_connection}

"""Every source must pass these. A new source adds a subject, not a test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import entry_points
from typing import cast

import pytest

from distill_grpc.sources.base import InvalidConnection, Item, Page, SourceInfo
from distill_grpc.sources.mock import MockSource
from distill_grpc.sources.registry import GROUP
from tests.conformance.sources.rules import check_items, check_pages
from tests.conformance.sources.subjects import (
    NOW,
    SUBJECTS,
    Subject,
    cursors_after,
    pages_of,
)


@pytest.fixture(params=list(SUBJECTS))
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    async with SUBJECTS[request.param]() as ready:
        yield ready


async def test_a_source_says_what_it_is(subject: Subject) -> None:
    info = subject.source.info
    assert isinstance(info, SourceInfo)
    assert info.name == info.name.lower().strip()
    assert info.title
    assert info.description.endswith(".")
    assert info.limits
    assert info.token_type in {"none", "api_key", "password", "OAuth2"}
    assert (info.token_type == "none") == (not info.credentials)
    assert all({**info.credentials, **info.settings}.values())


async def test_who_says_that_tokens_are_renewed_says_how(subject: Subject) -> None:
    info = subject.source.info
    if isinstance(subject.source, MockSource):  # its tokens are played, too
        return
    assert info.refresh_supported == (info.oauth is not None)
    if info.oauth is not None:
        assert info.oauth.client_auth in {"basic", "body"}
        assert info.oauth.token_name in info.credentials


async def test_its_own_settings_are_accepted(subject: Subject) -> None:
    subject.source.check(subject.request.credentials, subject.request.settings)


async def test_unknown_names_are_refused_by_name(subject: Subject) -> None:
    settings = {**subject.request.settings, "colour": "blue"}
    with pytest.raises(InvalidConnection) as refused:
        subject.source.check({**subject.request.credentials, "pin": "1234"}, settings)
    assert set(refused.value.details) == {"credentials.pin", "settings.colour"}
    assert "1234" not in str(refused.value)


async def test_pages_and_items_are_well_formed(subject: Subject) -> None:
    pages = await pages_of(subject.source, subject.request)
    items = check_pages(pages, parts=subject.parts, now=NOW)
    assert {page.part for page in pages} == set(subject.parts)
    assert not [page.failure for page in pages if page.failure]
    assert items


async def test_items_and_cursors_survive_json(subject: Subject) -> None:
    pages = await pages_of(subject.source, subject.request)
    for page in pages:
        json.loads(json.dumps([page.cursor, [item.raw for item in page.items]], allow_nan=False))


async def test_a_second_fetch_brings_nothing_new(subject: Subject) -> None:
    first = await pages_of(subject.source, subject.request)
    stored = json.loads(json.dumps(cursors_after(subject.request, first)))
    again = await pages_of(subject.source, replace(subject.request, cursors=stored))
    assert not [item for page in again for item in page.items]
    assert all(page.unchanged for page in again)


async def test_reading_twice_from_the_start_gives_the_same(subject: Subject) -> None:
    first = await pages_of(subject.source, subject.request)
    again = await pages_of(subject.source, subject.request)
    assert _by_id(first) == _by_id(again)


async def test_resuming_after_any_page_loses_nothing(subject: Subject) -> None:
    whole = await pages_of(subject.source, subject.request)
    for stop in range(0, len(whole), max(1, len(whole) // 4)):
        begun = whole[:stop]
        stored = cursors_after(subject.request, begun)
        rest = await pages_of(subject.source, replace(subject.request, cursors=stored))
        assert _by_id([*begun, *rest]).keys() == _by_id(whole).keys()


async def test_older_items_than_wanted_are_left_out(subject: Subject) -> None:
    whole = await pages_of(subject.source, subject.request)
    instants = {i.platform_id: i.published_at or NOW for page in whole for i in page.items}
    middle = sorted(instants.values())[len(instants) // 2]
    later = await pages_of(subject.source, replace(subject.request, default_since=middle))
    found = {item.platform_id for page in later for item in page.items}
    assert found
    assert found == {id_ for id_, published in instants.items() if published >= middle}


async def test_what_is_wanted_may_differ_by_part(subject: Subject) -> None:
    part = subject.parts[0]
    since = {part: NOW + timedelta(seconds=1)}
    pages = await pages_of(subject.source, replace(subject.request, since=since))
    assert not [item for page in pages for item in page.items if page.part == part]
    assert [page for page in pages if page.part == part]


async def test_parts_to_skip_are_not_contacted(subject: Subject) -> None:
    skipping = replace(subject.request, skip=frozenset(subject.parts))
    assert await pages_of(subject.source, skipping) == []
    assert subject.contacts() == 0
    rest = subject.parts[1:]
    one_less = replace(subject.request, skip=frozenset(subject.parts[:1]))
    assert {page.part for page in await pages_of(subject.source, one_less)} == set(rest)


async def test_a_fetch_may_be_abandoned(subject: Subject) -> None:
    before = asyncio.all_tasks()
    for _ in range(3):
        pages = cast("AsyncGenerator[Page, None]", subject.source.fetch(subject.request))
        await anext(pages)
        await pages.aclose()
    await asyncio.sleep(0)
    left = {task for task in asyncio.all_tasks() - before if "fetch" in repr(task)}
    assert not left
    # The source still works.
    check_items(
        [item for page in await pages_of(subject.source, subject.request) for item in page.items],
        now=NOW,
    )


async def test_a_fetch_may_be_cancelled(subject: Subject) -> None:
    task = asyncio.create_task(pages_of(subject.source, subject.request))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert _by_id(await pages_of(subject.source, subject.request))


def _by_id(pages: list[Page]) -> dict[str, Item]:
    return {item.platform_id: item for page in pages for item in page.items}


def test_every_installed_source_is_a_subject() -> None:
    missing = {point.name for point in entry_points(group=GROUP)} - set(SUBJECTS)
    assert not missing, f"add {missing} to SUBJECTS in tests/conformance/sources/subjects.py"

"""Mock data: the same for everybody, new as time goes by, and failing on demand."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from distill_grpc.sources.base import (
    InvalidConnection,
    NoPlatformAuth,
    PlatformError,
    RateLimited,
    SourceFailure,
    TokenExpired,
)
from distill_grpc.sources.mock import PLATFORMS, MockSource
from tests.conformance.sources.subjects import NOW, cursors_after, pages_of, request


@pytest.mark.parametrize("name", PLATFORMS)
async def test_items_come_about_every_40_minutes(name: str) -> None:
    pages = await pages_of(MockSource(name), request({}, days=10))
    count = sum(len(page.items) for page in pages)
    assert 300 <= count <= 420


@pytest.mark.parametrize("name", PLATFORMS)
async def test_a_later_sync_brings_what_is_new_and_nothing_else(name: str) -> None:
    source = MockSource(name)
    first = request({})
    known = await pages_of(source, first)
    stored = cursors_after(first, known)
    seen = {i.platform_id for page in known for i in page.items}
    for hours in range(1, 8):
        later = replace(first, now=NOW + timedelta(hours=hours), cursors=stored)
        pages = await pages_of(source, later)
        items = {i.platform_id for page in pages for i in page.items}
        assert not items & seen
        seen |= items
        stored = cursors_after(later, pages)
    whole = await pages_of(source, replace(first, now=NOW + timedelta(hours=7)))
    assert seen == {i.platform_id for page in whole for i in page.items}


async def test_syncing_every_minute_loses_nothing() -> None:
    source = MockSource("github")
    wanted = request({}, days=0)
    stored: dict[str, Any] = {}
    seen = set()
    for minute in range(0, 600, 7):
        step = replace(wanted, now=NOW + timedelta(minutes=minute), cursors=stored)
        pages = await pages_of(source, step)
        seen |= {i.platform_id for page in pages for i in page.items}
        stored = cursors_after(step, pages)
    whole = await pages_of(source, replace(wanted, now=NOW + timedelta(minutes=595)))
    assert seen == {i.platform_id for page in whole for i in page.items}
    assert seen


async def test_ids_differ_between_the_parts_and_sources() -> None:
    ids = []
    for name in PLATFORMS:
        pages = await pages_of(MockSource(name), request({}, days=7))
        ids.append([i.platform_id for page in pages for i in page.items])
        assert len(ids[-1]) == len(set(ids[-1]))


async def test_stories_are_told_by_several_sources() -> None:
    leads: dict[str, set[str]] = {}
    for name in PLATFORMS:
        for page in await pages_of(MockSource(name), request({}, days=2)):
            for item in page.items:
                for sentence in item.content.replace("\n", " ").split(". "):
                    leads.setdefault(sentence, set()).add(name)
    shared = [
        sentence for sentence, names in leads.items() if len(names) >= 4 and len(sentence) > 40
    ]
    assert len(shared) >= 4


async def test_texts_have_several_sentences() -> None:
    for name in PLATFORMS:
        for page in await pages_of(MockSource(name), request({})):
            for item in page.items:
                assert item.content.count(".") >= 2
                assert "{" not in item.content + item.title


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("rate_limited", RateLimited),
        ("token_expired", TokenExpired),
        ("no_platform_auth", NoPlatformAuth),
        ("platform_error", PlatformError),
    ],
)
async def test_every_failure_can_be_simulated(code: str, kind: type[SourceFailure]) -> None:
    source = MockSource("x")
    source.check({}, {"simulate": code})
    with pytest.raises(kind) as failed:
        await pages_of(source, request({"simulate": code}))
    assert failed.value.code == code
    if code == "rate_limited":
        assert failed.value.retry_at == NOW + timedelta(minutes=15)
    one = {"simulate_parts": {"mentions": code}}
    source.check({}, one)
    pages = await pages_of(source, request(one))
    assert type(pages[-1].failure) is kind
    assert pages[0].failure is None
    assert pages[0].items


async def test_pages_and_delays_are_as_asked() -> None:
    started = time.monotonic()
    # Numbers come as floats out of a protobuf Struct.
    pages = await pages_of(MockSource("email"), request({"pages": 4.0, "delay": 0.02}))
    assert time.monotonic() - started >= 0.08
    assert len(pages) == 4
    assert [page.last for page in pages] == [False, False, False, True]
    assert all(page.cursor for page in pages)
    json.dumps([page.cursor for page in pages])


async def test_edits_deletions_and_gaps_are_played_as_asked() -> None:
    source, asked = MockSource("x"), {"changes": ["edits", "deletions", "gaps"]}
    source.check({}, asked)
    first = await pages_of(source, request(asked, days=2))
    assert not [page for page in first if page.deleted or page.gap]
    stored = {item.platform_id: item for page in first for item in page.items}
    later = replace(
        request(asked, days=2),
        cursors={page.part: page.cursor for page in first},
        now=NOW + timedelta(hours=6),
    )
    for page in await pages_of(source, later):
        edited = [i for i in page.items if i.platform_id in stored]
        assert [i.content != stored[i.platform_id].content for i in edited] == [True]
        assert len(page.deleted) == 1
        assert stored.keys() >= set(page.deleted)
        assert page.gap
    unasked = replace(later, settings={})
    assert not [page for page in await pages_of(source, unasked) if page.deleted or page.gap]


async def test_parts_can_be_named() -> None:
    feeds = ["https://a.example/feed", "https://b.example/feed"]
    source = MockSource("rss")
    source.check({}, {"feeds": feeds})
    assert source.parts({"feeds": feeds}) == tuple(feeds)
    pages = await pages_of(source, request({"feeds": feeds}))
    assert [page.part for page in pages] == feeds


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"simulate": "flood"}, "settings.simulate"),
        ({"simulate_parts": {"a": "flood"}}, "settings.simulate_parts"),
        ({"simulate_parts": ["a"]}, "settings.simulate_parts"),
        ({"simulate": ["rate_limited"]}, "settings.simulate"),
        ({"simulate_parts": {"a": []}}, "settings.simulate_parts"),
        ({"changes": ["floods"]}, "settings.changes"),
        ({"changes": "edits"}, "settings.changes"),
        ({"changes": [[]]}, "settings.changes"),
        ({"pages": 0}, "settings.pages"),
        ({"pages": 1.5}, "settings.pages"),
        ({"pages": True}, "settings.pages"),
        ({"pages": float("nan")}, "settings.pages"),
        ({"delay": -1}, "settings.delay"),
        ({"delay": "1"}, "settings.delay"),
        ({"delay": 1e9}, "settings.delay"),
        ({"feeds": ["nope"]}, "settings.feeds[0]"),
        ({"feeds": []}, "settings.feeds"),
        ({"folders": ["INBOX"]}, "settings.folders"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidConnection) as refused:
        MockSource("rss").check({}, settings)
    assert set(refused.value.details) == {field}


def test_credentials_of_the_platform_are_taken_but_not_needed() -> None:
    source = MockSource("github")
    source.check({}, {})
    source.check({"token": "anything"}, {})

"""The walk over what people and repositories do that the user follows (`received_events`).

GitHub shows the newest 300 events at most, up to six hours late, on pages that shift and repeat while
they are read. So ids decide what is new; a page without new ids is no end; the walk ends where a whole
page was known before it began and lies behind the mark, or where there is no next page. Where that
end is reached without meeting anything known, events were lost, and the page says so (`gap`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from distill_grpc.sources import api_json, api_state
from distill_grpc.sources.api_json import instant, instant_at, iso, text_at
from distill_grpc.sources.api_pages import endless, items_of
from distill_grpc.sources.base import FetchRequest, Json, Page, PlatformError
from distill_grpc.sources.github_api import MAX_PAGES, GithubApi
from distill_grpc.sources.github_events import event
from distill_grpc.sources.github_items import before

PART = "received_events"

_OVERLAP = timedelta(minutes=15)
_MAX_KNOWN = 1_000  # three times what GitHub shows


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    token: str = ""
    login: str = ""
    etag: str = ""  # of the first page
    floor: int = 0  # epoch seconds: older events were not wanted
    mark: str = ""  # `created_at` of the newest event of the walks that came to their end
    known: list[str] = field(default_factory=list)  # ids, newest first
    walk_url: str = ""
    walk_etag: str = ""
    walk_top: str = ""
    walk_seen: list[str] = field(default_factory=list)
    walk_pages: int = 0
    walk_met: bool = False  # something known


async def read(api: GithubApi, request: FetchRequest, *, site: str) -> AsyncGenerator[Page, None]:
    """Reads the events, or goes on where a walk was left. Raises a `SourceFailure`.

    `site` is GitHub's web address, for links.
    """
    since = request.since.get(PART, request.default_since)
    state = _loaded(api, request, since)
    if not state.walk_url:
        if wait := await api.wait_to_poll(PART):
            yield Page(part=PART, waiting=wait)
            return
        state = await _begun(state, api, since)
    while True:
        polls = not state.walk_pages and bool(state.etag)
        try:
            response = await api.get(
                state.walk_url, conditions={"If-None-Match": state.etag} if polls else {}
            )
        except PlatformError as failure:
            if failure.reason == "status_422" and state.walk_pages:
                # GitHub names pages that it does not give (`pagination is limited`).
                gap = bool(state.known) and not state.walk_met
                yield Page(part=PART, cursor=api_state.dump(_completed(state)), gap=gap)
                return
            raise
        pause = await api.polled(PART, response)
        if response.status == 304:
            ended = api_state.dump(_ended(state))
            yield Page(part=PART, cursor=ended, unchanged=True, min_interval=pause)
            return
        events = api_json.listed(api_json.read(response))
        old, seen = frozenset(state.known), frozenset(state.walk_seen)
        new = [e for e in events if text_at(e, "id") not in old | seen]
        wanted = [e for e in new if not before(instant_at(e, "created_at"), since)]
        items = await asyncio.to_thread(items_of, wanted, partial(event, site=site))
        next_url = api.next_page(response)
        first = state.walk_pages == 0
        whole = next_url is None or _spans(events, api.clock.server_now(response))
        state = _after_page(state, events, response.headers.get("ETag", "") if whole else "")
        if next_url and (next_url == state.walk_url or state.walk_pages >= MAX_PAGES):
            ended = api_state.dump(_ended(state))
            yield Page(part=PART, items=items, cursor=ended, failure=endless())
            return
        last = next_url is None or _is_ground(events, old, state.mark, since)
        gap = next_url is None and bool(old) and not state.walk_met
        state = _completed(state) if last else replace(state, walk_url=next_url or "")
        yield Page(
            part=PART,
            items=items,
            cursor=api_state.dump(state),
            min_interval=pause,
            last=last,
            unchanged=first and last and not items and not gap,
            gap=gap,
        )
        if last:
            return


def _loaded(api: GithubApi, request: FetchRequest, since: datetime) -> _State:
    state = api_state.load(_State, request.cursors.get(PART))
    floor = int(since.timestamp())
    if state.token != api.fingerprint:
        state = _State(token=api.fingerprint, known=state.known, mark=state.mark, floor=state.floor)
    if floor < state.floor:
        # Older events are wanted than were looked at.
        state = replace(_ended(state), etag="", known=[], mark="")
    return state


async def _begun(state: _State, api: GithubApi, since: datetime) -> _State:
    """At the start of a walk, which needs the name of whose events these are."""
    login = state.login or text_at(api_json.read(await api.get("user")), "login")
    if not login:
        raise PlatformError("GitHub does not say whose token this is.", reason="unexpected_shape")
    url = f"{api.root}/users/{login}/received_events?per_page=100"
    return replace(state, login=login, walk_url=url, floor=int(since.timestamp()))


def _after_page(state: _State, events: Sequence[Json], etag: str) -> _State:
    ids = [key for event in events if (key := text_at(event, "id"))]
    created = (instant_at(event, "created_at") for event in events)
    return replace(
        state,
        walk_seen=list(dict.fromkeys([*state.walk_seen, *ids]))[:_MAX_KNOWN],
        walk_met=state.walk_met or not frozenset(state.known).isdisjoint(ids),
        # The first page's only: what came after it was read may stand above where the walk is now.
        walk_top=(
            state.walk_top
            if state.walk_pages
            else max((iso(moment) for moment in created if moment), default="")
        ),
        walk_etag=state.walk_etag if state.walk_pages else _usable(etag),
        walk_pages=state.walk_pages + 1,
    )


def _spans(events: Sequence[Json], now: datetime) -> bool:
    """Whether the page reaches behind what may still come late.

    Only then does an unchanged first page prove that nothing came in below it.
    """
    created = [moment for event in events if (moment := instant_at(event, "created_at"))]
    return bool(created) and min(created) < now - _OVERLAP


def _is_ground(events: Sequence[Json], old: frozenset[str], mark: str, since: datetime) -> bool:
    """Whether nothing new can stand behind this page."""
    if not events:
        return False
    created = [moment for event in events if (moment := instant_at(event, "created_at"))]
    if created and max(created) < since:
        return True
    reached = instant(mark)
    behind = reached is None or (bool(created) and min(created) < reached - _OVERLAP)
    return behind and all(text_at(event, "id") in old for event in events)


def _completed(state: _State) -> _State:
    """The mark moves, because the walk met known ground, or the end of what GitHub shows."""
    known = list(dict.fromkeys([*state.walk_seen, *state.known]))[:_MAX_KNOWN]
    return replace(
        _ended(state), known=known, etag=state.walk_etag, mark=max(state.mark, state.walk_top)
    )


def _ended(state: _State) -> _State:
    return replace(
        state,
        walk_url="",
        walk_etag="",
        walk_top="",
        walk_seen=[],
        walk_pages=0,
        walk_met=False,
    )


def _usable(etag: str) -> str:
    """The validator, unless it is one of the empty ones that GitHub sends for some lists."""
    return "" if etag.strip() in {'""', 'W/""'} or len(etag) > 500 else etag

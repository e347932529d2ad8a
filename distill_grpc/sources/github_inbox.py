"""The walk over GitHub's notifications.

The list is asked with `since` and `If-Modified-Since` (its ETags are empty in practice). A thread keeps
its id and comes again with a new `updated_at`; its order is not strict, so every page of a walk is
read. What GitHub does not tell conditionally, such as threads read elsewhere, an unconditional walk
over the whole window finds once a day.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from email.utils import parsedate_to_datetime

from distill_grpc.sources import api_json, api_state
from distill_grpc.sources.api_json import instant, iso, text_at
from distill_grpc.sources.api_pages import endless, items_of
from distill_grpc.sources.base import FetchRequest, Json, Page
from distill_grpc.sources.github_api import MAX_PAGES, GithubApi
from distill_grpc.sources.github_items import before, notification, thread_version
from distill_grpc.sources.http import Response

PART = "notifications"

_OVERLAP = timedelta(minutes=15)  # behind the mark, for what arrives late
_SWEEP = 86_400  # seconds between two unconditional walks over the window
_MAX_KNOWN = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    token: str = ""  # the conditional state belongs to it
    since: str = ""  # of the list that is asked conditionally
    modified: str = ""  # that list's `Last-Modified`, word for word
    floor: int = 0  # epoch seconds: how far the last sweep went back
    swept: int = 0  # epoch seconds
    mark: str = ""  # the newest `updated_at` of the walks that came to their end
    known: dict[str, str] = field(default_factory=dict)  # thread → version, from `since` on
    # The walk that is under way, if any.
    walk_url: str = ""  # the page to read next
    walk_since: str = ""
    walk_modified: str = ""
    walk_top: str = ""
    walk_pages: int = 0
    walk_sweeps: bool = False


async def read(api: GithubApi, request: FetchRequest) -> AsyncGenerator[Page, None]:
    """Reads the inbox, or goes on where a walk was left. Raises a `SourceFailure`."""
    since = request.since.get(PART, request.default_since)
    state = api_state.load(_State, request.cursors.get(PART))
    if state.token != api.fingerprint:
        # Validators and pages belong to the token that got them.
        state = _State(token=api.fingerprint, known=state.known)
    if not state.walk_url:
        if wait := await api.wait_to_poll(PART):
            yield Page(part=PART, waiting=wait)
            return
        state = _begun(state, api, request)
    while True:
        polls = not (state.walk_sweeps or state.walk_pages) and bool(state.modified)
        response = await api.get(
            state.walk_url, conditions={"If-Modified-Since": state.modified} if polls else {}
        )
        pause = await api.polled(PART, response)
        if response.status == 304:
            cursor = api_state.dump(_ended(state))
            yield Page(part=PART, cursor=cursor, unchanged=True, min_interval=pause)
            return
        threads = api_json.listed(api_json.read(response))
        fresh = [t for t in threads if state.known.get(text_at(t, "id")) != thread_version(t)]
        if state.walk_sweeps:
            fresh = threads
        wanted = [t for t in fresh if not before(api_json.instant_at(t, "updated_at"), since)]
        items = await asyncio.to_thread(items_of, wanted, notification)
        next_url = api.next_page(response)
        first = state.walk_pages == 0
        state = _after_page(state, threads, _validator(response, api))
        if next_url and (next_url == state.walk_url or state.walk_pages >= MAX_PAGES):
            ended = api_state.dump(_ended(state))
            yield Page(part=PART, items=items, cursor=ended, failure=endless())
            return
        state = replace(state, walk_url=next_url) if next_url else _completed(state, request)
        yield Page(
            part=PART,
            items=items,
            cursor=api_state.dump(state),
            min_interval=pause,
            last=next_url is None,
            unchanged=first and next_url is None and not items,
        )
        if next_url is None:
            return


def _begun(state: _State, api: GithubApi, request: FetchRequest) -> _State:
    """At the start of a walk: over what may have changed, or over the whole window."""
    window = request.since.get(PART, request.default_since)
    sweeps = (
        not state.since
        or int(request.now.timestamp()) - state.swept >= _SWEEP
        or int(window.timestamp()) < state.floor
    )
    since = iso(window) if sweeps else state.since
    query = f"all=true&participating=false&per_page=50&since={since}"
    return replace(
        state, walk_url=f"{api.root}/notifications?{query}", walk_since=since, walk_sweeps=sweeps
    )


def _after_page(state: _State, threads: list[Json], modified: str) -> _State:
    known = {key: thread_version(t) for t in threads if (key := text_at(t, "id"))}
    return replace(
        state,
        known={**state.known, **known},
        # The first page's: what changed while the walk went on, or stood still, is asked for again.
        walk_top=(state.walk_top if state.walk_pages else max(map(_updated, threads), default="")),
        walk_modified=state.walk_modified if state.walk_pages else modified,
        walk_pages=state.walk_pages + 1,
    )


def _completed(state: _State, request: FetchRequest) -> _State:
    """The mark moves, because the walk came to its end."""
    mark = max(state.mark, state.walk_top)
    newest = instant(mark)
    since, modified = state.walk_since, state.walk_modified
    if state.walk_pages > 1 and newest is not None:
        # A long list is not read over and over; the shorter one has other validators.
        since, modified = max(since, iso(newest - _OVERLAP)), ""
    known = sorted(state.known.items(), key=lambda entry: entry[1], reverse=True)
    kept = {key: version for key, version in known if version >= since}
    swept, floor = state.swept, state.floor
    if state.walk_sweeps:
        begun = instant(state.walk_since) or request.now
        swept, floor = int(request.now.timestamp()), int(begun.timestamp())
    return replace(
        _ended(state),
        swept=swept,
        floor=floor,
        mark=mark,
        since=since,
        modified=modified,
        known=dict(list(kept.items())[:_MAX_KNOWN]),
    )


def _ended(state: _State) -> _State:
    return replace(
        state,
        walk_url="",
        walk_since="",
        walk_modified="",
        walk_top="",
        walk_pages=0,
        walk_sweeps=False,
    )


def _validator(response: Response, api: GithubApi) -> str:
    """The answer's `Last-Modified`, where nothing more can happen in that second (RFC 9110, 8.8.2.2)."""
    written = response.headers.get("Last-Modified", "")
    try:
        modified = parsedate_to_datetime(written)
        usable = modified < api.clock.server_now(response)
    except (ValueError, TypeError):
        return ""
    return written if usable else ""


def _updated(thread: Json) -> str:
    found = api_json.instant_at(thread, "updated_at")
    return iso(found) if found else ""

"""Releases of one repository, and the lists of repositories whose releases a user wants.

Each repository is a part. A release that changes comes again under its id; one that is missing from
the list, though older ones stand there, was deleted. A repository that was renamed is asked at its
new address from then on.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from distill_grpc.sources import api_json, api_state
from distill_grpc.sources.api_json import instant_at, iso, text_at
from distill_grpc.sources.api_pages import endless, items_of
from distill_grpc.sources.base import FetchRequest, Json, Page, PlatformError
from distill_grpc.sources.github_api import GithubApi
from distill_grpc.sources.github_items import before, release, release_version
from distill_grpc.sources.http import Response

PREFIX = "releases:"
LISTS: Mapping[str, str] = {  # part → path
    "watched": "user/subscriptions?per_page=100",
    "starred": "user/starred?per_page=100",
}
REPOSITORY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,99})/[A-Za-z0-9._-]{1,100}")

_MAX_RELEASE_PAGES = 10
_MAX_LIST_PAGES = 10
_LIST_PAUSE = 6 * 3_600.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    token: str = ""
    address: str = ""  # where the repository is now, after it was renamed
    etag: str = ""
    floor: int = 0  # epoch seconds: older releases were not wanted
    read_at: int = 0  # epoch seconds of the last read
    known: dict[str, str] = field(default_factory=dict)  # id → version and `created_at`
    walk_url: str = ""
    walk_etag: str = ""
    walk_known: dict[str, str] = field(default_factory=dict)
    walk_pages: int = 0


async def read(
    api: GithubApi, request: FetchRequest, repository: str, *, site: str
) -> AsyncGenerator[Page, None]:
    """Reads a repository's releases. Raises a `SourceFailure`."""
    part = f"{PREFIX}{repository}"
    since = request.since.get(part, request.default_since)
    state = _begun(api, request, part, since)
    original = f"{api.root}/repos/{repository}/releases?per_page=30"
    while True:
        polls = not state.walk_pages and bool(state.etag)
        try:
            response = await api.get(
                state.walk_url or state.address or original,
                conditions={"If-None-Match": state.etag} if polls else {},
            )
        except PlatformError as failure:
            if failure.reason != "not_found" or not (state.walk_url or state.address):
                raise
            state = replace(_ended(state), address="", etag="")  # look where it was at first
            continue
        page = partial(Page, part=part, title=repository, url=f"{site}/{repository}/releases")
        if response.status == 304:
            yield page(cursor=api_state.dump(_ended(state)), unchanged=True)
            return
        releases = api_json.listed(api_json.read(response))
        state = _moved(state, response)
        fresh = [r for r in releases if _is_news(r, state.known, since)]
        items = await asyncio.to_thread(items_of, fresh, partial(release, repository=repository))
        next_url = api.next_page(response)
        if next_url and next_url == state.walk_url:
            yield page(items=items, cursor=api_state.dump(_ended(state)), failure=endless())
            return
        state = _after_page(state, releases, response.headers.get("ETag", ""))
        last = (
            next_url is None or state.walk_pages >= _MAX_RELEASE_PAGES or _reaches(releases, since)
        )
        deleted = _deleted(state, releases, complete=next_url is None) if last else ()
        first = state.walk_pages == 1
        state = _completed(state) if last else replace(state, walk_url=next_url or "")
        yield page(
            items=items,
            cursor=api_state.dump(state),
            last=last,
            deleted=deleted,
            unchanged=first and last and not items and not deleted,
        )
        if last:
            return


def last_read(cursor: Json) -> int:
    """When a repository was read last (epoch seconds), as its cursor tells."""
    return api_state.load(_State, cursor).read_at


@dataclass(frozen=True, slots=True, kw_only=True)
class _List:
    repositories: list[str] = field(default_factory=list)


async def read_list(api: GithubApi, request: FetchRequest, part: str) -> AsyncGenerator[Page, None]:
    """Reads the user's watched or starred repositories. Raises a `SourceFailure`."""
    found: list[str] = []
    url = LISTS[part]
    for _ in range(_MAX_LIST_PAGES):
        response = await api.get(url)
        for entry in api_json.listed(api_json.read(response)):
            name = text_at(entry, "full_name")
            # Nothing is released any more where all is archived.
            if REPOSITORY.fullmatch(name) and api_json.at(entry, "archived") is not True:
                found.append(name)
        following = api.next_page(response)
        if following is None or following == url:
            break
        url = following
    repositories = list(dict.fromkeys(found))
    before_it = repositories_of(request.cursors.get(part))
    yield Page(
        part=part,
        cursor=api_state.dump(_List(repositories=repositories)),
        min_interval=_LIST_PAUSE,
        unchanged=repositories == before_it,
    )


def repositories_of(cursor: Json) -> list[str]:
    """The repositories that a list's cursor holds."""
    return [r for r in api_state.load(_List, cursor).repositories if REPOSITORY.fullmatch(r)]


def _begun(api: GithubApi, request: FetchRequest, part: str, since: datetime) -> _State:
    state = api_state.load(_State, request.cursors.get(part))
    floor = int(since.timestamp())
    if state.token != api.fingerprint:
        state = replace(_ended(state), token=api.fingerprint, etag="")
    if floor < state.floor:
        state = replace(_ended(state), etag="", known={})
    return replace(state, floor=floor, read_at=int(request.now.timestamp()))


def _is_news(published: Json, known: Mapping[str, str], since: datetime) -> bool:
    if api_json.at(published, "draft") is True or before(
        instant_at(published, "published_at"), since
    ):
        return False
    return known.get(text_at(published, "id"), "").partition(" ")[0] != release_version(published)


def _moved(state: _State, response: Response) -> _State:
    """With the new address, where permanent redirects led to it."""
    permanent = bool(response.redirects) and all(
        redirect.status in {301, 308} for redirect in response.redirects
    )
    if state.walk_pages or not permanent:
        return state

    return replace(state, address=response.url)


def _after_page(state: _State, releases: Sequence[Json], etag: str) -> _State:
    seen = {
        key: f"{release_version(r)} {_created(r)}"
        for r in releases
        if (key := text_at(r, "id")) and api_json.at(r, "draft") is not True
    }
    return replace(
        state,
        walk_known={**state.walk_known, **seen},
        walk_etag=state.walk_etag if state.walk_pages else etag[:500],
        walk_pages=state.walk_pages + 1,
    )


def _reaches(releases: Sequence[Json], since: datetime) -> bool:
    """Whether the page goes back to before what is wanted."""
    created = [moment for r in releases if (moment := instant_at(r, "created_at"))]
    return bool(created) and min(created) < since


def _deleted(state: _State, releases: Sequence[Json], *, complete: bool) -> tuple[str, ...]:
    """Ids of known releases that are gone. Pages shift while they are read: only one page proves it."""
    if state.walk_pages != 1:
        return ()
    oldest = "" if complete else min((_created(r) for r in releases), default="~")
    return tuple(
        f"release:{key}"
        for key, version in state.known.items()
        if key not in state.walk_known and version.partition(" ")[2] > oldest
    )


def _completed(state: _State) -> _State:
    return replace(_ended(state), known=state.walk_known, etag=state.walk_etag)


def _ended(state: _State) -> _State:
    return replace(state, walk_url="", walk_etag="", walk_known={}, walk_pages=0)


def _created(published: Json) -> str:
    found = instant_at(published, "created_at") or instant_at(published, "published_at")
    return iso(found) if found else ""

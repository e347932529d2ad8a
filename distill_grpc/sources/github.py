"""GitHub: the inbox, what is done by those whom the user follows, and releases.

Credentials: a classic personal access token, or a token of an OAuth app, with the scopes
`notifications` and `read:user` (`repo` as well where private repositories are wanted). Quota: 5,000
requests an hour and user, of which Distill takes at most 1,000; an answer `304` costs nothing there.

Parts: `notifications`, `received_events`, `releases:OWNER/NAME` for each repository, and the lists
`watched` and `starred` where their repositories' releases are wanted. Parts are read one after the
other; a token is never used twice at once.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime

from yarl import URL

from distill_grpc import clock
from distill_grpc.sources import (
    api_json,
    github_activity,
    github_inbox,
    github_releases,
    github_settings,
    oauth,
)
from distill_grpc.sources.api_time import FetchClock
from distill_grpc.sources.api_walk import Breaker, Turns
from distill_grpc.sources.base import Account, FetchRequest, Json, Page, PlatformError
from distill_grpc.sources.github_api import ROOT, GithubApi, scopes
from distill_grpc.sources.github_settings import INFO, MAX_REPOSITORIES
from distill_grpc.sources.github_webhooks import GithubWebhooks
from distill_grpc.sources.http import Response
from distill_grpc.sources.registry import SourceContext

# `2026-12-24 10:00:00 UTC`, or with an offset such as `+0100`
_EXPIRY = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) (?:UTC|([+-]\d{4}))")


class GithubSource:
    """Reads GitHub, or a GitHub of one's own where the context names its API."""

    def __init__(self, context: SourceContext) -> None:
        self.info = replace(INFO, oauth=oauth.github(context.api_urls.get("github")))
        self.webhooks = GithubWebhooks()
        self._context = context
        self._http = context.http.at_api()
        self.root = context.api_urls.get("github", ROOT).rstrip("/")
        web = URL(self.root)
        self._site = "https://github.com" if self.root == ROOT else str(web.origin())
        self._turns = Turns()
        self._refusals: dict[str, int] = {}

    def check(self, credentials: Mapping[str, Json], settings: Mapping[str, Json]) -> None:
        """Raises `InvalidConnection` naming every wrong credential and setting."""
        github_settings.check(credentials, settings)

    async def identify(
        self, credentials: Mapping[str, Json], settings: Mapping[str, Json]
    ) -> Account:
        """Whose token it is, what it may do, and when it ends."""
        token = str(credentials["token"])
        api = self._api(token, FetchClock(clock.utc_now()))
        response = await api.get("user")
        user = api_json.mapped(api_json.read(response))
        login, user_id = api_json.text_at(user, "login"), api_json.text_at(user, "id")
        if not login or not user_id:
            raise PlatformError(
                "GitHub does not say whose token this is.", reason="unexpected_shape"
            )
        granted = scopes(response.headers, "X-OAuth-Scopes")
        return Account(
            name=login,
            id=user_id,
            scopes=None if granted is None else tuple(sorted(granted)),
            missing_scopes=() if granted is None else github_settings.missing(granted, settings),
            expires_at=_expiry(response),
        )

    def parts(self, settings: Mapping[str, Json]) -> tuple[str, ...]:
        """The parts; none where only GitHub knows which repositories there are."""
        if set(github_settings.included(settings)) & set(github_releases.LISTS):
            return ()
        return github_settings.parts(settings)

    async def fetch(self, request: FetchRequest) -> AsyncIterator[Page]:
        """Reads part after part; what was read longest ago comes first among the repositories."""
        token = str(request.credentials.get("token", ""))
        api = self._api(token, FetchClock(request.now), request.user)
        breaker = Breaker()
        lists: dict[str, Json] = {part: request.cursors.get(part) for part in github_releases.LISTS}
        for part in github_settings.included(request.settings):
            if part in request.skip:
                continue
            async with aclosing(breaker.guarded(part, self._read(api, request, part))) as pages:
                async for page in pages:
                    if part in lists and page.failure is None:
                        lists[part] = page.cursor
                    yield page
        wanted = _repositories(request, lists)
        for name in wanted:
            part = f"{github_releases.PREFIX}{name}"
            reading = github_releases.read(api, request, name, site=self._site)
            async with aclosing(breaker.guarded(part, reading)) as pages:
                async for page in pages:
                    yield page
        for part in self._left(request, lists):
            yield Page(part=part, ended=True)  # a repository that is on no list any more

    def _read(self, api: GithubApi, request: FetchRequest, part: str) -> AsyncGenerator[Page, None]:
        if part == github_inbox.PART:
            return github_inbox.read(api, request)
        if part == github_activity.PART:
            return github_activity.read(api, request, site=self._site)
        return github_releases.read_list(api, request, part)

    def _api(self, token: str, time: FetchClock, user: str = "") -> GithubApi:
        return GithubApi(
            self._http,
            self._context.budgets,
            self.root,
            token,
            clock=time,
            refusals=self._refusals,
            turns=self._turns,
            user=user,
        )

    def _left(self, request: FetchRequest, lists: Mapping[str, Json]) -> list[str]:
        included = github_settings.included(request.settings)
        if self.parts(request.settings):
            return []  # the core forgets parts that the settings no longer name
        if any(part in lists and lists[part] is None for part in included):
            return []  # a list that was never read says nothing about what is not on it
        wanted = {f"{github_releases.PREFIX}{n}" for n in _all_repositories(request, lists)}
        return request.left(wanted.union(included))


def _all_repositories(request: FetchRequest, lists: Mapping[str, Json]) -> list[str]:
    """The named repositories and those of the lists that are included, each once."""
    names = list(request.settings.get("repositories") or ())
    for part in github_settings.included(request.settings):
        if part in lists:
            names += github_releases.repositories_of(lists[part])
    once = {name.lower(): name for name in reversed(names)}
    return list(reversed(once.values()))[:MAX_REPOSITORIES]


def _repositories(request: FetchRequest, lists: Mapping[str, Json]) -> list[str]:
    """Those that are to be read now, those read longest ago first."""
    due = [
        name
        for name in _all_repositories(request, lists)
        if f"{github_releases.PREFIX}{name}" not in request.skip
    ]
    return sorted(
        due,
        key=lambda name: github_releases.last_read(
            request.cursors.get(f"{github_releases.PREFIX}{name}")
        ),
    )


def _expiry(response: Response) -> datetime | None:
    """When the token ends (`github-authentication-token-expiration`); None: not told."""
    found = _EXPIRY.fullmatch(
        response.headers.get("GitHub-Authentication-Token-Expiration", "").strip()
    )
    if found is None:
        return None
    return api_json.instant(f"{found[1]}T{found[2]}{found[3] or '+00:00'}")

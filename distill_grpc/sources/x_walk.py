"""Walks over a timeline of X: newest first, page by page, so that nothing is lost between two walks.

The mark moves only when a walk has ended. A walk reaches back to a quarter of an hour before the mark,
because posts come late; what is known already is passed over. Pages resume by X's token, kept with
each page; where X has forgotten it, the walk begins anew, or on a later day, when reading again costs
again, goes on below what it has met. Where a longer period is wanted later, a second walk goes on below
the end of the first. Lists take no mark: their walks end after `_ENOUGH_KNOWN` posts that are known, and
where the first one ended they end for good, because going deeper would cost everything again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from distill_grpc.sources.base import Json, Page, PlatformError, SourceFailure
from distill_grpc.sources.x_api import LOOKUP, Endpoint, PageTokenError, XApi
from distill_grpc.sources.x_costs import Purse
from distill_grpc.sources.x_posts import (
    Post,
    instant_of,
    missing_of,
    number,
    posts_of,
    snowflake,
)

_log = structlog.get_logger()

OVERLAP = timedelta(minutes=15)

_ENOUGH_KNOWN = 30
_MAX_KNOWN = 500  # posts remembered of a part
_MAX_PAGES = 200  # of one walk; X ends after 32
_MAX_LOOKUP = 100
_SMALLEST_PAGE = 5  # of mentions; the others take one


@dataclass(frozen=True, slots=True)
class Timeline:
    """Where a part is read, and how far back X shows it."""

    part: str
    endpoint: Endpoint
    path: str
    parameters: Mapping[str, str]
    lookup: Mapping[str, str]  # the parameters of a look at single posts
    reach: int  # posts
    days: int = 0  # days that it goes back; 0: any
    marked: bool = True  # whether it takes `since_id`


@dataclass(slots=True)
class State:
    """What is known of a part; its cursor. Ids are numbers here and texts in JSON."""

    mark: int = 0  # the newest post of the last walk that ended; 0: none has
    at: int = 0  # when that walk began, epoch seconds; 0: none has ended
    floor: int = 0  # a list's first walk went back to here
    bottom: int = 0  # of a marked timeline everything above this was walked, up to the mark
    known: dict[int, int] = field(default_factory=dict)  # first id → latest id, newest first
    since: int = 0  # of the walk that is under way
    newest: int = 0
    oldest: int = 0
    until: int = 0  # where it went on without its token; 0: at the newest
    token: str = ""
    count: int = 0  # posts that it has met
    began: int = 0  # epoch seconds

    def to_json(self) -> dict[str, Json]:
        """Without what is empty."""
        whole: dict[str, Json] = {
            name: str(value) for name in _IDS if (value := getattr(self, name))
        }
        whole |= {
            name: value for name in ("at", "count", "began") if (value := getattr(self, name))
        }
        whole |= {"token": self.token} if self.token else {}
        return whole | {"known": {str(first): str(id_) for first, id_ in self.known.items()}}

    @classmethod
    def from_json(cls, cursor: Json) -> State:
        """What cannot be understood counts as unknown."""
        state = cls()
        if not isinstance(cursor, Mapping):
            return state
        for name in _IDS:
            setattr(state, name, number(cursor.get(name)) or 0)
        for name in ("at", "count", "began"):
            value = cursor.get(name)
            setattr(state, name, value if isinstance(value, int) else 0)
        token, known = cursor.get("token"), cursor.get("known")
        state.token = token if isinstance(token, str) else ""
        pairs = known.items() if isinstance(known, Mapping) else ()
        state.known = {first: id_ for f, i in pairs if (first := number(f)) and (id_ := number(i))}
        return state


_IDS = ("mark", "floor", "bottom", "since", "newest", "oldest", "until")


class Walk:
    """One walk over one timeline, from where the last fetch left it."""

    def __init__(
        self,
        api: XApi,
        purse: Purse,
        timeline: Timeline,
        state: State,
        *,
        since: datetime,
        told: dict[int, int],
    ) -> None:
        self._api = api
        self._purse = purse
        self._line = timeline
        self._state = state
        self._wanted = since
        self._told = told  # first id → latest id, of what other walks of this fetch have yielded
        self._met: dict[int, int] = {}  # first id → latest id, of this fetch
        self._old = 0  # posts met that were known, or lie before everything wanted
        self._touched = False  # met what lies at or before the mark
        self._tokens: set[str] = set()
        self._resumed = bool(state.token)
        self._brought = False

    async def pages(self) -> AsyncIterator[Page]:
        """The walk's pages. Raises a `SourceFailure`; the last cursor yielded is where to go on."""
        state = self._state
        if not state.token:
            self._begin()
        restarted = False
        for _ in range(_MAX_PAGES):
            try:
                answer = await self._ask(state.since, state.until, state.token)
            except PageTokenError:
                if restarted:
                    raise
                restarted = True
                self._restart()
                continue
            fresh = self._take(posts_of(answer, self._api.now))
            token = _next_token(answer)
            if token and token in self._tokens:
                state.token = ""  # the next walk begins anew
                yield self._page(fresh, last=False)
                raise PlatformError("X's pages lead in a circle.", reason="circle")
            self._tokens.add(token)
            if token and not self._is_done():
                state.token = token
                yield self._page(fresh, last=False)
                continue
            gone = await self._deleted(missing_of(answer))
            gap = self._is_gap(exhausted=not token)
            self._end()
            older = self._line.marked and self._bottom_wanted() < state.bottom
            yield self._page(fresh, ended=True, last=not older, gone=gone, gap=gap)
            if older:
                async for page in self._older():
                    yield page
            return
        state.token = ""
        raise PlatformError("X's pages do not end.", reason="circle")

    def _begin(self) -> None:
        state, now = self._state, self._api.now
        overlap = snowflake((instant_of(state.mark) or self._wanted) - OVERLAP)
        state.since = overlap if state.mark else self._bottom_wanted()
        if not self._line.marked:
            state.floor = state.floor or state.since
        state.token, state.newest, state.oldest, state.until, state.count = "", 0, 0, 0, 0
        state.began = int(now.timestamp())
        self._resumed = False
        self._tokens.clear()

    async def _older(self) -> AsyncIterator[Page]:
        """Goes on below where the first walk ended, because a longer period is wanted since.

        What was walked then is not paid for again; where this breaks off, it goes on next time.
        """
        state, target = self._state, self._bottom_wanted()
        until, token, restarted = state.bottom + 1, "", False
        for _ in range(_MAX_PAGES):
            try:
                answer = await self._ask(target, until, token)
            except PageTokenError:
                if restarted:
                    raise
                until, token, restarted = state.bottom + 1, "", True
                continue
            posts = posts_of(answer, self._api.now)
            state.bottom = min([state.bottom, *(post.id - 1 for post in posts)])
            fresh = [post for post in posts if self._is_news(post)]
            token = _next_token(answer)
            if token and token in self._tokens:
                raise PlatformError("X's pages lead in a circle.", reason="circle")
            if not token:
                state.bottom = target
                yield self._page(fresh, ended=True, last=True)
                return
            self._tokens.add(token)
            yield self._page(fresh, ended=True, last=False)
        raise PlatformError("X's pages do not end.", reason="circle")

    def _bottom_wanted(self) -> int:
        return max(snowflake(min(self._wanted, self._api.now)) - 1, 0)

    def _restart(self) -> None:
        state = self._state
        reached = instant_of(state.oldest)
        today = datetime.fromtimestamp(state.began, UTC).date() == self._api.now.date()
        if today or reached is None or not self._line.marked:
            self._begin()
        else:
            state.token, state.until = "", snowflake(reached + OVERLAP)

    async def _ask(self, since: int, until: int, token: str) -> dict[str, Any]:
        line = self._line
        parameters = dict(line.parameters)
        parameters["max_results"] = str(max(_SMALLEST_PAGE, self._purse.page_size))
        if line.marked and since:
            parameters["since_id"] = str(since)
        if until:
            parameters["until_id"] = str(until)
        if token:
            parameters["pagination_token"] = token
        await self._purse.open()
        answer = await self._api.get(line.endpoint, line.path, parameters)
        await self._purse.pay(answer)
        return answer

    def _take(self, posts: list[Post]) -> list[Post]:
        """Those of a page that are new, or new versions, and wanted."""
        state, floor, fresh = self._state, self._floor(), []
        for post in posts:
            state.count += 1
            state.newest = max(state.newest, post.id)
            state.oldest = min(state.oldest or post.id, post.id)
            self._touched |= bool(state.mark) and post.id <= state.mark
            if self._met.get(post.first, 0) >= post.id:
                continue  # pages drift while they are read
            self._met[post.first] = post.id
            known = state.known.get(post.first, 0) >= post.id
            if known or post.id <= floor:
                # What this walk met before it was interrupted is known too, but no old ground.
                self._old += post.id <= max(state.mark, floor)
                continue
            if self._is_news(post):
                fresh.append(post)
        return fresh

    def _is_news(self, post: Post) -> bool:
        """Whether a post is young enough and was not brought by this fetch yet; then it counts as."""
        published = post.item.published_at
        wanted = published is None or published >= self._wanted
        if not wanted or self._told.get(post.first, 0) >= post.id:
            return False
        self._told[post.first] = post.id
        return True

    def _floor(self) -> int:
        return self._state.since if self._line.marked else self._state.floor

    def _is_done(self) -> bool:
        """Whether a list has been read far enough."""
        return not self._line.marked and self._old >= _ENOUGH_KNOWN

    def _is_gap(self, *, exhausted: bool) -> bool:
        """Whether posts between the last walk and this one are out of X's reach."""
        state = self._state
        if not state.at or self._touched or not exhausted:
            return False
        horizon = state.began - self._line.days * 86_400
        too_late = bool(self._line.days) and state.at < horizon
        return too_late or state.count >= self._line.reach * 0.98

    async def _deleted(self, named: frozenset[int]) -> list[int]:
        """Known posts that are gone: those X names, and those missing that it says it lost."""
        state = self._state
        gone = [first for first, id_ in state.known.items() if {first, id_} & named]
        if self._line.marked and not self._resumed:
            missing = {
                id_: first
                for first, id_ in state.known.items()
                if state.since < id_ <= state.mark and first not in self._met
            }
            asked = list(missing)[:_MAX_LOOKUP]
            if asked:
                ids = ",".join(map(str, asked))
                lost = await self._look_up(ids)
                gone += [missing[id_] for id_ in lost if id_ in missing]
        for first in gone:
            state.known.pop(first, None)
        return list(dict.fromkeys(gone))

    async def _look_up(self, ids: str) -> frozenset[int]:
        """Which of these posts X has lost; none where it cannot be asked, which costs no page."""
        try:
            await self._purse.open()
            answer = await self._api.get(LOOKUP, "/2/tweets", {**self._line.lookup, "ids": ids})
        except SourceFailure as failure:
            _log.info("x_not_looked_up", part=self._line.part, reason=failure.reason)
            return frozenset()
        await self._purse.pay(answer)
        return missing_of(answer)

    def _end(self) -> None:
        state = self._state
        state.mark, state.at = max(state.mark, state.newest), state.began
        if self._line.marked:
            state.bottom = min(state.bottom or state.since, state.since)
        state.since = state.newest = state.oldest = state.until = state.count = state.began = 0
        state.token = ""

    def _page(
        self,
        fresh: list[Post],
        *,
        last: bool,
        ended: bool = False,
        gone: list[int] | None = None,
        gap: bool = False,
    ) -> Page:
        self._remember(ended=ended)
        self._brought |= bool(fresh or gone)
        return Page(
            part=self._line.part,
            items=[post.item for post in fresh],
            cursor={**self._state.to_json(), "paid": self._purse.paid()},
            last=last,
            unchanged=not self._brought and not gap,
            deleted=[str(first) for first in gone or ()],
            gap=gap,
        )

    def _remember(self, *, ended: bool) -> None:
        """Keeps the newest posts; of a marked timeline, those that the next walk will meet again.

        A walk that goes on also keeps what the last one knew, in which it will end.
        """
        state = self._state
        both = sorted({**state.known, **self._met}.items(), key=lambda pair: -pair[1])
        least = 0
        if self._line.marked and both:
            newest = max(state.mark, state.newest)
            least = snowflake((instant_of(newest) or self._wanted) - OVERLAP)
        kept = [pair for pair in both if pair[1] > least][:_MAX_KNOWN]
        if not ended:
            old = [pair for pair in both if state.since < pair[1] <= state.mark]
            kept += old[:_MAX_KNOWN]
        state.known = dict(kept)


def _next_token(answer: Mapping[str, Json]) -> str:
    meta = answer.get("meta")
    token = meta.get("next_token") if isinstance(meta, Mapping) else None
    return token if isinstance(token, str) and len(token) <= 1_000 else ""

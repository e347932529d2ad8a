"""X's API v2 on the loopback interface, over a world that a test controls.

It keeps X's rules strictly: windows of 15 minutes by endpoint and user (a request inside a closed
window is a violation and gets its 429), pagination tokens that belong to one query and may expire,
`since_id`, reach, prices by resource and UTC day, two spellings of the fields. Everything that was
asked and served stands in its ledger.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Any

from aiohttp import web

from tests.servers.x_world import XPost, XWorld

WINDOW = 900
LIMITS = {"me": 75, "home": 180, "mentions": 300, "list": 900, "lookup": 900, "owned_lists": 15}
PRICES = {"post": 0.005, "user": 0.010, "list": 0.005}
PROBLEMS = "https://api.x.com/2/problems/"


@dataclass(frozen=True)
class Asked:
    """A request, its answer's status, and the ids that it served."""

    endpoint: str
    query: dict[str, str]
    status: int
    served: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with one request: an answer in the true one's stead, or a change to it."""

    status: int = 200
    json: Any = None
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False  # the connection is closed without an answer
    delay: float = 0.0
    change: Callable[[dict[str, Any]], Any] | None = None  # works on the true answer


class XServer:
    """Use it as `async with`; `url` is the API's root."""

    def __init__(self, world: XWorld | None = None) -> None:
        self.world = world or XWorld()
        self.ledger: list[Asked] = []
        self.tokens = {"token-1"}
        self.refresh_tokens = {"refresh-1"}
        self.limits = dict(LIMITS)
        self.violations = 0
        self.cost = 0.0  # US dollars
        self.spelling = "tweet"
        self.page_limit = 100  # posts of a page at the most
        self.before_page: list[Callable[[], None]] = []  # called, in turn, before a page is made
        self.reverse_pages = False
        self.repeat_pages = False  # each page repeats half of the one before
        self.empty_pages = 0  # pages without a post, but with a next token, that come first
        self._faults: dict[str, deque[Fault]] = {}
        self._used: Counter[tuple[str, int]] = Counter()
        self._billed: set[tuple[str, str, str]] = set()
        self._paging: dict[str, tuple[dict[str, str], int, int]] = {}
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> XServer:
        app = web.Application()
        home = "/2/users/{id}/timelines/reverse_chronological"
        app.router.add_get("/2/users/me", self._guarded("me", self._me))
        app.router.add_get(home, self._guarded("home", self._timeline))
        app.router.add_get("/2/users/{id}/mentions", self._guarded("mentions", self._timeline))
        app.router.add_get("/2/users/{id}/owned_lists", self._guarded("owned_lists", self._lists))
        app.router.add_get("/2/lists/{id}/tweets", self._guarded("list", self._timeline))
        app.router.add_get("/2/tweets", self._guarded("lookup", self._lookup))
        app.router.add_post("/2/oauth2/token", self._refresh)
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def fail(self, endpoint: str, *faults: Fault) -> None:
        """The next requests to an endpoint (`home`, `list` …) go wrong like this, in turn."""
        self._faults.setdefault(endpoint, deque()).extend(faults)

    def asked(self, endpoint: str) -> list[Asked]:
        """The requests to an endpoint so far."""
        return [asked for asked in self.ledger if asked.endpoint == endpoint]

    def served(self) -> set[str]:
        """Every id that was ever served."""
        return {id_ for asked in self.ledger for id_ in asked.served}

    def forget_pages(self) -> None:
        """Every pagination token expires."""
        self._paging.clear()

    def _guarded(self, endpoint: str, answer: Callable[..., Any]) -> Callable[..., Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            query = dict(request.query)
            used, limit = self._count(endpoint)
            headers = {
                "x-rate-limit-limit": str(limit),
                "x-rate-limit-remaining": str(max(0, limit - used)),
                "x-rate-limit-reset": str(self._resets()),
                "Date": self.world.now.strftime("%a, %d %b %Y %H:%M:%S GMT"),
            }
            fault = faults.popleft() if (faults := self._faults.get(endpoint)) else Fault()
            await asyncio.sleep(fault.delay)
            if fault.drop and request.transport is not None:
                self.ledger.append(Asked(endpoint, query, 0))
                request.transport.abort()
            status, content, served = 200, None, []
            if request.headers.get("Authorization", "")[7:] not in self.tokens:
                status, content = 401, _problem("about:blank", "Unauthorized", 401)
            elif used > limit:
                self.violations += 1
                status, content = 429, _problem("about:blank", "Too Many Requests", 429)
            elif fault.status == 200 and fault.body is None and fault.json is None:
                status, content, served = answer(endpoint, request)
                if fault.change is not None:
                    content = fault.change(content)
            if fault.status != 200 or fault.body is not None or fault.json is not None:
                status, content = fault.status, fault.json
            self.ledger.append(Asked(endpoint, query, status, tuple(served)))
            headers |= fault.headers
            if fault.body is not None:
                return web.Response(status=status, body=fault.body, headers=headers)
            return web.json_response(content, status=status, headers=headers)

        return handle

    def _count(self, endpoint: str) -> tuple[int, int]:
        key = endpoint, self._resets()
        self._used[key] += 1
        return self._used[key], self.limits[endpoint]

    def _resets(self) -> int:
        return (int(self.world.now.timestamp()) // WINDOW + 1) * WINDOW

    def _bill(self, kind: str, id_: str) -> None:
        key = (self.world.now.date().isoformat(), kind, id_)
        if key not in self._billed:
            self._billed.add(key)
            self.cost += PRICES[kind]

    def _me(self, endpoint: str, request: web.Request) -> tuple[int, Any, list[str]]:
        self._bill("user", self.world.me)
        name = self.world.people[self.world.me]
        return 200, {"data": {"id": self.world.me, "name": name, "username": name}}, []

    def _lists(self, endpoint: str, request: web.Request) -> tuple[int, Any, list[str]]:
        for id_ in self.world.own_lists:
            self._bill("list", id_)
        data = [{"id": id_, "name": f"List {id_}"} for id_ in self.world.own_lists]
        meta = {"result_count": len(data)}
        return 200, {"data": data, "meta": meta} if data else {"meta": meta}, []

    def _lookup(self, endpoint: str, request: web.Request) -> tuple[int, Any, list[str]]:
        data, errors = [], []
        for text in request.query["ids"].split(","):
            post = self.world.posts.get(int(text))
            if post is None or post.deleted:
                errors.append(_not_found("tweet", text, "ids"))
            else:
                self._bill("post", text)
                data.append(self.world.rendered(post, self.spelling, full=False))
        answer: dict[str, Any] = {"data": data} if data else {}
        return 200, answer | ({"errors": errors} if errors else {}), []

    def _timeline(self, endpoint: str, request: web.Request) -> tuple[int, Any, list[str]]:
        query = dict(request.query)
        id_ = request.match_info["id"]
        name = f"list:{id_}" if endpoint == "list" else endpoint
        wrong = self._wrong(endpoint, query)
        if wrong:
            return 400, _invalid(*wrong), []
        if name not in self.world.timelines:
            return 200, {"errors": [_not_found("list", id_, "id")]}, []
        if endpoint == "home" and id_ != self.world.me:
            return 403, _problem("client-forbidden", "Forbidden", 403), []
        if self.before_page:
            self.before_page.pop(0)()
        token = query.pop("pagination_token", "")
        if token and (token not in self._paging or self._paging[token][0] != query):
            return 400, _invalid("pagination_token", token), []
        # A token stands for the last post that was served, so that new ones move no page.
        _, below, empty = self._paging.get(token, (query, 1 << 63, self.empty_pages))
        posts = [post for post in self.world.shown(name) if post.id > int(query.get("since_id", 0))]
        posts = [post for post in posts if post.id < int(query.get("until_id", 1 << 63))]
        return self._page(posts, query, below, empty)

    def _page(
        self, posts: list[XPost], query: dict[str, str], below: int, empty: int
    ) -> tuple[int, Any, list[str]]:
        size = min(int(query.get("max_results", 100)), self.page_limit)
        left = [post for post in posts if post.id < below]
        shown = [] if empty else left[:size]
        more = bool(empty) or len(left) > size
        if self.repeat_pages and below < 1 << 63:
            shown = [post for post in posts if post.id >= below][-size // 2 :] + shown
        meta: dict[str, Any] = {"result_count": len(shown)}
        if more:
            meta["next_token"] = secrets.token_hex(12)
            last = left[size - 1].id if not empty else below
            self._paging[meta["next_token"]] = (query, last, max(0, empty - 1))
        if shown:
            meta |= {"newest_id": str(shown[0].id), "oldest_id": str(shown[-1].id)}
        if self.reverse_pages:
            shown = shown[::-1]
        return 200, self._answer(shown, meta), [str(post.history[0]) for post in shown]

    def _answer(self, shown: list[XPost], meta: dict[str, Any]) -> dict[str, Any]:
        word, world = self.spelling, self.world
        named = [
            reference["id"]
            for post in shown
            for reference in post.more.get(f"referenced_{word}s", [])
        ]
        others = [world.posts[int(id_)] for id_ in dict.fromkeys(named) if int(id_) in world.posts]
        there = [post for post in others if not post.deleted]
        errors = [_not_found(word, str(post.id), f"referenced_{word}s.id")
                  for post in others if post.deleted]  # fmt: skip
        authors = dict.fromkeys(post.author for post in [*shown, *there])
        for post in [*shown, *there]:
            self._bill("post", str(post.id))
        for author in authors:
            self._bill("user", author)
        answer: dict[str, Any] = {"meta": meta}
        if shown:
            answer["data"] = [world.rendered(post, word) for post in shown]
            answer["includes"] = {
                "users": [{"id": a, "username": world.people[a], "name": a} for a in authors],
                f"{word}s": [world.rendered(post, word) for post in there],
            }
        return answer | ({"errors": errors} if errors else {})

    def _wrong(self, endpoint: str, query: dict[str, str]) -> tuple[str, str] | None:
        """The first parameter that X would refuse, and its value."""
        fields = f"{self.spelling}.fields"
        known = {"max_results", "pagination_token", "expansions", "user.fields", fields}
        if endpoint != "list":
            known |= {"since_id", "until_id", "start_time", "end_time"}
        for name, value in query.items():
            if name not in known:
                return name, value
            if name in {"since_id", "until_id"} and not (value.isdigit() and int(value) < 1 << 63):
                return name, value
        least = 5 if endpoint == "mentions" else 1
        if not least <= int(query.get("max_results", 100)) <= 100:
            return "max_results", query["max_results"]
        return None

    async def _refresh(self, request: web.Request) -> web.Response:
        form = await request.post()
        given = str(form.get("refresh_token"))
        self.ledger.append(Asked("token", {}, 200 if given in self.refresh_tokens else 400))
        if given not in self.refresh_tokens:
            return web.json_response({"error": "invalid_request"}, status=400)
        self.refresh_tokens.remove(given)  # each is good for one use
        access, refresh = secrets.token_hex(8), secrets.token_hex(8)
        self.tokens.add(access)
        self.refresh_tokens.add(refresh)
        answer = {"token_type": "bearer", "expires_in": 7200, "access_token": access,
                  "refresh_token": refresh, "scope": "tweet.read users.read offline.access"}  # fmt: skip
        return web.json_response(answer)


def until_reset(server: XServer) -> timedelta:
    """How long until the windows begin anew."""
    return timedelta(seconds=server._resets() - server.world.now.timestamp())


def _problem(kind: str, title: str, status: int) -> dict[str, Any]:
    kind = kind if kind == "about:blank" else PROBLEMS + kind
    return {"title": title, "detail": title, "type": kind, "status": status}


def _not_found(kind: str, id_: str, parameter: str) -> dict[str, Any]:
    return {
        "resource_type": kind, "resource_id": id_, "value": id_, "parameter": parameter,
        "title": "Not Found Error", "detail": f"Could not find {kind} with {parameter}: [{id_}].",
        "type": PROBLEMS + "resource-not-found",
    }  # fmt: skip


def _invalid(name: str, value: str) -> dict[str, Any]:
    error = {
        "parameters": {name: [value]},
        "message": f"The `{name}` query parameter value is not valid",
    }
    return {"errors": [error], "title": "Invalid Request", "type": PROBLEMS + "invalid-request",
            "detail": "One or more parameters to your request was invalid."}  # fmt: skip

"""GitHub's REST API as far as Distill reads it, with its limits, its validators and its faults.

Shapes follow the recorded answers of the real one. Lists are made anew for every request, so that
pages shift where something happens while they are read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from tests.servers.platform import Account, Answering, PlatformServer, http_date

_HOUR = timedelta(hours=1)
_SECONDARY = (
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
)
_SHOWN = 300  # events


class GithubServer(PlatformServer):
    """One GitHub with some tokens, one inbox and one stream of events for all of them."""

    def __init__(self, clock: Callable[[], datetime], *, seed: int = 0) -> None:
        super().__init__(clock, seed=seed)
        self.limit = 5_000
        self.poll_interval = 60
        self.threads: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.releases: dict[str, list[dict[str, Any]]] = {}
        self.moved: dict[str, str] = {}
        self.watched: list[str] = []
        self.starred: list[str] = []
        self.repeats = 0.0  # chance that a page is the one before, from a cache
        self.between_pages: Callable[[], None] = lambda: None
        self._last_page: tuple[str, list[Any]] = ("", [])
        self._next_id = 10_000_000_000

    # What happens at GitHub.

    def add_account(self, token: str, login: str = "octocat", **more: Any) -> Account:
        account = Account(login=login, id=583231, **more)
        self.accounts[token] = account
        return account

    def add_thread(
        self, title: str, *, kind: str = "PullRequest", reason: str = "mention", **more: Any
    ) -> dict[str, Any]:
        number = self._id() % 10_000
        section = {"Issue": "issues", "PullRequest": "pulls"}.get(kind)
        url = f"https://api.github.com/repos/octo-org/octo-repo/{section}/{number}"
        thread = {
            "id": str(self._id()),
            "unread": True,
            "reason": reason,
            "updated_at": stamp(self.clock()),
            "last_read_at": None,
            "subject": {
                "title": title,
                "url": url if section else None,
                "latest_comment_url": None,
                "type": kind,
            },
            "repository": {
                "id": 1296269,
                "full_name": "octo-org/octo-repo",
                "private": False,
                "html_url": "https://github.com/octo-org/octo-repo",
            },
            "url": "https://api.github.com/notifications/threads/1",
            "subscription_url": "https://api.github.com/notifications/threads/1/subscription",
        } | more
        self.threads.append(thread)
        return thread

    def touch(self, thread: dict[str, Any], **more: Any) -> None:
        """Something new happens in a notification's thread."""
        thread |= {"updated_at": stamp(self.clock()), "unread": True} | more

    def add_event(
        self, kind: str = "WatchEvent", payload: Any = None, **more: Any
    ) -> dict[str, Any]:
        event = {
            "id": str(self._id()),
            "type": kind,
            "actor": {"id": 1, "login": "hubot", "display_login": "hubot", "gravatar_id": ""},
            "repo": {"id": 1296269, "name": "octo-org/octo-repo"},
            "payload": {"action": "started"} if payload is None else payload,
            "public": True,
            "created_at": stamp(self.clock()),
        } | more
        self.events.append(event)
        return event

    def add_release(self, repository: str, tag: str, body: str = "", **more: Any) -> dict[str, Any]:
        release = {
            "id": self._id(),
            "tag_name": tag,
            "name": tag,
            "body": body,
            "draft": False,
            "prerelease": False,
            "created_at": stamp(self.clock()),
            "published_at": stamp(self.clock()),
            "html_url": f"https://github.com/{repository}/releases/tag/{tag}",
            "url": "https://api.github.com/repos/x/y/releases/1",
            "author": {"login": "octocat"},
            "assets": [{"name": "a.zip", "size": 1, "download_count": 3}],
        } | more
        self.releases.setdefault(repository, []).append(release)
        return release

    # Faults that only GitHub has.

    def secondary(self, *, status: int = 403, after: int | None = None, dated: bool = False):
        """A secondary limit of so many seconds; without a number it does not say how long."""

        async def answer(request: web.Request, real: Answering) -> web.Response:
            until = self.clock() + timedelta(seconds=60 if after is None else after)
            self._hold(request, until)
            headers = {"gh-limited-by": "search-elapsed-time-shared-grouped"}
            if after is not None:
                headers["Retry-After"] = http_date(until) if dated else str(after)
            return self._error(request, status, _SECONDARY, headers)

        return answer

    def sso(self):
        async def answer(request: web.Request, real: Answering) -> web.Response:
            headers = {"X-GitHub-SSO": "required; url=https://github.com/orgs/octo-org/sso"}
            return self._error(request, 403, "Resource protected by organization SAML", headers)

        return answer

    # The server.

    def holder(self, request: web.Request) -> str:
        return request.headers.get("Authorization", "").removeprefix("Bearer ")

    async def respond(self, request: web.Request) -> web.Response:
        account = self.accounts.get(self.holder(request))
        if not request.headers.get("User-Agent"):
            return self._error(request, 403, "Request forbidden by administrative rules.")
        expired = account and account.expires_at and account.expires_at <= self.clock()
        if account is None or account.revoked or expired:
            return self._error(request, 401, "Bad credentials")
        if refused := self._counted(request, account):
            return refused
        response = self._route(request, account)
        if response.status != 304:
            account.used += 1
        response.headers.update(self._limits(account))
        return response

    def _route(self, request: web.Request, account: Account) -> web.Response:
        path = request.path.strip("/").split("/")
        match path:
            case ["user"]:
                return self._json(request, {"login": account.login, "id": account.id})
            case ["notifications"]:
                return self._notifications(request, account)
            case ["users", login, "received_events"] if login == account.login:
                return self._events(request, account)
            case ["user", "subscriptions"]:
                return self._page(request, [{"full_name": n} for n in self.watched])
            case ["user", "starred"]:
                return self._page(request, [{"full_name": n} for n in self.starred])
            case ["repos", owner, name, "releases"]:
                return self._releases(request, f"{owner}/{name}")
            case ["repositories", number, "releases"]:
                return self._releases(request, self._by_number(number))
        return self._error(request, 404, "Not Found")

    def _notifications(self, request: web.Request, account: Account) -> web.Response:
        granted = account.scopes
        if granted is None or not {"notifications", "repo"} & set(granted.split(", ")):
            headers = {"X-Accepted-OAuth-Scopes": "notifications, repo"}
            return self._error(request, 403, "Missing the 'notifications' scope.", headers)
        since = request.query.get("since", "")
        found = [t for t in self.threads if t["updated_at"] >= since]
        found.sort(key=lambda t: t["updated_at"], reverse=True)
        newest = max((t["updated_at"] for t in self.threads), default=stamp(self.clock()))
        modified = http_date(datetime.fromisoformat(newest))
        headers = {"Last-Modified": modified, "ETag": 'W/""'} | self._interval(request, account)
        if request.headers.get("If-Modified-Since") == modified and not self._page_number(request):
            return web.Response(status=304, headers=headers)
        return self._page(request, found, served="thread", most=50, headers=headers)

    def _events(self, request: web.Request, account: Account) -> web.Response:
        month = stamp(self.clock() - timedelta(days=30))
        found = [e for e in self.events if e["created_at"] >= month]
        found.sort(key=lambda e: e["created_at"], reverse=True)
        # Equal instants: the later id first.
        found = sorted(found, key=lambda e: (e["created_at"], e["id"]), reverse=True)[:_SHOWN]
        headers = self._interval(request, account)
        return self._page(request, found, served="event", headers=headers, tagged=True)

    def _releases(self, request: web.Request, repository: str) -> web.Response:
        if repository in self.moved:
            target = f"{self.origin}/repositories/{self._number(self.moved[repository])}/releases"
            headers = {"Location": f"{target}?{request.query_string}"}
            return self._error(request, 301, "Moved Permanently", headers)
        if repository not in self.releases:
            return self._error(request, 404, "Not Found")
        found = sorted(self.releases[repository], key=lambda r: r["created_at"], reverse=True)
        return self._page(request, found, served="release", tagged=True)

    def _page(
        self,
        request: web.Request,
        entries: Sequence[Mapping[str, Any]],
        *,
        served: str = "",
        most: int = 100,
        headers: Mapping[str, str] | None = None,
        tagged: bool = False,
    ) -> web.Response:
        size = min(int(request.query.get("per_page", "30")), most)
        number = self._page_number(request)
        page = list(entries[number * size : (number + 1) * size])
        if number and self.chance.random() < self.repeats:
            path, page_before = self._last_page
            page = page_before if path == request.path else page
        self._last_page = (request.path, page)
        more = dict(headers or {})
        if (number + 1) * size < len(entries):
            following = request.url.update_query(page=number + 2)
            more["Link"] = f'<{following}>; rel="next", <{following}>; rel="last"'
        if tagged:
            told = json.dumps([page, self.holder(request)], sort_keys=True)
            more["ETag"] = f'W/"{hashlib.sha256(told.encode()).hexdigest()[:32]}"'
            if request.headers.get("If-None-Match") == more["ETag"]:
                return web.Response(status=304, headers=more)
        if served:
            self.served[served] |= {str(entry["id"]) for entry in page if "id" in entry}
        self.between_pages()
        return self._json(request, page, more)

    def _json(
        self, request: web.Request, body: Any, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        account = self.accounts[self.holder(request)]
        more = dict(headers or {})
        if account.scopes is not None:
            more["X-OAuth-Scopes"] = account.scopes
        if account.expires_at:
            written = account.expires_at.strftime("%Y-%m-%d %H:%M:%S UTC")
            more["github-authentication-token-expiration"] = written
        return web.Response(
            body=json.dumps(body).encode(),
            headers={"Content-Type": "application/json; charset=utf-8", **more},
        )

    def _error(
        self,
        request: web.Request,
        status: int,
        message: str,
        headers: Mapping[str, str] | None = None,
    ) -> web.Response:
        account = self.accounts.get(self.holder(request))
        more = dict(headers or {})
        if account is not None and account.scopes is not None:
            more["X-OAuth-Scopes"] = account.scopes
        body = {"message": message, "documentation_url": "https://docs.github.com/rest"}
        return web.Response(
            status=status,
            body=json.dumps(body).encode(),
            headers={"Content-Type": "application/json; charset=utf-8", **more},
        )

    def _counted(self, request: web.Request, account: Account) -> web.Response | None:
        """The refusal of a token that has spent its hour."""
        if account.window is None or account.window <= self.clock():
            account.window, account.used = self.clock().replace(microsecond=0) + _HOUR, 0
        if account.used < self.limit:
            return None
        self._hold(request, account.window)
        message = f"API rate limit exceeded for user ID {account.id}."
        return self._error(request, 403, message, self._limits(account))

    def _limits(self, account: Account) -> dict[str, str]:
        assert account.window is not None
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(max(self.limit - account.used, 0)),
            "X-RateLimit-Used": str(account.used),
            "X-RateLimit-Reset": str(int(account.window.timestamp())),
            "X-RateLimit-Resource": "core",
        }

    def _interval(self, request: web.Request, account: Account) -> dict[str, str]:
        if not self._page_number(request):
            before = account.last_polls.get(request.path)
            if before and self.clock() < before + timedelta(seconds=self.poll_interval):
                self.violations.append(f"polled too soon: {request.path_qs}")
            account.last_polls[request.path] = self.clock()
        return {"X-Poll-Interval": str(self.poll_interval)}

    def _hold(self, request: web.Request, until: datetime) -> None:
        account = self.accounts.get(self.holder(request))
        if account is not None:
            account.quiet_until = until

    @staticmethod
    def _page_number(request: web.Request) -> int:
        return int(request.query.get("page", "1")) - 1

    @staticmethod
    def _number(repository: str) -> str:
        return str(int(hashlib.sha256(repository.encode()).hexdigest()[:8], 16))

    def _by_number(self, number: str) -> str:
        return next((r for r in self.releases if self._number(r) == number), "")

    def _id(self) -> int:
        self._next_id += self.chance.randrange(1, 50)
        return self._next_id


def stamp(moment: datetime) -> str:
    """As GitHub writes instants."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

"""Notifications and releases of GitHub as items, worded as a person would read them."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from urllib.parse import quote

from distill_grpc.sources import api_json, markdown, text
from distill_grpc.sources.api_json import at, instant_at, list_at, number_at, text_at
from distill_grpc.sources.base import Item, Json

# What doubles the size of an answer and tells nobody anything.
_LEFT_OUT = frozenset({"_links", "node_id", "gravatar_id", "url", "diff_hunk", "permissions"})

_REASONS = {
    "approval_requested": "your approval is asked for",
    "assign": "you are assigned",
    "author": "you wrote it",
    "ci_activity": "a workflow that you started has ended",
    "comment": "you commented on it",
    "invitation": "you accepted an invitation",
    "manual": "you subscribed to it",
    "member_feature_requested": "members of your organisation ask for a feature",
    "mention": "you were mentioned",
    "review_requested": "your review is asked for",
    "security_advisory_credit": "you are credited for a security advisory",
    "security_alert": "a vulnerability was found",
    "state_change": "you opened or closed it",
    "subscribed": "you watch the repository",
    "team_mention": "a team of yours was mentioned",
}
# Type of a notification's subject → (kind of the item, in words, path of its page).
_SUBJECTS = {
    "CheckSuite": ("workflow", "a workflow run", "actions"),
    "Commit": ("commit", "a commit", "commit"),
    "Discussion": ("discussion", "a discussion", "discussions"),
    "Issue": ("issue", "an issue", "issues"),
    "PullRequest": ("pull_request", "a pull request", "pull"),
    "Release": ("release", "a release", "releases"),
    "RepositoryDependabotAlertsThread": ("alert", "Dependabot alerts", "security/dependabot"),
    "RepositoryInvitation": ("invitation", "an invitation", "invitations"),
    "RepositoryVulnerabilityAlert": ("alert", "a vulnerability alert", "security/dependabot"),
    "WorkflowRun": ("workflow", "a workflow run", "actions"),
}
_NUMBER = re.compile(r"/(?:issues|pulls|discussions)/([0-9]{1,18})$")
_COMMIT = re.compile(r"/commits/([0-9a-f]{7,64})$")


def thread_version(thread: Json) -> str:
    """What changes where a notification's thread has something new, or was read elsewhere."""
    unread = "1" if at(thread, "unread") is True else "0"
    return f"{text_at(thread, 'updated_at')} {unread} {text_at(thread, 'reason')}"


def notification(thread: Json) -> Item | None:
    """A notification's thread; None where it has no id or no instant."""
    thread_id = text_at(thread, "id")
    updated = instant_at(thread, "updated_at")
    if not thread_id or updated is None:
        return None
    repository = line(text_at(thread, "repository", "full_name"), 200)
    subject = line(text_at(thread, "subject", "title"), 800)
    named = text_at(thread, "subject", "type")
    kind, noun, _ = _SUBJECTS.get(named, ("notification", _words(named) or "something", ""))
    reason = text_at(thread, "reason")
    because = _REASONS.get(reason) or line(reason.replace("_", " "), 100)
    sentence = f"News about {noun}" + (f" in {repository}" if repository else "")
    sentence += f": {subject}" if subject else ""
    return Item(
        platform_id=f"thread:{line(thread_id, 100)}",
        published_at=updated,
        content=f"{sentence}\n\nYou are told because {because}." if because else sentence,
        author=repository,
        title=titled(repository, subject or sentence),
        url=_page_of(thread, named),
        kind=kind,
        thread_id=_thread_of(thread, repository),
        metrics={"unread": float(at(thread, "unread") is True)},
        tags=tuple(tag for tag in (reason,) if tag),
        raw=api_json.kept(thread, without=_LEFT_OUT - {"url"}),
    )


def release_version(release: Json) -> str:
    """What changes where a release is edited."""
    parts = ("name", "tag_name", "body", "published_at", "prerelease")
    told = "\n".join(str(at(release, part)) for part in parts)
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def release(published: Json, repository: str) -> Item | None:
    """A release; None for drafts and where it has no id."""
    release_id = text_at(published, "id")
    instant = instant_at(published, "published_at")
    if not release_id or instant is None or at(published, "draft") is True:
        return None
    tag = line(text_at(published, "tag_name"), 200)
    name = line(text_at(published, "name"), 300) or tag or "a release"
    called = name if tag in name else f"{name} ({tag})"
    url = web(text_at(published, "html_url"))
    word = "pre-release" if at(published, "prerelease") is True else "release"
    body = markdown.to_text(text_at(published, "body"), url)
    first = f"New {word} of {repository}: {called}."
    downloads = sum(
        number_at(asset, "download_count") or 0.0 for asset in list_at(published, "assets")
    )
    return Item(
        platform_id=f"release:{line(release_id, 100)}",
        published_at=instant,
        content=limited(first, body),
        author=line(text_at(published, "author", "login"), 200),
        title=titled(repository, called),
        url=url,
        kind="release",
        thread_id=f"{repository}/releases",
        metrics=measured(
            engagement=number_at(published, "reactions", "total_count"), reach=downloads
        ),
        raw=api_json.kept(published, without=_LEFT_OUT),
    )


def line(words: str, limit: int) -> str:
    """Words from outside on one line."""
    return text.one_line(words[: 4 * limit], limit)


def titled(repository: str, words: str) -> str:
    """A title that says first where something happened."""
    return line(f"[{repository}] {words}" if repository else words, text.MAX_TITLE)


def limited(first: str, body: str) -> str:
    """A sentence, and a body below it."""
    return text.shorten(f"{first}\n\n{body}".strip(), text.MAX_CONTENT)


def web(url: str) -> str:
    """The address if it is one, else an empty one."""
    return url if text.is_web_url(url) else ""


def measured(**values: float | None) -> dict[str, float]:
    """Metrics without those that are not there."""
    return {name: float(value) for name, value in values.items() if value is not None}


def before(moment: datetime | None, limit: datetime) -> bool:
    """Whether an instant is known and lies before `limit`."""
    return moment is not None and moment < limit.astimezone(UTC)


def _words(camel: str) -> str:
    return line(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", camel[:100]).lower(), 100)


def _page_of(thread: Json, kind: str) -> str:
    """The page for people behind a notification, which names addresses of the API only."""
    home = web(text_at(thread, "repository", "html_url"))
    if not home:
        return ""
    api_url = text_at(thread, "subject", "url")
    path = _SUBJECTS.get(kind, ("", "", ""))[2]
    if commit := _COMMIT.search(api_url):
        path = f"commit/{commit[1]}"
    elif number := _NUMBER.search(api_url):
        path = f"{path or 'issues'}/{number[1]}"
    elif kind == "Commit":
        path = "commits"
    return web(f"{home}/{quote(path)}" if path else home)


def _thread_of(thread: Json, repository: str) -> str:
    """The issue or pull request, in the same words as for events about it."""
    number = _NUMBER.search(text_at(thread, "subject", "url"))
    if number and repository:
        return f"{repository}#{number[1]}"
    return f"thread:{line(text_at(thread, 'id'), 100)}"

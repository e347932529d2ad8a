"""Events of GitHub as items: a sentence for each type, and an honest one for types not known here.

Payloads vary with the years and the kind of token (pushes lost their commits in 2025, pull requests
their titles), so a sentence says what is there and goes without what is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from distill_grpc.sources import api_json, markdown
from distill_grpc.sources.api_json import at, instant_at, list_at, number_at, text_at
from distill_grpc.sources.base import Item, Json
from distill_grpc.sources.github_items import limited, line, measured, titled, web

_LEFT_OUT = frozenset(
    {"_links", "node_id", "gravatar_id", "url", "diff_hunk", "permissions", "base", "head_repo"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What an event says. `about` names the thing; `sentence` goes on after the actor's name."""

    kind: str
    sentence: str
    about: str = ""
    body: str = ""  # Markdown
    url: str = ""
    thread: str = ""
    comments: float | None = None
    reactions: float | None = None
    identity: str = ""  # where the thing has an id of its own that other parts use too


def event(given: Json, site: str) -> Item | None:
    """An event as an item; None where it has no id or no instant. `site` is GitHub's web address."""
    event_id = text_at(given, "id")
    happened = instant_at(given, "created_at")
    if not event_id or happened is None:
        return None
    actor = line(text_at(given, "actor", "login") or text_at(given, "actor", "display_login"), 200)
    repository = line(text_at(given, "repo", "name"), 200)
    named = line(text_at(given, "type"), 100)
    home = web(f"{site}/{quote(repository)}") if repository else ""
    told = _TYPES.get(named, _unknown)(_Event(named, at(given, "payload"), repository, home))
    sentence = f"{actor or 'Somebody'} {told.sentence}"
    heading = told.about or sentence
    body = markdown.to_text(told.body, told.url or home)
    return Item(
        platform_id=told.identity or f"event:{line(event_id, 100)}",
        published_at=happened,
        content=limited(_sentence(sentence, told.about), body),
        author=actor,
        title=titled(repository, heading),
        url=web(told.url) or home,
        kind=told.kind,
        thread_id=told.thread or repository,
        metrics=measured(engagement=_sum(told.comments, told.reactions)),
        raw=api_json.kept(given, without=_LEFT_OUT),
    )


@dataclass(frozen=True, slots=True)
class _Event:
    type: str
    payload: Json
    repository: str
    home: str

    def text(self, *path: str, limit: int = 300) -> str:
        return line(text_at(self.payload, *path), limit)

    @property
    def action(self) -> str:
        return self.text("action", limit=60).replace("_", " ")

    @property
    def where(self) -> str:
        return self.repository or "a repository"


def _push(event: _Event) -> _Told:
    branch = event.text("ref").removeprefix("refs/heads/").removeprefix("refs/tags/")
    commits = [
        said[0]
        for commit in list_at(event.payload, "commits")[:20]
        if (said := text_at(commit, "message").strip().splitlines())
    ]
    size = number_at(event.payload, "size")
    many = f"{size:.0f} {'commit' if size == 1 else 'commits'} " if size else ""
    head, before = event.text("head", limit=64), event.text("before", limit=64)
    url = f"{event.home}/compare/{quote(before)}...{quote(head)}" if head and before else ""
    return _Told(
        kind="push",
        sentence=f"pushed {many}to {branch or 'a branch'} of {event.where}",
        body="\n".join(f"- {line(said, 300)}" for said in commits),
        url=url if event.home else "",
        thread=f"{event.repository}@{branch}",
    )


def _create(event: _Event) -> _Told:
    what = event.text("ref_type", limit=40) or "repository"
    ref = event.text("ref")
    new = f"the {what} {ref} in {event.where}" if ref else f"the {what} {event.where}"
    tree = f"{event.home}/tree/{quote(ref)}" if event.home and ref else ""
    return _Told(
        kind="create",
        sentence=f"created {new}",
        body=text_at(event.payload, "description") if what == "repository" else "",
        url=tree,
    )


def _delete(event: _Event) -> _Told:
    what = event.text("ref_type", limit=40) or "branch"
    return _Told(kind="delete", sentence=f"deleted the {what} {event.text('ref')} of {event.where}")


def _fork(event: _Event) -> _Told:
    fork = event.text("forkee", "full_name")
    return _Told(
        kind="fork",
        sentence=f"forked {event.where}" + (f" to {fork}" if fork else ""),
        body=text_at(event.payload, "forkee", "description"),
        url=text_at(event.payload, "forkee", "html_url"),
    )


def _watch(event: _Event) -> _Told:
    return _Told(kind="star", sentence=f"starred {event.where}")


def _public(event: _Event) -> _Told:
    return _Told(kind="public", sentence=f"made {event.where} public")


def _member(event: _Event) -> _Told:
    member = event.text("member", "login") or "a member"
    return _Told(
        kind="member",
        sentence=f"{event.action or 'added'} {member} as a collaborator of {event.where}",
    )


def _gollum(event: _Event) -> _Told:
    pages = [
        (line(text_at(page, "action"), 40) or "edited", line(text_at(page, "title"), 200))
        for page in list_at(event.payload, "pages")[:20]
    ]
    first = list_at(event.payload, "pages")[:1]
    return _Told(
        kind="wiki",
        sentence=f"changed the wiki of {event.where}",
        body="\n".join(f"- {action}: {title}" for action, title in pages),
        url=text_at(first[0], "html_url") if first else "",
    )


def _release(event: _Event) -> _Told:
    release = at(event.payload, "release")
    name = line(text_at(release, "name") or text_at(release, "tag_name"), 300)
    release_id = line(text_at(release, "id"), 100)
    return _Told(
        kind="release",
        sentence=f"{event.action or 'published'} a release of {event.where}",
        about=name,
        body=text_at(release, "body"),
        url=text_at(release, "html_url"),
        thread=f"{event.repository}/releases",
        reactions=number_at(release, "reactions", "total_count"),
        identity=f"release:{release_id}" if release_id else "",
    )


def _issue(event: _Event) -> _Told:
    issue = at(event.payload, "issue")
    # A label or an assignment is news, the text of the issue is not news again.
    body = text_at(issue, "body") if event.action in {"opened", "reopened"} else ""
    return _about(
        event, "issue", issue, did=f"{event.action or 'changed'} an issue", body=body, page=issue
    )


def _issue_comment(event: _Event) -> _Told:
    issue, comment = at(event.payload, "issue"), at(event.payload, "comment")
    noun = "a pull request" if at(issue, "pull_request") is not None else "an issue"
    did = {"created": "commented on", "deleted": "deleted a comment on"}.get(
        event.action, "changed a comment on"
    )
    return _about(
        event, "comment", issue, did=f"{did} {noun}", body=text_at(comment, "body"), page=comment
    )


def _pull_request(event: _Event) -> _Told:
    request = at(event.payload, "pull_request")
    action = event.action or "changed"
    if action == "closed" and at(request, "merged") is True:
        action = "merged"
    body = text_at(request, "body") if action in {"opened", "reopened"} else ""
    return _about(
        event, "pull_request", request, did=f"{action} a pull request", body=body, page=request
    )


def _review(event: _Event) -> _Told:
    request, review = at(event.payload, "pull_request"), at(event.payload, "review")
    state = {"approved": "approved", "changes_requested": "asked for changes to"}.get(
        text_at(review, "state").lower(), "reviewed"
    )
    return _about(
        event,
        "review",
        request,
        did=f"{state} a pull request",
        body=text_at(review, "body"),
        page=review,
    )


def _review_comment(event: _Event) -> _Told:
    request, comment = at(event.payload, "pull_request"), at(event.payload, "comment")
    words = "commented on the changes of a pull request"
    return _about(event, "review", request, did=words, body=text_at(comment, "body"), page=comment)


def _commit_comment(event: _Event) -> _Told:
    comment = at(event.payload, "comment")
    commit = line(text_at(comment, "commit_id"), 64)
    return _Told(
        kind="comment",
        sentence=f"commented on the commit {commit[:10]} of {event.where}",
        body=text_at(comment, "body"),
        url=text_at(comment, "html_url"),
        thread=f"{event.repository}@{commit}",
        reactions=number_at(comment, "reactions", "total_count"),
    )


def _discussion(event: _Event) -> _Told:
    discussion = at(event.payload, "discussion")
    words = f"{event.action or 'changed'} a discussion"
    body = text_at(discussion, "body")
    return _about(event, "discussion", discussion, did=words, body=body, page=discussion)


def _unknown(event: _Event) -> _Told:
    words = "".join(f" {c.lower()}" if c.isupper() else c for c in event.type.removesuffix("Event"))
    doing = f" ({event.action})" if event.action else ""
    return _Told(
        kind="event",
        sentence=f"did something in {event.where}: {words.strip() or 'an unnamed event'}{doing}",
    )


def _about(event: _Event, kind: str, thing: Json, *, did: str, body: str, page: Json) -> _Told:
    """An event about an issue, a pull request or a discussion; `page` is what its address shows."""
    number = line(text_at(thing, "number") or text_at(event.payload, "number"), 20)
    title = line(text_at(thing, "title"), 500)
    named = f"#{number}" if number else ""
    section = {"issue": "issues", "pull_request": "pull", "review": "pull"}.get(kind, "issues")
    fallback = f"{event.home}/{section}/{quote(number)}" if event.home and number else ""
    return _Told(
        kind=kind,
        sentence=f"{did} in {event.where}",
        about=f"{title} ({named})" if title and named else title or named,
        body=body,
        url=text_at(page, "html_url") or text_at(thing, "html_url") or fallback,
        thread=f"{event.repository}{named}" if named else "",
        comments=number_at(thing, "comments"),
        reactions=number_at(page, "reactions", "total_count"),
    )


def _sentence(sentence: str, about: str) -> str:
    return f"{sentence}: {about}." if about else f"{sentence}."


def _sum(*values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


_TYPES: dict[str, Callable[[_Event], _Told]] = {
    "CommitCommentEvent": _commit_comment,
    "CreateEvent": _create,
    "DeleteEvent": _delete,
    "DiscussionEvent": _discussion,
    "ForkEvent": _fork,
    "GollumEvent": _gollum,
    "IssueCommentEvent": _issue_comment,
    "IssuesEvent": _issue,
    "MemberEvent": _member,
    "PublicEvent": _public,
    "PullRequestEvent": _pull_request,
    "PullRequestReviewCommentEvent": _review_comment,
    "PullRequestReviewEvent": _review,
    "PushEvent": _push,
    "ReleaseEvent": _release,
    "WatchEvent": _watch,
}

"""Notifications, events and releases read as a person would say them, whatever was sent."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import pytest

from distill_grpc.sources import github_events, markdown
from distill_grpc.sources.api_json import read
from distill_grpc.sources.github_events import event
from distill_grpc.sources.github_items import notification, release
from distill_grpc.sources.http import Response
from tests.conformance.sources.rules import check_items
from tests.servers.fixtures import fixtures_dir
from tests.unit.sources_github.conftest import NOW

SITE = "https://github.com"
ISSUE = {
    "number": 7,
    "title": "It leaks",
    "body": "When *closed*.\n\n- one\n- two",
    "html_url": "https://github.com/o/r/issues/7",
    "comments": 3,
}
PULL = ISSUE | {"html_url": "https://github.com/o/r/pull/7"}
COMMENT = {"body": "I see it **too**", "html_url": "https://github.com/o/r/issues/7#c1"}

SAID = [
    ("WatchEvent", {"action": "started"}, "star", "hubot starred o/r."),
    ("ForkEvent", {"forkee": {"full_name": "hubot/r"}}, "fork", "hubot forked o/r to hubot/r."),
    ("PublicEvent", {}, "public", "hubot made o/r public."),
    (
        "MemberEvent",
        {"action": "added", "member": {"login": "new"}},
        "member",
        "hubot added new as a collaborator of o/r.",
    ),
    (
        "CreateEvent",
        {"ref": "v2", "ref_type": "tag"},
        "create",
        "hubot created the tag v2 in o/r.",
    ),
    (
        "CreateEvent",
        {"ref": None, "ref_type": "repository", "description": "A thing"},
        "create",
        "hubot created the repository o/r.\n\nA thing",
    ),
    (
        "DeleteEvent",
        {"ref": "old", "ref_type": "branch"},
        "delete",
        "hubot deleted the branch old of o/r.",
    ),
    (
        "PushEvent",
        {
            "size": 2,
            "ref": "refs/heads/main",
            "commits": [{"message": "One\n\nmore"}, {"message": "Two"}],
        },
        "push",
        "hubot pushed 2 commits to main of o/r.\n\n- One\n- Two",
    ),
    # As pushes are since October 2025.
    (
        "PushEvent",
        {"push_id": 1, "ref": "refs/heads/main", "head": "b" * 40, "before": "a" * 40},
        "push",
        "hubot pushed to main of o/r.",
    ),
    (
        "IssuesEvent",
        {"action": "opened", "issue": ISSUE},
        "issue",
        "hubot opened an issue in o/r: It leaks (#7).\n\nWhen closed.\n\n- one\n- two",
    ),
    (
        "IssuesEvent",
        {"action": "closed", "issue": ISSUE},
        "issue",
        "hubot closed an issue in o/r: It leaks (#7).",
    ),
    (
        "IssueCommentEvent",
        {"action": "created", "issue": ISSUE, "comment": COMMENT},
        "comment",
        "hubot commented on an issue in o/r: It leaks (#7).\n\nI see it too",
    ),
    (
        "IssueCommentEvent",
        {"action": "created", "issue": ISSUE | {"pull_request": {}}, "comment": COMMENT},
        "comment",
        "hubot commented on a pull request in o/r: It leaks (#7).\n\nI see it too",
    ),
    (
        "PullRequestEvent",
        {"action": "closed", "pull_request": PULL | {"merged": True}},
        "pull_request",
        "hubot merged a pull request in o/r: It leaks (#7).",
    ),
    # As pull requests are since 2025: without a title.
    (
        "PullRequestEvent",
        {"action": "opened", "number": 7, "pull_request": {"number": 7}},
        "pull_request",
        "hubot opened a pull request in o/r: #7.",
    ),
    (
        "PullRequestReviewEvent",
        {"action": "created", "pull_request": PULL, "review": {"state": "approved", "body": None}},
        "review",
        "hubot approved a pull request in o/r: It leaks (#7).",
    ),
    (
        "PullRequestReviewCommentEvent",
        {"action": "created", "pull_request": PULL, "comment": COMMENT},
        "review",
        "hubot commented on the changes of a pull request in o/r: It leaks (#7).\n\nI see it too",
    ),
    (
        "CommitCommentEvent",
        {"comment": COMMENT | {"commit_id": "c" * 40}},
        "comment",
        "hubot commented on the commit cccccccccc of o/r.\n\nI see it too",
    ),
    (
        "DiscussionEvent",
        {"action": "created", "discussion": ISSUE},
        "discussion",
        "hubot created a discussion in o/r: It leaks (#7).\n\nWhen closed.\n\n- one\n- two",
    ),
    (
        "GollumEvent",
        {
            "pages": [
                {"action": "edited", "title": "Home", "html_url": "https://github.com/o/r/wiki"}
            ]
        },
        "wiki",
        "hubot changed the wiki of o/r.\n\n- edited: Home",
    ),
    (
        "ReleaseEvent",
        {"action": "published", "release": {"id": 5, "name": "v5", "body": "# News"}},
        "release",
        "hubot published a release of o/r: v5.\n\nNews",
    ),
    (
        "SponsorshipEvent",
        {"action": "created"},
        "event",
        "hubot did something in o/r: sponsorship (created).",
    ),
]


def given(kind: str, payload: Any) -> dict[str, Any]:
    return {
        "id": "22249084964",
        "type": kind,
        "actor": {"id": 1, "login": "hubot"},
        "repo": {"id": 1, "name": "o/r", "url": "https://api.github.com/repos/o/r"},
        "payload": payload,
        "public": True,
        "created_at": "2026-03-09T12:47:28Z",
    }


@pytest.mark.parametrize(("kind", "payload", "sort", "content"), SAID)
def test_each_type_of_event_is_a_sentence(kind: str, payload: Any, sort: str, content: str) -> None:
    item = event(given(kind, payload), SITE)
    assert item is not None
    check_items([item], now=NOW)
    assert (item.kind, item.content, item.author) == (sort, content, "hubot")
    assert item.title.startswith("[o/r] ")
    assert item.url.startswith("https://github.com/o/r")
    assert "api.github.com" not in item.url


def test_every_type_that_has_a_sentence_is_tested() -> None:
    assert {kind for kind, *_ in SAID} - {"SponsorshipEvent"} == github_events._TYPES.keys()


def test_what_concerns_one_thing_shares_a_thread() -> None:
    told = notification(
        {
            "id": "9",
            "updated_at": "2026-03-09T12:47:28Z",
            "subject": {
                "title": "t",
                "type": "Issue",
                "url": "https://api.github.com/repos/o/r/issues/7",
            },
            "repository": {"full_name": "o/r", "html_url": "https://github.com/o/r"},
        }
    )
    opened = event(given("IssuesEvent", {"action": "opened", "issue": ISSUE}), SITE)
    assert told is not None
    assert opened is not None
    assert told.thread_id == opened.thread_id == "o/r#7"
    assert opened.metrics == {"engagement": 3.0}


def test_a_release_is_one_item_wherever_it_is_seen() -> None:
    payload = {"action": "published", "release": {"id": 5, "name": "v5"}}
    seen = event(given("ReleaseEvent", payload), SITE)
    listed = release({"id": 5, "tag_name": "v5", "published_at": "2026-03-09T12:47:28Z"}, "o/r")
    assert seen is not None
    assert listed is not None
    assert seen.platform_id == listed.platform_id == "release:5"


@pytest.mark.parametrize(
    ("kind", "api_path", "page"),
    [
        ("PullRequest", "pulls/103", "/pull/103"),
        ("Issue", "issues/5", "/issues/5"),
        ("Commit", "commits/" + "a" * 40, "/commit/" + "a" * 40),
        ("Release", "releases/77", "/releases"),
        ("Discussion", None, "/discussions"),
        ("CheckSuite", None, "/actions"),
        ("Whatever", None, ""),
        ("PullRequest", "pulls/1/../../..", "/pull"),
    ],
)
def test_notifications_lead_to_pages_for_people(kind: str, api_path: Any, page: str) -> None:
    url = api_path and f"https://api.github.com/repos/o/r/{api_path}"
    item = notification(
        {
            "id": "9",
            "unread": True,
            "reason": "team_mention",
            "updated_at": "2026-03-09T12:47:28Z",
            "subject": {"title": "Fix it", "type": kind, "url": url, "latest_comment_url": None},
            "repository": {"full_name": "o/r", "html_url": "https://github.com/o/r"},
        }
    )
    assert item is not None
    assert item.url == f"https://github.com/o/r{page}"
    assert item.title == "[o/r] Fix it"
    assert "You are told because a team of yours was mentioned." in item.content
    assert item.tags == ("team_mention",)


def recorded_events() -> list[Any]:
    folder = fixtures_dir() / "github" / "events-walk" / "__files"
    pages = [json.loads((folder / f"{number}-events.json").read_text()) for number in range(2, 12)]
    return [entry for page in pages for entry in page]


def test_every_recorded_event_is_an_item() -> None:
    found = {item.platform_id: item for e in recorded_events() if (item := event(e, SITE))}
    assert len(found) == 155
    check_items(found.values(), now=NOW)
    assert not [item for item in found.values() if item.kind == "event"]


STRANGE = [
    None,
    True,
    7,
    -1,
    2**70,
    1.5,
    "",
    "x" * 300_000,
    "\x00\ud800\u202e<b>",
    [],
    {},
    [None],
    {"a": [{}]},
]


def everywhere(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(found for name, part in inner for found in everywhere(part, (*path, name)))]


def test_values_of_any_type_at_any_place_do_no_harm() -> None:
    """Nulls where the schema says strings, numbers for objects: an item, or none; never a fault."""
    samples = [given(kind, payload) for kind, payload, *_ in SAID]
    for sample in samples:
        for path in everywhere(sample)[1:]:
            for value in STRANGE:
                broken = copy.deepcopy(sample)
                inner: Any = broken
                for name in path[:-1]:
                    inner = inner[name]
                inner[path[-1]] = value
                item = event(broken, SITE)
                if item is not None:
                    check_items([item], now=NOW.replace(year=9999))


def response(body: bytes) -> Response:
    return Response("https://x.example", 200, {}, body, (), NOW, None, None)


def test_ids_beyond_what_readers_can_hold_stay_exact() -> None:
    assert read(response(b'{"id": 12345678901234567890, "n": 7, "f": 1e999}')) == {
        "id": "12345678901234567890",
        "n": 7,
        "f": "1e999",
    }


@pytest.mark.parametrize(
    "mark", ["[", "*a ", "`", "<a ", "![[]()", "> ", "- ", "_*", "|", "&#", "~~"]
)
def test_markdown_made_to_be_expensive_is_not(mark: str) -> None:
    started = time.perf_counter()
    markdown.to_text(mark * 100_000)
    assert time.perf_counter() - started < 2.0


def test_markdown_is_made_safe_and_readable() -> None:
    written = (
        "# Hi\n\n<!-- hidden -->\n\n<b>bold</b> <script>x()</script>[link](https://x.example) `code`\n\n"
        "| a | b |\n| - | - |\n| 1 | 2 |\n\n```\nkept  so\n```\n~~gone~~"
    )
    read_as = markdown.to_text(written)
    assert read_as.startswith("Hi\n\nbold link code")
    assert "hidden" not in read_as
    assert "x()" not in read_as
    assert "kept  so" in read_as
    assert "<" not in read_as

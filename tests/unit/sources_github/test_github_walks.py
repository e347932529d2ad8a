"""Nothing is lost and nothing is asked in vain, whatever the lists do while they are read."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from distill_grpc.sources.base import Page
from distill_grpc.sources.github import GithubSource
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext
from tests.servers.fixtures import fixtures_dir
from tests.servers.github import GithubServer, stamp
from tests.servers.platform import Clock, cut, html, plain
from tests.servers.reader import Reader
from tests.servers.recorded import RecordedServer
from tests.unit.sources_github.conftest import NOW, TOKEN

INBOX = {"include": ["notifications"]}
EVENTS = {"include": ["received_events"]}
RELEASES = {"include": [], "repositories": ["octo-org/octo-repo"]}


def conditional(server: GithubServer, header: str) -> list[str | None]:
    return [asked.headers.get(header) for asked in server.ledger if asked.path != "/user"]


async def test_the_recorded_walk_gives_exactly_its_events(http: HttpClient, clock: Clock) -> None:
    folder = fixtures_dir() / "github" / "events-walk"
    pages = [
        json.loads((folder / "__files" / f"{n}-events.json").read_text()) for n in range(2, 12)
    ]
    distinct = {f"event:{event['id']}" for page in pages for event in page}
    assert (sum(map(len, pages)), len(distinct)) == (281, 155)
    async with RecordedServer(folder, clock) as server:
        login = json.loads((folder / "__files" / "1-user.json").read_text())["login"]
        server.redirect("/events", f"/users/{login}/received_events?per_page=100")
        source = GithubSource(SourceContext(http=http, api_urls={"github": server.origin}))
        reader = Reader(source, clock, {"token": TOKEN}, EVENTS, days=3_650)
        read = await reader.read()
        assert reader.items.keys() == distinct
        assert sum(len(page.items) for page in read) == 155, "repeats are not told twice"
        assert len(read) == 10
        assert all(item.content and item.url for item in reader.items.values())


async def test_notifications_are_asked_for_with_the_date_word_for_word(
    github: GithubServer, reader: Reader, clock: Clock
) -> None:
    reader.settings = INBOX
    thread = github.add_thread("First")
    clock.advance(minutes=2)
    await reader.read()
    clock.advance(minutes=2)
    (page,) = await reader.read()
    assert page.unchanged
    assert page.min_interval == 60
    told = conditional(github, "If-Modified-Since")
    assert told == [None, "Tue, 10 Mar 2026 10:00:00 GMT"]
    assert conditional(github, "If-None-Match") == [None, None], "its ETags are empty"
    github.touch(thread, reason="assign")
    clock.advance(minutes=2)
    (page,) = await reader.read()
    assert [item.platform_id for item in page.items] == [f"thread:{thread['id']}"]
    assert page.items[0].published_at == NOW.replace(minute=4)
    assert len(reader.items) == 1
    assert not github.violations


@pytest.mark.parametrize("settings", [INBOX, EVENTS])
async def test_nobody_polls_sooner_than_github_wants(
    settings: dict[str, Any], github: GithubServer, reader: Reader, clock: Clock
) -> None:
    github.poll_interval = 120
    reader.settings = settings
    await reader.read()
    github.add_thread("Soon")
    github.add_event()
    asked = len(github.ledger)
    for _ in range(3):
        clock.advance(seconds=39)
        (page,) = await reader.read()
        assert page == Page(part=page.part, waiting=page.waiting), "nobody was asked"
        assert 0 < page.waiting <= 120
    assert len(github.ledger) == asked
    clock.advance(seconds=5)
    await reader.read()
    assert len(reader.items) == 1
    assert not github.violations


@pytest.mark.parametrize("settings", [INBOX, EVENTS])
async def test_what_github_says_about_polls_holds_for_the_token_and_not_for_a_connection(
    settings: dict[str, Any], github: GithubServer, reader: Reader, clock: Clock
) -> None:
    reader.settings = settings
    await reader.read()
    asked = len(github.ledger)
    clock.advance(seconds=30)
    reader.cursors.clear()  # disconnected and connected again, or another user with the same token
    (page,) = await reader.read(user="another")
    assert page.waiting
    assert len(github.ledger) == asked
    clock.advance(seconds=31)
    assert not (await reader.read())[0].waiting
    assert not github.violations


async def test_a_second_in_which_something_may_still_happen_proves_nothing(
    github: GithubServer, reader: Reader, clock: Clock
) -> None:
    github.poll_interval = 0
    reader.settings = INBOX
    github.add_thread("First")
    await reader.read()
    github.add_thread("In the same second")
    await reader.read()
    assert len(reader.items) == 2


async def test_once_a_day_the_inbox_is_read_unconditionally(
    github: GithubServer, reader: Reader, clock: Clock
) -> None:
    reader.settings = INBOX
    thread = github.add_thread("First")
    clock.advance(minutes=2)
    await reader.read()
    thread["unread"] = False  # read elsewhere, of which no date tells
    clock.advance(hours=23)
    assert (await reader.read())[0].unchanged
    clock.advance(hours=2)
    await reader.read()
    assert reader.items[f"thread:{thread['id']}"].metrics == {"unread": 0.0}


async def test_a_long_inbox_in_any_order_is_read_to_its_end(
    github: GithubServer, reader: Reader, clock: Clock
) -> None:
    reader.settings = INBOX
    for number in range(120):
        clock.advance(minutes=1)
        github.add_thread(f"Thread {number}")
    github.chance.shuffle(github.threads)
    await reader.read()
    assert len(reader.items) == 120
    clock.advance(minutes=5)
    github.add_thread("New")
    asked = len(github.ledger)
    await reader.read()
    assert len(reader.items) == 121
    assert len(github.ledger) == asked + 1, "the list starts behind the mark now"


async def test_a_thread_that_moves_while_the_inbox_is_read_is_not_lost(
    github: GithubServer, reader: Reader, clock: Clock
) -> None:
    reader.settings = INBOX
    threads = []
    for number in range(80):
        clock.advance(minutes=1)
        threads.append(github.add_thread(f"Thread {number}"))

    def something_happens() -> None:
        github.between_pages = lambda: None
        clock.advance(seconds=5)
        github.touch(threads[3], reason="comment")

    github.between_pages = something_happens
    await reader.read()
    clock.advance(minutes=5)
    await reader.read()
    assert len(reader.items) == 80
    assert reader.items[f"thread:{threads[3]['id']}"].published_at == NOW.replace(
        hour=11, minute=20, second=5
    )


@pytest.mark.parametrize(("settings", "pages"), [(INBOX, 5), (EVENTS, 3)])
async def test_a_walk_goes_on_where_it_was_left(
    settings: dict[str, Any], pages: int, github: GithubServer, reader: Reader, clock: Clock
) -> None:
    reader.settings = settings
    for number in range(230):
        clock.advance(minutes=1)
        github.add_event()
        github.add_thread(f"Thread {number}")
    for _ in range(pages):
        assert len(reader.items) < 230
        await reader.read(crash_after=1)
        clock.advance(minutes=2)
    assert len(reader.items) == 230


async def test_events_that_nobody_shows_any_more_are_a_gap(
    github: GithubServer, reader: Reader, clock: Clock
) -> None:
    reader.settings = EVENTS
    for _ in range(5):
        github.add_event()
    await reader.read()
    for _ in range(295):
        clock.advance(seconds=10)
        github.add_event()
    await reader.read()
    assert reader.gaps == 0
    assert len(reader.items) == 300
    for _ in range(310):
        clock.advance(seconds=10)
        github.add_event()
    await reader.read()
    assert reader.gaps == 1
    assert len(reader.items) == 600
    clock.advance(minutes=2)
    await reader.read()
    assert reader.gaps == 1


async def test_events_that_come_late_are_found(
    github: GithubServer, reader: Reader, clock: Clock
) -> None:
    reader.settings = EVENTS
    for _ in range(250):
        clock.advance(seconds=8)
        github.add_event()
    await reader.read()
    late = []
    for minutes in (0.1, 2, 7, 14):
        clock.advance(minutes=1)
        late.append(github.add_event(created_at=stamp(clock() - timedelta(minutes=minutes))))
        await reader.read()
    assert {f"event:{event['id']}" for event in late} <= reader.items.keys()


async def test_what_comes_late_below_an_unchanged_first_page_is_found(
    github: GithubServer, reader: Reader, clock: Clock
) -> None:
    reader.settings = EVENTS
    for _ in range(250):
        clock.advance(seconds=2)
        github.add_event()
    await reader.read()
    late = github.add_event(created_at=stamp(clock() - timedelta(minutes=6)))
    clock.advance(minutes=2)
    await reader.read()
    assert f"event:{late['id']}" in reader.items
    clock.advance(minutes=20)  # nothing comes that late: now the first page proves it
    await reader.read()
    clock.advance(minutes=2)
    await reader.read()
    assert github.ledger[-1].status == 304


async def test_events_are_asked_for_with_a_validator_of_the_token(
    github: GithubServer, reader: Reader, clock: Clock
) -> None:
    reader.settings = EVENTS
    github.add_event()
    await reader.read()
    clock.advance(minutes=2)
    (page,) = await reader.read()
    assert page.unchanged
    assert page.min_interval == 60
    github.add_account("ghp_other", login="octocat")
    reader.credentials = {"token": "ghp_other"}
    await reader.read()
    events = [asked for asked in github.ledger if "received_events" in asked.path]
    assert [asked.status for asked in events] == [200, 304, 200]
    assert "If-None-Match" not in events[2].headers


async def test_a_page_that_names_itself_as_next_ends(github: GithubServer, reader: Reader) -> None:
    async def circle(request: Any, real: Any) -> Any:
        response = await real(request)
        response.headers["Link"] = f'<{request.url}>; rel="next"'
        return response

    github.add_thread("One")
    github.fault("/notifications", circle, times=1_000)
    reader.settings = INBOX
    failure = await reader.fails()
    assert failure.reason == "endless"
    assert len(reader.items) == 1
    assert len(github.ledger) <= 3


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_failing_page_leaves_the_mark_where_it_was(
    status: int, github: GithubServer, reader: Reader, clock: Clock
) -> None:
    reader.settings = INBOX
    for number in range(70):
        clock.advance(minutes=1)
        github.add_thread(f"Thread {number}")
    github.fault("page=2", html(status))
    failure = await reader.fails()
    assert failure.reason == "server_error"
    assert len(reader.items) == 50
    clock.advance(minutes=2)
    await reader.read()
    assert len(reader.items) == 70


@pytest.mark.parametrize(
    "broken",
    [
        html(200),
        plain(200, "", "application/json"),
        plain(200, '{"a": 1}', "application/json"),
        plain(200, "[" * 50_000, "application/json"),
        plain(200, "[NaN]", "application/json"),
        plain(200, b"\xff\xfe\x00", "application/json"),
        plain(304, "", "application/json"),
        plain(418, "{}", "application/json"),
        cut(200),
    ],
)
@pytest.mark.parametrize("settings", [INBOX, EVENTS, RELEASES])
async def test_an_answer_without_sense_loses_nothing(
    broken: Any, settings: dict[str, Any], github: GithubServer, reader: Reader, clock: Clock
) -> None:
    reader.settings = settings
    github.add_thread("One")
    github.add_event()
    github.add_release("octo-org/octo-repo", "v1", "body " * 100)
    part = {"notifications": "/notifications", "received_events": "received_events"}.get(
        next(iter(settings["include"]), ""), "/releases"
    )
    github.fault(part, broken)
    failure = await reader.fails()
    assert failure.code == "platform_error"
    assert not reader.cursors
    clock.advance(minutes=2)
    await reader.read()
    assert len(reader.items) == 1


async def test_releases_are_read_conditionally_and_edits_come_again(
    github: GithubServer, reader: Reader, clock: Clock
) -> None:
    reader.settings = RELEASES
    release = github.add_release("octo-org/octo-repo", "v1.0", "First *words*")
    await reader.read()
    (page,) = await reader.read()
    assert page.unchanged
    assert github.ledger[-1].status == 304
    release["body"] = "Better words"
    await reader.read()
    (item,) = reader.items.values()
    assert item.content == "New release of octo-org/octo-repo: v1.0.\n\nBetter words"


async def test_a_deleted_release_is_deleted_and_an_old_one_is_not(
    github: GithubServer, reader: Reader, clock: Clock
) -> None:
    reader.settings = RELEASES
    releases = []
    for number in range(32):
        clock.advance(minutes=1)
        releases.append(github.add_release("octo-org/octo-repo", f"v{number}"))
    await reader.read()
    assert len(reader.items) == 32
    github.releases["octo-org/octo-repo"].remove(releases[20])
    clock.advance(minutes=1)
    github.add_release("octo-org/octo-repo", "v-new")
    reader.days = 0.0001  # the first page reaches back far enough
    await reader.read()
    assert reader.deleted == [f"release:{releases[20]['id']}"]


async def test_a_draft_is_no_news_until_it_is_published(
    github: GithubServer, reader: Reader
) -> None:
    reader.settings = RELEASES
    draft = github.add_release("octo-org/octo-repo", "v1", draft=True, published_at=None)
    await reader.read()
    assert not reader.items
    draft |= {"draft": False, "published_at": stamp(NOW)}
    await reader.read()
    assert len(reader.items) == 1


async def test_a_renamed_repository_is_asked_at_its_new_address(
    github: GithubServer, reader: Reader
) -> None:
    reader.settings = {"include": [], "repositories": ["octo-org/old"]}
    github.add_release("octo-org/new", "v1")
    github.moved["octo-org/old"] = "octo-org/new"
    await reader.read()
    assert len(reader.items) == 1
    await reader.read()
    assert [asked.status for asked in github.ledger] == [301, 200, 304]
    # A repository of its own under the old name, and the new one gone: look there again.
    del github.moved["octo-org/old"], github.releases["octo-org/new"]
    github.add_release("octo-org/old", "v2")
    await reader.read()
    assert len(github.asked("/repos/octo-org/old")) == 2


async def test_lists_bring_repositories_and_take_them_away(
    github: GithubServer, reader: Reader, clock: Clock
) -> None:
    reader.settings = {"include": ["watched", "starred"], "repositories": ["a/named"]}
    github.watched, github.starred = ["a/watched", "a/both"], ["a/both", "a/starred"]
    for name in ("a/named", "a/watched", "a/both", "a/starred"):
        github.add_release(name, "v1")
    await reader.read()
    assert len(reader.items) == 4
    assert len(github.asked("/releases")) == 4
    assert reader.source.parts(reader.settings) == ()
    github.starred = ["a/both"]
    pages = {page.part: page for page in await reader.read()}
    assert pages["releases:a/starred"].ended
    assert len(github.asked("/repos/a/starred")) == 1
    assert "releases:a/starred" not in reader.cursors
    assert len(reader.items) == 4, "what was collected of it stays"
    # The lists need not be read for their repositories to be.
    pages = {page.part: page for page in await reader.read(skip=frozenset({"watched", "starred"}))}
    assert set(pages) == {"releases:a/named", "releases:a/watched", "releases:a/both"}


async def test_a_repository_that_never_answered_ends_with_its_list(
    github: GithubServer, reader: Reader
) -> None:
    reader.settings = {"include": ["starred"], "repositories": ["a/named"]}
    github.add_release("a/named", "v1")
    github.starred = ["gone/away"]
    (gone,) = [page for page in await reader.read() if page.failure is not None]
    assert gone.part == "releases:gone/away"
    github.starred = []
    known = {part: reader.clock() for part in (gone.part, "releases:a/named", "starred")}
    pages = await reader.read(since=known, skip=frozenset({gone.part}))
    assert [page.part for page in pages if page.ended] == [gone.part]


async def test_a_list_that_cannot_be_read_ends_nothing(
    github: GithubServer, reader: Reader
) -> None:
    reader.settings = {"include": ["starred"], "repositories": ["a/named"]}
    github.add_release("a/named", "v1")
    github.fault("/user/starred", html(502))
    known = {part: reader.clock() for part in ("releases:a/starred", "releases:a/named")}
    assert not [page for page in await reader.read(since=known) if page.ended]


async def test_a_cursor_of_another_shape_is_no_cursor(github: GithubServer, reader: Reader) -> None:
    github.poll_interval = 0
    github.add_thread("One")
    github.add_event()
    garbage: list[Any] = [
        {"slot": 3},
        [],
        "x",
        {"known": 7, "etag": [], "walk_url": {}, "walk_pages": "1", "floor": 1.5},
        {"known": {"1": 2}, "walk_seen": [1, None], "token": None},
    ]
    for cursor in garbage:
        reader.cursors = {"notifications": cursor, "received_events": cursor}
        reader.items.clear()
        await reader.read()
        assert len(reader.items) == 2, cursor

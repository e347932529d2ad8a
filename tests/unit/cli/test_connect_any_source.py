"""`distill connect` for any source, and what `distill connections` says to do next."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from distill_grpc.cli import known_sources
from distill_grpc.sources import creators, email, github_settings, oauth, rss, x, youtube_settings

Run = Callable[..., Any]

CAPABILITIES = {
    "sources": [
        {
            "name": "github",
            "credentials": {"token": "a token", "client_secret": "a secret"},
            "settings": {"repositories": "a list", "include": "a list"},
        },
        {
            "name": "youtube",
            "credentials": {"api_key": "a key"},
            "settings": {"channels": "a list", "subscriptions": "true or false"},
        },
        {"name": "x", "credentials": {"access_token": "it"}, "settings": {"timelines": "a list"}},
        {
            "name": "email",
            "credentials": {"host": "it", "username": "it", "password": "it"},
            "settings": {"folders": "a list"},
        },
        {"name": "rss", "credentials": {}, "settings": {"feeds": "a list"}},
        {
            "name": "own",
            "credentials": {"key": "it", "pin": "it"},
            "settings": {"shelves": "a list"},
        },
        {
            "name": "creators",
            "credentials": {"access_token": "it"},
            "settings": {"url": "it", "creators": "a list"},
        },
    ]
}


@pytest.fixture(autouse=True)
def known(service: Any) -> None:
    service.on("GET /capabilities", (200, CAPABILITIES))
    for source in (one["name"] for one in CAPABILITIES["sources"]):
        service.on(f"PUT /connections/{source}", (200, {"source": source, "state": "pending"}))


def sent(service: Any) -> Any:
    return next(body for call, _, body, _ in service.calls if call.startswith("PUT"))


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_a_credential_is_an_option_and_is_never_shown(distill: Run, service: Any) -> None:
    told = distill("connect", "github", "--token", "s3cret", "--client-secret=x=y")
    assert told.code == 0, told.err
    assert sent(service) == {"credentials": {"token": "s3cret", "client_secret": "x=y"}}
    assert "s3cret" not in told.out + told.err


def test_a_dash_reads_it_from_stdin(
    distill: Run, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "s3cret\nmore\n")
    told = distill("connect", "github", "--token", "-")
    assert sent(service) == {"credentials": {"token": "s3cret"}}
    assert "s3cret" not in told.out + told.err
    typed(monkeypatch, "")
    assert distill("connect", "github", "--token", "-").code == 2


def test_an_option_without_a_value_is_asked_for_or_comes_from_the_environment(
    distill: Run, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "")
    assert distill("connect", "github", "--token").code == 2
    monkeypatch.setenv("DISTILL_CREDENTIAL_TOKEN", "s3cret")
    assert distill("connect", "github", "--token").code == 0
    assert sent(service) == {"credentials": {"token": "s3cret"}}


def test_the_singular_adds_to_a_list_and_the_name_itself_sets_it(
    distill: Run, service: Any
) -> None:
    there = {"source": "youtube", "settings": {"channels": ["a"], "subscriptions": False}}
    service.on("GET /connections/youtube", (200, there))
    distill("connect", "youtube", "--channel", "b", "--channel", "a", "--subscriptions", "true")
    assert sent(service) == {"settings": {"channels": ["a", "b"], "subscriptions": True}}
    service.calls.clear()
    distill("connect", "youtube", "--channels", '["c"]', "--api-key", "k")
    assert sent(service)["settings"]["channels"] == ["c"]
    assert sent(service)["credentials"] == {"api_key": "k"}
    service.calls.clear()
    distill("connect", "youtube", "--channel", "d", "--replace")
    assert sent(service) == {"settings": {"channels": ["d"]}}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("github", "--tokn", "x"), "github has no --tokn; it has --token, --client_secret"),
        (("gitlab", "--token", "x"), "there is no source 'gitlab'; there is github, youtube"),
        (("github", "--repository"), "--repository needs a value"),
        (("youtube", "--channel"), "--channel needs a value"),
        (("github", "stray"), "connect takes one source, then options"),
    ],
)
def test_what_the_source_does_not_know_is_refused_by_name(
    distill: Run, service: Any, arguments: tuple[str, ...], words: str
) -> None:
    told = distill("connect", *arguments)
    assert told.code == 2
    assert words in told.err
    assert not any(call.startswith("PUT") for call in service.called)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {"error": "no_platform_auth", "state": "action_required"},
            "make new ones there, then `distill connect github --token -`, which takes the place of all",
        ),
        (
            {"error": "no_platform_auth", "state": "action_required", "source": "email"},
            "then `distill connect email --host HOST --username USERNAME --password -`, which takes",
        ),
        (
            {"error": "no_platform_auth", "state": "action_required", "source": "own"},
            "`distill connect own --credential NAME`",
        ),
        (
            {"error": "no_platform_auth", "state": "action_required", "has_credentials": False},
            "seen to what it says; then `distill connect github`",
        ),
        ({"error": "no_platform_auth"}, "tried again by itself; if it stays so, `distill connect"),
        ({"error": "token_expired"}, "`distill connect github --token -` takes a new one"),
        (
            {"error": "platform_error", "state": "action_required"},
            "seen to what it says; then `distill connect github`",
        ),
        ({"error": "rate_limited", "retry_after": "2099-01-01T00:00:00Z"}, "read again after"),
        ({"error": "platform_error"}, "tried again by itself"),
        ({"missing_scopes": ["repo", "user"]}, "the token lacks repo, user"),
        (
            {"warnings": ["credentials_expire"], "expires_at": "2099-01-02T00:00:00Z"},
            "the credentials end on",
        ),
        (
            {"parts": [{"name": "a", "state": "ok", "gap_until": "2024-01-10T10:00:00Z"}]},
            "no longer gives",
        ),
    ],
)
def test_whatever_is_wrong_comes_with_what_to_do(
    distill: Run, service: Any, facts: dict[str, Any], words: str
) -> None:
    connection = {"source": "github", "state": "failing", "message": "Something.", **facts}
    service.on("GET /connections", (200, {"connections": [connection]}))
    assert words in " ".join(distill("connections").out.split())


def test_a_connection_that_does_well_needs_nothing(distill: Run, service: Any) -> None:
    connection = {"source": "github", "state": "ok", "account": "octocat"}
    service.on("GET /connections", (200, {"connections": [connection]}))
    told = distill("connections").out
    assert "octocat" in told
    assert "github:" not in told


def advice(distill: Run, service: Any, connection: dict[str, Any]) -> str:
    service.on("GET /connections", (200, {"connections": [connection]}))
    lines = " ".join(distill("connections").out.split())
    return lines.partition(f"{connection['source']}: ")[2]


def test_a_feed_that_is_gone_for_good_can_be_taken_out(distill: Run, service: Any) -> None:
    gone = {"name": "https://e.com/f", "state": "action_required", "error": "platform_error"}
    connection = {"source": "rss", "state": "action_required", "error": "platform_error"}
    told = advice(distill, service, {**connection, "parts": [gone]})
    assert "will not be read again by itself" in told
    assert "`distill disconnect rss --feed https://e.com/f` takes it out" in told
    assert "at fault" not in told
    other = {**gone, "name": "Lists", "error": "platform_error"}
    told = advice(distill, service, {**connection, "source": "email", "parts": [other, other]})
    assert told == (
        "Lists and 1 more part will not be read again by itself; `distill connect email` tries once more"
    )


def test_feeds_are_never_said_to_need_credentials(distill: Run, service: Any) -> None:
    part = {"name": "https://e.com/f", "state": "failing", "error": "no_platform_auth"}
    told = advice(
        distill,
        service,
        {"source": "rss", "state": "failing", "error": "no_platform_auth", "parts": [part]},
    )
    assert "feeds take no credentials" in told
    assert "new" not in told


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (("x", "--timeline", "list:1"), {"timelines": ["home", "mentions", "list:1"]}),
        (("x", "--timelines", "list:1", "--replace"), {"timelines": ["list:1"]}),
        (("email", "--folder", "Archive"), {"folders": ["INBOX", "Archive"]}),
        (
            ("github", "--include", "watched", "--include", "starred"),
            {"include": ["notifications", "received_events", "watched", "starred"]},
        ),
        (("github", "--setting", "include=watched"), {"include": ["watched"]}),
        (("github", "--repository", "o/r"), {"repositories": ["o/r"]}),
        (("github", "--repositories", "o/r", "--repository=o/s"), {"repositories": ["o/r", "o/s"]}),
        (("youtube", "--channels", "@a", "--api-key", "k"), {"channels": ["@a"]}),
        (("own", "--shelve", "a", "--shelve", "b"), {"shelves": ["a", "b"]}),
    ],
)
def test_options_of_lists_add_to_what_is_read_where_nothing_was_chosen(
    distill: Run, service: Any, arguments: tuple[str, ...], settings: dict[str, Any]
) -> None:
    assert distill("connect", *arguments).code == 0
    assert sent(service)["settings"] == settings


def test_defaults_that_were_given_up_do_not_come_back(distill: Run, service: Any) -> None:
    service.on("GET /connections/x", (200, {"source": "x", "settings": {"timelines": ["list:1"]}}))
    distill("connect", "x", "--timeline", "list:2")
    assert sent(service) == {"settings": {"timelines": ["list:1", "list:2"]}}


def test_naming_a_channel_does_not_end_the_subscriptions(distill: Run, service: Any) -> None:
    service.on("GET /connections/youtube", (200, {"source": "youtube", "settings": {}}))
    distill("connect", "youtube", "--channel", "@a")
    assert sent(service) == {"settings": {"channels": ["@a"], "subscriptions": True}}


@pytest.mark.parametrize(
    ("source", "settings", "line"),
    [
        ("x", {"timelines": ["home", "list:1"]}, "now reading timelines: home, list:1\n"),
        (
            "youtube",
            {"channels": ["@a"]},
            "channels: @a; not the subscriptions (--subscriptions true",
        ),
        ("youtube", {"channels": ["@a"], "subscriptions": True}, "@a; and the subscriptions\n"),
        ("creators", {"creators": ["7"]}, "creators: 7; not the others whom you follow\n"),
    ],
)
def test_what_is_read_from_now_on_is_said(
    distill: Run, service: Any, source: str, settings: dict[str, Any], line: str
) -> None:
    answer = {"source": source, "state": "pending", "settings": settings}
    service.on(f"PUT /connections/{source}", (200, answer))
    assert line in distill("connect", source).out


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a person at a terminal types, by what is asked for; secrets are typed unseen."""
    typing: dict[str, str] = {}

    def prompt(text: str, *, hide_input: bool, **_: Any) -> str:
        name = text.partition(" ")[0]
        assert hide_input is (name not in {"host", "username"})
        return typing.pop(name)

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", prompt)
    return typing


REFUSED = {"state": "action_required", "error": "no_platform_auth", "settings": {}}


@pytest.mark.parametrize(
    ("source", "there", "typed", "credentials"),
    [
        ("github", None, {"token": "t"}, {"token": "t"}),
        ("github", REFUSED, {"token": "t"}, {"token": "t"}),
        ("github", None, {"token": ""}, None),
        ("github", {"state": "ok"}, {}, None),
        ("github", {**REFUSED, "error": "platform_error"}, {}, None),
        (
            "email",
            REFUSED,
            {"host": "h", "username": "u", "password": "p"},
            {"host": "h", "username": "u", "password": "p"},
        ),
        ("youtube", None, {"access_token": "", "api_key": "k"}, {"api_key": "k"}),
        ("own", None, {"key": "k", "pin": ""}, {"key": "k"}),
        ("rss", None, {}, None),
        ("creators", None, {}, None),
        (
            "creators",
            {**REFUSED, "settings": {"url": "https://a"}},
            {"access_token": "t"},
            {"access_token": "t"},
        ),
    ],
)
def test_a_terminal_asks_for_credentials_that_an_account_lacks(
    distill: Run,
    service: Any,
    answers: dict[str, str],
    source: str,
    there: dict[str, Any] | None,
    typed: dict[str, str],
    credentials: dict[str, str] | None,
) -> None:
    if there is not None:
        service.on(f"GET /connections/{source}", (200, {"source": source, **there}))
    answers.update(typed)
    assert distill("connect", source).code == 0
    assert sent(service).get("credentials") == credentials
    assert answers == {}


def test_what_is_known_of_a_source_is_what_it_takes() -> None:
    sources = (creators, email, github_settings, rss, x, youtube_settings)
    infos = {source.INFO.name: source.INFO for source in sources}
    assert known_sources.SOURCES.keys() == infos.keys()
    for name, known in known_sources.SOURCES.items():
        assert known.lists.keys() <= infos[name].settings.keys()
        taken = {one for names in known.credentials for one in names}
        assert taken <= {*infos[name].credentials, *oauth.RENEWAL}
    defaults = {n: dict(known.defaults) for n, known in known_sources.SOURCES.items()}
    assert defaults["x"] == {"timelines": x.DEFAULT_TIMELINES}
    assert defaults["email"] == {"folders": email.DEFAULT_FOLDERS}
    assert defaults["github"] == {"include": github_settings.included({})}

"""`distill connect` for any source, and what `distill connections` says to do next."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]

CAPABILITIES = {
    "sources": [
        {
            "name": "github",
            "credentials": {"token": "a token", "client_secret": "a secret"},
            "settings": {"repositories": "a list"},
        },
        {
            "name": "youtube",
            "credentials": {"api_key": "a key"},
            "settings": {"channels": "a list", "subscriptions": "true or false"},
        },
    ]
}


@pytest.fixture(autouse=True)
def known(service: Any) -> None:
    service.on("GET /capabilities", (200, CAPABILITIES))
    for source in ("github", "youtube"):
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
        ({"error": "no_platform_auth"}, "make new ones there, then `distill connect github`"),
        ({"error": "token_expired"}, "`distill connect github` takes a new one"),
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

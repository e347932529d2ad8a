"""The commands by which a user says what digests and tags are to be like."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]


def test_tags_are_shown_added_and_removed(distill: Run, service: Any) -> None:
    kept = {"tags": [{"name": "Bread", "aliases": []}, {"name": "Rail", "aliases": ["tram"]}]}
    service.on("GET /tags/vocabulary", (200, kept))
    service.on("PUT /tags/vocabulary", (200, {"tags": []}))
    told = distill("tags")
    assert "Rail  tram" in told.out
    told = distill("tags", "--remove", "bread", "--add", "k8s=kube, kubernetes", "--add", "rail")
    assert "No vocabulary" in told.out
    assert service.calls[-1][2] == {
        "tags": [
            {"name": "rail", "aliases": []},
            {"name": "k8s", "aliases": ["kube", "kubernetes"]},
        ]
    }
    assert distill("tags", "--remove", "nothing").code == 1


PREFERENCES = {
    "length": "medium",
    "sections": [{"name": "Rail", "words": ["tram"], "tags": [], "sources": []}],
    "tags": ["rust"],
    "sources": [],
    "authors": ["lwn.net"],
    "names": [],
    "tz": "UTC",
    "mail": False,
    "daily": True,
    "weekly": True,
    "tags_by_model": False,
}


def test_preferences_are_shown_with_the_next_digests(distill: Run, service: Any) -> None:
    due = {"next_digest_at": "2026-11-27T06:00:00Z", "next_weekly_at": "2026-11-30T06:00:00Z"}
    kept = {**PREFERENCES, "digest_hour": 7, "tz": "Europe/Berlin", **due}
    service.on("GET /preferences", (200, kept))
    told = distill("preferences", "show").out
    for part in (
        "daily, weekly, at 7:00, Europe/Berlin",
        "27 Nov",
        "30 Nov",
        "words tram",
        "lwn.net",
    ):
        assert part in told
    assert json.loads(distill("preferences", "show", "--json").out) == kept


def test_some_preferences_are_changed_and_the_others_stay(
    distill: Run, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    kept = {**PREFERENCES, "language": "de", "daily_llm_tokens": 5, "next_weekly_at": "x"}
    service.on("GET /preferences", (200, kept))
    service.on("PUT /preferences", (200, PREFERENCES))

    def put(*arguments: str) -> Any:
        assert distill("preferences", *arguments).code == 0
        call, _, body, _ = service.calls[-1]
        assert call == "PUT /preferences"
        return body

    unchanged = {**PREFERENCES, "language": "de", "daily_llm_tokens": 5}
    changes = ("--hour", "7", "--mail", "--no-daily", "--language", "none", "--tag", "go")
    changed = {**unchanged, "digest_hour": 7, "mail": True, "daily": False}
    changed |= {"tags": ["rust", "go"], "tz": "Asia/Tokyo"}  # the hour is one of this machine
    del changed["language"]
    assert put("set", *changes) == changed
    assert put("set", "--hour", "7", "--tz", "UTC")["tz"] == "UTC"
    assert put("set", "--no-tag", "rust", "--author", "Ada")["authors"] == ["lwn.net", "Ada"]
    section = {"name": "Sea", "words": ["ship"], "tags": ["ocean"], "sources": []}
    added = put("section", "Sea", "--word", "ship", "--tag", "ocean")
    assert added["sections"] == [*PREFERENCES["sections"], section]
    assert put("section", "rail", "--source", "rss")["sections"][0]["sources"] == ["rss"]
    assert put("section", "RAIL", "--remove")["sections"] == []
    assert put("reset") == {}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("set",), 2, "say what to change"),
        (("set", "--hour", "seven"), 2, "--hour is a whole number or `none`"),
        (("set", "--no-tag", "go"), 1, "'go' is not among your tags"),
        (("section", "Sea"), 2, "--word, --tag or --source"),
        (("section", "Sea", "--remove", "--word", "x"), 2, "--remove"),
        (("section", "Sea", "--remove"), 1, "there is no section 'Sea'"),
    ],
)
def test_a_wrong_change_of_preferences_is_told_and_nothing_is_put(
    distill: Run, service: Any, arguments: tuple[str, ...], code: int, said: str
) -> None:
    service.on("GET /preferences", (200, PREFERENCES))
    told = distill("preferences", *arguments)
    assert told.code == code
    assert said in told.err
    assert "PUT /preferences" not in service.called


def test_what_the_service_refuses_is_told_by_its_field(distill: Run, service: Any) -> None:
    service.on("GET /preferences", (200, PREFERENCES))
    details = {"details": {"digest_hour": "must be at most 23"}}
    message = "digest_hour must be at most 23."
    refusal = {"error": "invalid_argument", "message": message, **details}
    service.on("PUT /preferences", (400, refusal))
    told = distill("preferences", "set", "--hour", "24")
    assert told.code == 1
    assert "digest_hour must be at most 23" in told.err


def test_a_feed_of_digests_is_made_and_ended(distill: Run, service: Any) -> None:
    addresses = {kind: f"http://d/digests/t/feed.{kind}" for kind in ("rss", "atom", "json")}
    service.on("POST /digests/feed", (201, addresses))
    told = distill("feed", "new")
    assert all(address in told.out for address in addresses.values())
    assert json.loads(distill("feed", "new", "--json").out) == addresses
    service.on("DELETE /digests/feed", (200, {"status": "revoked"}))
    assert "does not work any more" in distill("feed", "end").out
    none = {"error": "not_found", "message": "There is no feed of digests."}
    service.on("DELETE /digests/feed", (404, none))
    told = distill("feed", "end")
    assert (told.code, told.out) == (1, "")
    assert "There is no feed of digests" in told.err

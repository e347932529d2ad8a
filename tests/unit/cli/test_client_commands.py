"""The commands that talk to a Distill, against a server that answers in its shapes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from distill_grpc import clock
from distill_grpc.cli import showing, syncing, zones
from distill_grpc.sources import http_failures

Run = Callable[..., Any]

ITEM = {
    "id": "item_1",
    "platform_id": "p1",
    "timestamp": "2024-01-10T09:45:00Z",
    "content": "A long text about [bold]gRPC[/bold].",
    "author": "Ada",
    "metrics": {},
    "ai_tags": ["grpc"],
    "source": "rss",
    "title": "News\x1b]0;owned\x07",
    "url": "https://example.com/1",
}
ABOUT = {"count": 1, "has_more": True, "completeness": 1.0, "warnings": ["some_data_delayed"]}
LIST = {"data": [ITEM], "metadata": ABOUT}


def job(status: str, *, done: int = 0, new: int = 0, source: str = "") -> dict[str, Any]:
    return {
        "job_id": "sync_1",
        "status": status,
        "trigger": "request",
        "progress": done / 2,
        "items_new": new,
        "items_updated": 0,
        "sources": [
            {
                "source": "rss",
                "status": source or status,
                "items_new": new,
                "items_updated": 0,
                "parts_done": done,
                "parts_total": 2,
                "parts_failed": 0,
            }
        ],
    }


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncing, "_POLL_FIRST", 0.01)


def error(code: str, message: str, **more: Any) -> dict[str, Any]:
    return {"error": code, "message": message, "user_action_required": False, **more}


def test_recent_shows_items_as_they_are_and_without_control_characters(
    distill: Run, service: Any
) -> None:
    service.on("GET /content/recent", (200, LIST))
    told = distill("recent", "--hours", "48", "--limit", "5", "--source", "rss", "--source", "x")
    assert told.code == 0
    assert service.calls[0][1] == {"hours": "48", "limit": "5", "sources": "rss,x"}
    assert "[bold]gRPC[/bold]" in told.out
    assert "\x1b" not in told.out
    assert "1 item, and there are more" in told.out
    assert "some data delayed" in told.out


def test_json_is_the_answer_and_nothing_else(distill: Run, service: Any) -> None:
    service.on("GET /content/recent", (200, LIST))
    assert json.loads(distill("recent", "--json").out) == LIST


def test_search_sends_words_as_one_query(distill: Run, service: Any) -> None:
    service.on("POST /content/search", (200, LIST))
    assert (
        distill("search", "grpc", "-soap", "--tag", "news").code == 2
    )  # -soap looks like an option
    told = distill("search", "--tag", "news", "--", "grpc", "-soap")
    assert told.code == 0
    assert service.calls[0][2] == {
        "query": "grpc -soap",
        "limit": 20,
        "tags": ["news"],
        "highlight": True,
        "facets": False,
    }


def test_search_shows_what_was_found_and_counts(distill: Run, service: Any) -> None:
    snippet = "1 &lt; 2 for <mark>gRPC</mark> \x1b[1m"
    answer = {
        "data": [{**ITEM, "snippet": snippet}],
        "metadata": ABOUT,
        "facets": {"sources": [{"value": "rss", "items": 3}], "authors": [], "tags": []},
    }
    service.on("POST /content/search", (200, answer))
    told = distill("search", "grpc from:ada", "--facets")
    assert service.calls[0][2]["query"] == "grpc from:ada"
    assert service.calls[0][2]["facets"] is True
    assert "1 < 2 for gRPC [1m" in told.out
    assert "sources: rss 3" in told.out


def test_digest_shows_highlights_and_sections_with_what_they_rest_on(
    distill: Run, service: Any
) -> None:
    answer = {
        "summary": {
            "period": "daily",
            "date": "2024-01-10",
            "generated_at": "2024-01-10T10:05:00Z",
            "content": {
                "highlights": ["gRPC got faster."],
                "sections": {"trending": "Everybody talks."},
                "citations": [
                    {"highlight": 0, "items": [{"id": "1", "url": "https://e.com/1"}]},
                    {
                        "section": "trending",
                        "items": [{"id": str(n), "title": f"Talk {n}"} for n in range(9)],
                    },
                ],
            },
            "statistics": {"items_processed": 3, "sources": 2},
        },
        "metadata": {"model_used": "textrank", "confidence": 1.0, "processing_time": "0.1s"},
    }
    service.on("GET /content/summary/weekly", (200, answer))
    told = distill("digest", "weekly", "--tz", "Europe/Berlin")
    assert service.calls[0][1] == {"tz": "Europe/Berlin"}
    for part in (
        "gRPC got faster.",
        "https://e.com/1",
        "Trending",
        "Talk 0",
        "and 6 more",
        "3 items from 2 authors and feeds",
    ):
        assert part in told.out
    assert distill("digest", "../admin").code == 2


@pytest.mark.parametrize(
    ("period", "first", "heading"),
    [
        ("daily", "2026-11-20", "Daily digest, 20 November 2026"),
        ("weekly", "2026-11-16", "Weekly digest, 16{dash}22 November 2026"),
        ("weekly", "2026-11-30", "Weekly digest, 30 November {dash} 6 December 2026"),
        ("weekly", "2026-12-28", "Weekly digest, 28 December 2026 {dash} 3 January 2027"),
    ],
)
def test_a_digest_of_a_chosen_day_names_its_days(
    distill: Run, service: Any, period: str, first: str, heading: str
) -> None:
    summary = {"period": period, "date": first, "content": {}}
    service.on(f"GET /content/summary/{period}", (200, {"summary": summary}))
    dash = "\N{EN DASH}"
    assert heading.format(dash=dash) in distill("digest", period, "--date", first).out
    assert service.calls[0][1] == {"tz": "UTC", "date": first}


def test_the_zone_of_a_digest_is_this_machine_s(
    distill: Run, service: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.on("GET /content/summary/daily", (404, {}))
    link = home / "localtime"
    link.symlink_to("/usr/share/zoneinfo/Asia/Tokyo")
    monkeypatch.setattr(zones, "LOCALTIME", link)
    asked = []
    for zone in ("Europe/Berlin", ":Europe/Paris", "CET-1CEST", ""):
        monkeypatch.setenv("TZ", zone)
        distill("digest")
        asked.append(service.calls[-1][1]["tz"])
    assert asked == ["Europe/Berlin", "Europe/Paris", "Asia/Tokyo", "Asia/Tokyo"]
    monkeypatch.setattr(zones, "LOCALTIME", home / "nothing")
    distill("digest")
    assert service.calls[-1][1]["tz"] == "UTC"


def test_a_sync_is_followed_to_its_end(distill: Run, service: Any) -> None:
    service.on("POST /sync", (202, {"status": "syncing", "job_id": "sync_1"}))
    service.on(
        "GET /sync/sync_1",
        (200, job("queued")),
        (200, job("running", done=1, new=3)),
        (429, error("rate_limited", "Too many calls.")),
        (200, job("completed", done=2, new=7)),
    )
    told = distill("sync", "--force")
    assert told.code == 0
    assert service.calls[0][2] == {"force": True}
    assert "7 new, 0 updated" in told.out
    assert service.called.count("GET /sync/sync_1") == 4


def test_a_sync_that_runs_already_is_followed(distill: Run, service: Any) -> None:
    body = error("sync_in_progress", "Running.", details={"job_id": "sync_1"})
    service.on("POST /sync", (409, body))
    service.on("GET /sync/sync_1", (200, job("completed", done=2)))
    told = distill("sync", "--json")
    assert told.code == 0
    assert json.loads(told.out)["status"] == "completed"


def test_a_failed_sync_is_exit_code_1(distill: Run, service: Any) -> None:
    service.on("POST /sync", (202, {"status": "syncing", "job_id": "sync_1"}))
    failed = job("failed")
    failed["sources"][0] |= {"message": "No feed there.", "retry_after": "2024-01-10T11:00:00Z"}
    service.on("GET /sync/sync_1", (200, failed))
    told = distill("sync")
    assert told.code == 1
    assert "No feed there. (again after" in told.out


def test_no_wait_only_asks(distill: Run, service: Any) -> None:
    service.on("POST /sync", (202, {"status": "syncing", "job_id": "sync_1"}))
    assert "sync_1" in distill("sync", "--no-wait").out
    assert service.called == ["POST /sync"]


def test_watch_shows_the_first_sync(distill: Run, service: Any) -> None:
    watch = {"status": "watching", "since": "2024-01-10T10:00:00Z", "backfill_status": "queued"}
    service.on("POST /watch", (201, watch))
    service.on("POST /sync", (409, error("sync_in_progress", "", details={"job_id": "sync_1"})))
    service.on("GET /sync/sync_1", (200, job("completed", done=2, new=7)))
    told = distill("watch", "--backfill-days", "3", "--sync-frequency", "30m")
    assert service.calls[0][2] == {"options": {"backfill_days": 3, "sync_frequency": "30m"}}
    assert "watching" in told.out
    assert "7 new" in told.out


def test_watch_whose_first_sync_was_quick_shows_the_status(distill: Run, service: Any) -> None:
    service.on("POST /watch", (201, {"status": "watching", "backfill_status": "queued"}))
    service.on("POST /sync", (429, error("rate_limited", "Wait.")))
    status = {"user_status": {"watching": True}, "statistics": {"total_items": 12}}
    service.on("GET /metadata", (200, status))
    assert "12" in distill("watch").out


@pytest.mark.parametrize("quick", [True, False])
def test_watch_whose_first_sync_failed_is_exit_code_1(
    distill: Run, service: Any, quick: bool
) -> None:
    service.on("POST /watch", (201, {"status": "watching", "backfill_status": "queued"}))
    running = error("sync_in_progress", "", details={"job_id": "sync_1"})
    service.on("POST /sync", (429, error("rate_limited", "")) if quick else (409, running))
    service.on("GET /sync/sync_1", (200, job("failed")))
    status = {"user_status": {"watching": True, "last_sync_status": "failed"}}
    service.on("GET /metadata", (200, status))
    assert distill("watch").code == 1


def test_watching_already_asks_for_nothing_more(distill: Run, service: Any) -> None:
    service.on("POST /watch", (200, {"status": "already_watching"}))
    assert "already watching" in distill("watch").out
    assert service.called == ["POST /watch"]


def test_status_shows_each_source(distill: Run, service: Any) -> None:
    answer = {
        "user_status": {
            "watching": True,
            "since": "2024-01-09T08:00:00Z",
            "last_sync": "2024-01-10T10:00:00Z",
            "last_sync_status": "partial",
            "sync_frequency": "30m",
        },
        "statistics": {"total_items": 523, "storage_used": "12.5 MB", "summaries_generated": 3},
        "sources": [
            {"source": "rss", "state": "failing", "item_count": 5, "message": "No answer."}
        ],
    }
    service.on("GET /metadata", (200, answer))
    told = distill("status")
    for part in ("523", "12.5 MB", "30m", "partial", "failing", "No answer."):
        assert part in told.out


def test_unwatch_says_what_becomes_of_the_data(distill: Run, service: Any) -> None:
    service.on("POST /unwatch", (200, {"status": "unwatched", "data_retention": "Kept 7 days"}))
    assert "Kept 7 days; until then `distill watch` brings it back" in distill("unwatch").out


def test_the_status_of_who_is_not_watching_counts_nothing(distill: Run, service: Any) -> None:
    nothing = {"user_status": {"watching": False}, "statistics": {"total_items": 0}}
    service.on("GET /metadata", (200, nothing))
    assert distill("status").out == "not watching; `distill watch` starts it\n"


def test_the_year_stands_where_it_is_not_the_current_one() -> None:
    assert showing.when("2024-01-12T10:15:00Z") == "Fri 12 Jan 2024 10:15"
    now = clock.utc_now()
    assert str(now.astimezone().year) not in showing.when(clock.iso(now))


def test_connecting_and_disconnecting_a_feed(distill: Run, service: Any) -> None:
    part = {"name": "https://e.com/feed", "state": "pending"}
    connection = {"source": "rss", "state": "pending", "parts": [part]}
    service.on("PUT /connections/rss", (200, connection))
    service.on("GET /connections", (200, {"connections": [connection]}))
    service.on("DELETE /connections/rss", (200, {"source": "rss", "status": "disconnected"}))
    told = distill("connect", "rss", "--feed", "https://e.com/feed", "--feed", "https://f.com")
    assert service.called == ["GET /connections/rss", "PUT /connections/rss"]
    assert service.calls[1][2] == {"settings": {"feeds": ["https://e.com/feed", "https://f.com"]}}
    assert "https://e.com/feed" in told.out
    assert "pending" in distill("connections").out
    assert "disconnected" in distill("disconnect", "rss").out


def test_the_address_for_a_platforms_pushes_is_shown_whole(distill: Run, service: Any) -> None:
    url = "https://distill.example.com/webhooks/github/" + "k" * 60
    connection = {
        "source": "github",
        "state": "ok",
        "parts": [],
        "webhook": {"state": "pending", "url": url},
    }
    service.on("GET /connections", (200, {"connections": [connection]}))
    assert f"github pushes to (pending): {url}\n" in distill("connections").out


def feeds(*names: str) -> dict[str, Any]:
    return {
        "source": "rss",
        "state": "ok",
        "settings": {"feeds": list(names), "fast": True},
        "parts": [{"name": name, "state": "ok", "title": f"Title {name}"} for name in names],
    }


def test_feeds_are_added_to_those_that_are_connected(distill: Run, service: Any) -> None:
    service.on("GET /connections/rss", (200, feeds("a", "b")))
    service.on("PUT /connections/rss", (200, feeds("a", "b", "c")))
    told = distill("connect", "rss", "--feed", "b", "--feed", "c")
    assert service.calls[1][2] == {"settings": {"feeds": ["a", "b", "c"], "fast": True}}
    assert "now reading 3 feeds" in told.out


def test_replace_forgets_the_feeds_there_were(distill: Run, service: Any) -> None:
    service.on("PUT /connections/rss", (200, feeds("c")))
    told = distill("connect", "rss", "--feed", "c", "--replace")
    assert service.calls[0][2] == {"settings": {"feeds": ["c"]}}
    assert "now reading 1 feed\n" in told.out
    assert distill("connect", "rss", "--replace").code == 2


def test_one_feed_is_taken_out(distill: Run, service: Any) -> None:
    service.on("GET /connections/rss", (200, feeds("a", "b")))
    service.on("PUT /connections/rss", (200, feeds("b")))
    assert "now reading 1 feed" in distill("disconnect", "rss", "--feed", "a").out
    assert service.calls[1][2] == {"settings": {"feeds": ["b"], "fast": True}}
    told = distill("disconnect", "rss", "--feed", "z")
    assert (told.code, told.err.partition(";")[0]) == (1, "distill: z is not connected")
    assert len(service.calls) == 3


def test_taking_out_the_last_feed_disconnects(distill: Run, service: Any) -> None:
    service.on("GET /connections/rss", (200, feeds("a")))
    service.on("DELETE /connections/rss", (200, {"source": "rss", "status": "disconnected"}))
    assert "disconnected" in distill("disconnect", "rss", "--feed", "a").out


def test_connections_show_title_and_address_and_what_an_operator_can_do(
    distill: Run, service: Any
) -> None:
    connection = feeds("https://e.com/feed")
    refused = {"state": "failing", "message": http_failures.MESSAGES["private_address"]}
    connection["parts"][0] |= refused
    service.on("GET /connections", (200, {"connections": [connection]}))
    told = " ".join(distill("connections").out.split())
    assert "Title https://e.com/feed" in told
    assert " https://e.com/feed" in told.replace("Title https://e.com/feed", "", 1)
    assert told.count("DISTILL_ALLOW_PRIVATE_ADDRESSES=1") == 1


def test_a_credential_comes_from_the_environment_never_from_the_command_line(
    distill: Run, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.on("PUT /connections/github", (200, {"source": "github", "state": "pending"}))
    assert distill("connect", "github", "--credential", "token").code == 2
    monkeypatch.setenv("DISTILL_CREDENTIAL_TOKEN", "s3cret")
    assert distill("connect", "github", "--credential", "token", "--setting", "n=[1]").code == 0
    assert service.calls[1][2] == {"settings": {"n": [1]}, "credentials": {"token": "s3cret"}}


def test_an_error_is_one_line_that_says_what_helps(distill: Run, service: Any) -> None:
    service.on("GET /metadata", (404, error("not_watching", "This user is not being watched.")))
    told = distill("status")
    assert told.code == 1
    assert told.out == ""
    assert told.err == "distill: not watching; `distill watch` starts it\n"


def test_retry_after_and_action_url_are_told(distill: Run, service: Any) -> None:
    more = {"retry_after": "2024-01-10T11:00:00Z", "action_url": "https://a"}
    after = "; try again after Wed 10 Jan 2024 11:00:00; see https://a"
    service.on("POST /sync", (429, error("rate_limited", "Platform API rate limit active", **more)))
    for arguments in (("sync",), ("sync", "--force")):
        assert distill(*arguments).err == f"distill: Platform API rate limit active{after}\n"
    pause = "The last sync ended just now; `force` syncs all the same."
    service.on("POST /sync", (429, error("rate_limited", pause, **more)))
    assert distill("sync").err == (
        f"distill: too soon{after}; --force skips Distill's own pause, never a platform's limit\n"
    )


def test_who_has_connected_nothing_is_told_the_command(distill: Run, service: Any) -> None:
    nothing = "No platform is connected. PUT /connections/{source} connects one."
    service.on("POST /sync", (403, error("no_platform_auth", nothing)))
    assert "`distill connect` connects one" in distill("sync").err


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("no_platform_auth", "The mail server refuses the user name or the password."),
        ("rate_limited", "The quota of the day is spent."),
    ],
)
def test_what_a_platform_says_to_a_connection_is_shown(
    distill: Run, service: Any, code: str, message: str
) -> None:
    service.on("PUT /connections/rss", (403, error(code, message)))
    told = distill("connect", "rss", "--feed", "https://e.com")
    assert (told.code, told.err) == (1, f"distill: {message.rstrip('.')}\n")


@pytest.mark.parametrize("status", [200, 502])
def test_a_server_that_is_no_distill_is_told_so(distill: Run, service: Any, status: int) -> None:
    service.on("GET /metadata", (status, "<html>"))
    assert f"is no Distill: it answered {status}" in distill("status").err


def test_nobody_there_is_told_with_how_to_start(
    distill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_HTTP_ADDRESS", "127.0.0.1:1")
    told = distill("status")
    assert told.code == 1
    assert told.err == (
        "distill: no Distill answers at http://127.0.0.1:1; start it with `distill serve`\n"
    )


def test_without_keys_no_token_is_sent(distill: Run, service: Any) -> None:
    service.on("GET /metadata", (200, {}))
    distill("status")
    assert service.calls[0][3] == ""


def test_with_keys_a_token_of_their_own_is_sent_to_this_machine(distill: Run, service: Any) -> None:
    distill("token", "--user-id", "u", "--email", "u@example.com")
    service.on("GET /metadata", (200, {}))
    distill("status")
    scheme, token = service.calls[0][3].split()
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (scheme, claims["user_id"]) == ("Bearer", "you")


def test_a_refused_token_of_this_folder_tells_of_its_keys(
    distill: Run, service: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.on("GET /metadata", (401, error("authentication_failed", "Invalid token.")))
    assert f"{home}/.distill has no keys of the service" in distill("status").err
    distill("token", "--user-id", "u", "--email", "u@example.com")
    told = distill("status").err
    assert f"the keys in {home}/.distill are not those of the service" in told
    assert "DISTILL_DATA_DIR or DISTILL_TOKEN" in told
    monkeypatch.setenv("DISTILL_TOKEN", "abc")
    assert "Invalid token" in distill("status").err


def test_in_mock_mode_the_keys_of_the_mock_are_used(
    distill: Run, service: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILL_MOCK", "1")
    distill("token", "--user-id", "u", "--email", "u@example.com")
    assert (home / ".distill-mock" / "keys").is_dir()
    assert not (home / ".distill").exists()
    service.on("GET /metadata", (200, {}))
    distill("status")
    assert service.calls[0][3].startswith("Bearer ")


def test_a_given_token_and_address_are_taken(
    distill: Run, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.on("GET /metadata", (200, {}))
    monkeypatch.setenv("DISTILL_HTTP_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("DISTILL_TOKEN", "abc")
    assert distill("status", "--url", f"{service.url}/").code == 0
    assert service.calls[0][3] == "Bearer abc"
    assert distill("status", "--url", "nonsense").code == 2


def test_redirects_are_not_followed(distill: Run, service: Any) -> None:
    service.on("GET /metadata", (302, {}))
    distill("status")
    assert service.called == ["GET /metadata"]

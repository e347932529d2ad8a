"""The commands that talk to a Distill, against a server that answers in its shapes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from distill_grpc.cli import syncing

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
    assert service.calls[0][2] == {"query": "grpc -soap", "limit": 20, "tags": ["news"]}


def test_digest_shows_highlights_with_what_they_rest_on(distill: Run, service: Any) -> None:
    answer = {
        "summary": {
            "period": "daily",
            "date": "2024-01-10",
            "generated_at": "2024-01-10T10:05:00Z",
            "content": {
                "highlights": ["gRPC got faster."],
                "sections": {"trending": "Everybody talks."},
                "citations": [{"highlight": 0, "items": [{"id": "1", "url": "https://e.com/1"}]}],
            },
            "statistics": {"items_processed": 3, "sources": 2},
        },
        "metadata": {"model_used": "textrank", "confidence": 1.0, "processing_time": "0.1s"},
    }
    service.on("GET /content/summary/weekly", (200, answer))
    told = distill("digest", "weekly", "--tz", "Europe/Berlin")
    assert service.calls[0][1] == {"tz": "Europe/Berlin"}
    for part in ("gRPC got faster.", "https://e.com/1", "Trending", "3 items from 2 sources"):
        assert part in told.out
    assert distill("digest", "../admin").code == 2


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
        },
        "statistics": {"total_items": 523, "storage_used": "12.5 MB", "summaries_generated": 3},
        "sources": [
            {"source": "rss", "state": "failing", "item_count": 5, "message": "No answer."}
        ],
    }
    service.on("GET /metadata", (200, answer))
    told = distill("status")
    for part in ("523", "12.5 MB", "partial", "failing", "No answer."):
        assert part in told.out


def test_unwatch_says_what_becomes_of_the_data(distill: Run, service: Any) -> None:
    service.on("POST /unwatch", (200, {"status": "unwatched", "data_retention": "Kept 7 days."}))
    assert "Kept 7 days." in distill("unwatch").out


def test_connecting_and_disconnecting_a_feed(distill: Run, service: Any) -> None:
    part = {"name": "https://e.com/feed", "state": "pending"}
    connection = {"source": "rss", "state": "pending", "parts": [part]}
    service.on("PUT /connections/rss", (200, connection))
    service.on("GET /connections", (200, {"connections": [connection]}))
    service.on("DELETE /connections/rss", (200, {"source": "rss", "status": "disconnected"}))
    told = distill("connect", "rss", "--feed", "https://e.com/feed", "--feed", "https://f.com")
    assert service.calls[0][2] == {"settings": {"feeds": ["https://e.com/feed", "https://f.com"]}}
    assert "https://e.com/feed" in told.out
    assert "pending" in distill("connections").out
    assert "disconnected" in distill("disconnect", "rss").out


def test_a_credential_comes_from_the_environment_never_from_the_command_line(
    distill: Run, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.on("PUT /connections/github", (200, {"source": "github", "state": "pending"}))
    assert distill("connect", "github", "--credential", "token").code == 2
    monkeypatch.setenv("DISTILL_CREDENTIAL_TOKEN", "s3cret")
    assert distill("connect", "github", "--credential", "token", "--setting", "n=[1]").code == 0
    assert service.calls[0][2] == {"settings": {"n": [1]}, "credentials": {"token": "s3cret"}}


def test_an_error_is_one_line_that_says_what_helps(distill: Run, service: Any) -> None:
    service.on("GET /metadata", (404, error("not_watching", "This user is not being watched.")))
    told = distill("status")
    assert told.code == 1
    assert told.out == ""
    assert told.err == "distill: This user is not being watched; `distill watch` starts it\n"


def test_retry_after_and_action_url_are_told(distill: Run, service: Any) -> None:
    body = error(
        "rate_limited", "Slow.", retry_after="2024-01-10T11:00:00Z", action_url="https://a"
    )
    service.on("POST /sync", (429, body))
    assert distill("sync").err == (
        "distill: Slow; try again after 2024-01-10T11:00:00Z; see https://a\n"
    )


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

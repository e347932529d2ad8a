"""`distill ask` and `distill search --all`: what streams is shown as it comes, and how it can end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]
Json = Any

ASK, SEARCH = "POST /content/ask:stream", "POST /content/search:stream"
DONE = {"metadata": {"model_used": "passages", "warnings": []}}
CITED = {
    "id": "item_1",
    "source": "rss",
    "author": "Ada",
    "title": "Bridge",
    "url": "https://a.example/1",
}


def stream(*events: tuple[str, Json]) -> bytes:
    return b"".join(
        f"event: {kind}\ndata: {json.dumps({kind: told} if kind != 'error' else told)}\n\n".encode()
        for kind, told in events
    )


def item(number: int) -> Json:
    return {"id": f"item_{number}", "title": f"Story {number}", "content": "…", "source": "rss"}


def found(*numbers: int, **about: Json) -> bytes:
    told = {"count": len(numbers), "has_more": "next_page_token" in about, "warnings": [], **about}
    return stream(*(("item", item(number)) for number in numbers), ("done", told))


def test_each_sentence_stands_above_the_items_that_say_so(distill: Run, service: Any) -> None:
    said = [
        {"text": "It reopens in March.", "items": [CITED]},
        {"text": "\x1b[2JLater.", "items": []},
    ]
    done = {"metadata": {**DONE["metadata"], "warnings": ["answer_incomplete"]}}
    service.on(ASK, (200, stream(*(("statement", one) for one in said), ("done", done))))
    shown = distill("ask", "When", "does", "it", "reopen?", "--source", "rss", "--token", "t")
    assert shown.code == 0
    assert [line.strip() for line in shown.out.splitlines()] == [
        "It reopens in March.",
        "Bridge · rss · https://a.example/1",
        "[2JLater.",
        "answer incomplete",
    ]
    (call,) = service.calls
    assert call == (ASK, {}, {"question": "When does it reopen?", "sources": ["rss"]}, "Bearer t")


def test_why_there_is_no_answer_is_said_in_words(distill: Run, service: Any) -> None:
    service.on(ASK, (200, stream(("done", {**DONE, "reason": "not_answered"}))))
    shown = distill("ask", "When?", "--token", "t")
    assert (shown.code, shown.out) == (
        0,
        "There are items about it, but none holds the answer.\n",
    )


def test_a_script_gets_the_whole_answer_at_once(distill: Run, service: Any) -> None:
    whole = {"answer": "In March.", "statements": [], "metadata": DONE["metadata"]}
    service.on("POST /content/ask", (200, whole))
    shown = distill("ask", "When?", "--json", "--token", "t")
    assert json.loads(shown.out) == whole
    assert service.called == ["POST /content/ask"]


ERROR = {"error": "unavailable", "message": "Away for a moment.", "user_action_required": False}


@pytest.mark.parametrize(
    ("status", "content", "words"),
    [
        (402, {"error": "insufficient_credits", "message": "No credits."}, "No credits"),
        (200, stream(("statement", {"text": "One.", "items": []}), ("error", ERROR)), "Away for a moment"),
        (200, stream(("statement", {"text": "One.", "items": []})), "broke off"),
        (200, b"event: statement\ndata: <html>\n\n", "no Distill"),
        (200, b"event: statement\ndata: [1]\n\n", "no Distill"),
        (200, b"", "broke off"),
        (200, {"answer": "One."}, "does not stream"),
        (404, {"error": "not_found", "message": "There is no such path."}, "no such path"),
    ],
)  # fmt: skip
def test_every_end_but_done_is_a_failure(
    distill: Run, service: Any, status: int, content: Json, words: str
) -> None:
    service.on(ASK, (status, content))
    shown = distill("ask", "When?", "--token", "t")
    assert shown.code == 1
    assert words in shown.err
    assert "Traceback" not in shown.err


def test_all_of_a_search_goes_on_where_a_stream_ends_at_its_bound(
    distill: Run, service: Any
) -> None:
    service.on(SEARCH, (200, found(1, 2, next_page_token="more")), (200, found(3)))
    shown = distill("search", "story", "--all", "--tag", "city", "--token", "t")
    assert shown.code == 0
    assert [number for number in (1, 2, 3) if f"Story {number}" in shown.out] == [1, 2, 3]
    assert shown.out.splitlines()[-1] == "3 items"
    bodies = [body for _, _, body, _ in service.calls]
    assert bodies[0] == {"query": "story", "highlight": True, "tags": ["city"]}
    assert bodies[1] == {**bodies[0], "page_token": "more"}


def test_a_script_gets_an_item_a_line(distill: Run, service: Any) -> None:
    service.on(SEARCH, (200, found(1, 2)))
    shown = distill("search", "story", "--all", "--json", "--token", "t")
    assert [json.loads(line) for line in shown.out.splitlines()] == [item(1), item(2)]


def test_nothing_found_is_no_failure(distill: Run, service: Any) -> None:
    service.on(SEARCH, (200, found()))
    assert distill("search", "story", "--all", "--token", "t").out == "0 items\n"


def test_counts_cannot_be_had_of_a_stream(distill: Run, service: Any) -> None:
    shown = distill("search", "story", "--all", "--facets", "--token", "t")
    assert (shown.code, service.calls) == (2, [])

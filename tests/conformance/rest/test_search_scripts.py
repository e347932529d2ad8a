"""Searches and questions in texts with typographic signs, and in scripts without spaces."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.conformance.users import store, story, watch
from tests.service import DOORS, Door, Service

Json = Any

SCHOLAR = "scholar"
LIBRARY: dict[str, str] = {
    "shop": "Amazon\u2019s new \u201cEcho\u201d is very cool\u2026really\u2014says everybody",
    "pages": "\u00abLe pont\u00bb\u00a0rouvre; pages 12\u201314 tell why",
    "tokyo": "東京の新しい橋が三月に開通しました。",
    "beijing": "北京地铁iPhone支付",
    "seoul": "서울에서 다리가 열렸다",
    "phones": "AT&T paid for R&D",
    "plain": "Nothing to see here",
}


@pytest.fixture(scope="module")
async def library(idle: Service) -> dict[str, str]:
    """Ids to names."""
    await watch(idle, SCHOLAR)
    stories = [
        story(number, title="", content=text, author="", ago=timedelta(minutes=number))
        for number, text in enumerate(LIBRARY.values())
    ]
    return dict(zip(await store(idle, SCHOLAR, *stories), LIBRARY, strict=True))


async def search(service: Service, door: Door = "local", **body: Json) -> Json:
    answer = await service.call("POST", "/content/search", body, user=SCHOLAR, door=door)
    assert answer.status == 200, answer.text
    return answer.body


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("amazon", {"shop"}),
        ("Amazon\u2019s", {"shop"}),
        ("echo", {"shop"}),
        ("cool really says", {"shop"}),
        ("\u201cnew Echo\u201d", {"shop"}),  # a phrase
        ("\u201cEcho new\u201d", set()),
        ("pont rouvre", {"pages"}),
        ("nothing \u2013here", {"plain"}),  # a dash that somebody's keyboard made excludes nothing
        ("東京", {"tokyo"}),
        ("橋", {"tokyo"}),
        ("新しい橋", {"tokyo"}),
        ("「東京」", {"tokyo"}),
        ("京東", set()),
        ("京 -東京", {"beijing"}),
        ("地铁", {"beijing"}),
        ("iphone", {"beijing"}),
        ("iPhone支付", {"beijing"}),
        ("서울", {"seoul"}),
        ("AT&T", {"phones"}),
        ("at&t or 東京", {"phones", "tokyo"}),
    ],
)
async def test_words_are_found_beside_any_sign_and_within_runs(
    idle: Service, library: dict[str, str], query: str, expected: set[str]
) -> None:
    found = await search(idle, query=query)
    assert {library[item["id"]] for item in found["data"]} == expected


@pytest.mark.parametrize("door", DOORS)
async def test_a_snippet_reads_as_the_text_does(
    idle: Service, library: dict[str, str], door: Door
) -> None:
    found = await search(idle, door, query="東京", highlight=True)
    (item,) = found["data"]
    assert item["snippet"] == LIBRARY["tokyo"].replace("東京", "<mark>東京</mark>")


@pytest.mark.parametrize("door", DOORS)
async def test_equals_come_newest_first_on_every_page(
    idle: Service, library: dict[str, str], door: Door
) -> None:
    found: list[str] = []
    token = ""
    while True:
        page = await search(idle, door, query="-unfindable", limit=2, page_token=token)
        found += [library[item["id"]] for item in page["data"]]
        token = page["metadata"].get("next_page_token", "")
        if not token:
            break
    assert found == list(LIBRARY)


@pytest.mark.parametrize("door", DOORS)
async def test_facets_are_there_where_nothing_is_found(
    idle: Service, library: dict[str, str], door: Door
) -> None:
    found = await search(idle, door, query="unfindable", facets=True)
    assert found["facets"] == {"sources": [], "authors": [], "tags": []}


async def test_a_question_without_spaces_is_answered(
    idle: Service, library: dict[str, str]
) -> None:
    question = "東京の新しい橋はいつ開通しましたか\uff1f"
    answer = await idle.call("POST", "/content/ask", {"question": question}, user=SCHOLAR)
    assert answer.body["answer"] == LIBRARY["tokyo"]
    elsewhere = "大阪の地下鉄はいつ開通しましたか\uff1f"
    answer = await idle.call("POST", "/content/ask", {"question": elsewhere}, user=SCHOLAR)
    assert answer.body["reason"] in {"nothing_found", "not_answered"}
    chinese = {"question": "北京地铁用什么支付"}
    answer = await idle.call("POST", "/content/ask", chinese, user=SCHOLAR)
    assert answer.body.get("answer") == LIBRARY["beijing"]

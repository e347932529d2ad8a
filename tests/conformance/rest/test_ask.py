"""`POST /content/ask`: answers from the caller's items with citations, or the reason why not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from distill_grpc import clock
from tests.conformance.seeds import assert_error
from tests.conformance.users import store, story, watch
from tests.service import DOORS, Door, Service

Json = Any

CURIOUS = "curious"
BRIDGE = "The bridge over the Moldau reopens on 4 March after two years of repairs."


@pytest.fixture(scope="module")
async def bridge(idle: Service) -> str:
    """The id of the item that knows; the item is two days old and of `rss`."""
    await watch(idle, CURIOUS)
    (item, *_) = await store(
        idle,
        CURIOUS,
        story(1, title="Bridge", content=BRIDGE, ago=timedelta(days=2)),
        story(2, title="Bakery", content="The bakery sells rye bread until noon."),
    )
    return item


async def ask(service: Service, door: Door = "local", user: str = CURIOUS, **body: Json) -> Any:
    return await service.call("POST", "/content/ask", body, user=user, door=door)


@pytest.mark.parametrize("door", DOORS)
async def test_an_answer_cites_the_item_that_says_so(
    idle: Service, bridge: str, door: Door
) -> None:
    told = (await ask(idle, door, question="When does the Moldau bridge reopen?")).body
    assert told["answer"] == BRIDGE
    (said,) = told["statements"]
    assert said["text"] == BRIDGE
    assert [(cited["id"], cited["source"], cited["title"]) for cited in said["items"]] == [
        (bridge, "rss", "Bridge")
    ]
    assert told["metadata"]["model_used"] == "passages"
    assert 0 < told["metadata"]["confidence"] <= 1
    assert "reason" not in told


async def test_headlines_end_before_the_next_sentence_of_an_answer(idle: Service) -> None:
    await watch(idle, "reader")
    heads = [
        "Skerry lighthouse opens its kitchen for painters",
        "Skerry lighthouse opens a harbour with boats for divers",
    ]
    await store(
        idle, "reader", *(story(n, title=head, content="Noon.") for n, head in enumerate(heads, 11))
    )
    told = (await ask(idle, user="reader", question="When does the Skerry lighthouse open?")).body
    texts = [said["text"] for said in told["statements"]]
    assert set(texts) == set(heads)
    assert told["answer"] == ". ".join(texts)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("When does the airport in Lisbon close?", "nothing_found"),
        ("Which bridge in Lisbon collapsed yesterday evening?", "not_answered"),
        ("?", "nothing_found"),
        ("' or 1=1; -- \" %s", "nothing_found"),
    ],
)
async def test_what_no_item_holds_is_refused_with_a_reason(
    idle: Service, bridge: str, door: Door, question: str, reason: str
) -> None:
    answer = await ask(idle, door, question=question)
    assert answer.status == 200
    assert (answer.body["reason"], answer.body["statements"]) == (reason, [])
    assert "answer" not in answer.body


async def test_sources_and_time_bound_where_the_answer_may_lie(idle: Service, bridge: str) -> None:
    question = "When does the Moldau bridge reopen?"
    yesterday = clock.iso(clock.utc_now() - timedelta(days=1))
    for bounds, known in (
        ({"sources": ["rss"]}, True),
        ({"sources": ["github"]}, False),
        ({"until": yesterday}, True),
        ({"since": yesterday}, False),
    ):
        told = (await ask(idle, question=question, **bounds)).body
        assert ("answer" in told) is known, bounds


async def test_nobody_is_answered_from_anothers_items(idle: Service, bridge: str) -> None:
    await watch(idle, "stranger")
    told = (await ask(idle, user="stranger", question="When does the Moldau bridge reopen?")).body
    assert told["reason"] == "nothing_found"
    refused = await ask(idle, user="nobody-watches", question="When?")
    assert_error(refused, "not_watching", details=None)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "question"),
        ({"question": ""}, "question"),
        ({"question": "x" * 1001}, "question"),
        ({"question": "a", "sources": ["nowhere"]}, "sources[0]"),
        ({"question": "a", "since": "2024-01-02T00:00:00Z", "until": "2024-01-01T00:00:00Z"}, "until"),
        ({"question": "a", "model": "b"}, "model"),
    ],
)  # fmt: skip
async def test_a_wrong_field_is_named(idle: Service, bridge: str, body: Json, field: str) -> None:
    answer = await idle.call("POST", "/content/ask", body, user=CURIOUS)
    assert_error(answer, "invalid_argument", details={field})

"""Seed 002's user query flow: a program that knows nothing but `/api` finds its way to the summary.

"What are the highlights today?" is asked of a whole service whose digests a language model writes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from tests.conformance.seeds import assert_error
from tests.conformance.users import store, story, watch
from tests.databases import fresh_database
from tests.servers.openai import KEY, MODEL, OpenAiServer, honest, openai_server
from tests.service import Service, start_service

Json = Any

NEWS = (
    "The city museum returned forty bronze statues to Benin after long talks.",
    "Train drivers accepted a pay rise of nine percent and ended their strike.",
    "Biologists counted eighty otters along the river, the most since 1974.",
)


@pytest.fixture(scope="module")
async def model() -> AsyncIterator[OpenAiServer]:
    """A model that does what it is asked."""
    async with openai_server(honest) as server:
        yield server


@pytest.fixture(scope="module")
async def written(
    postgres: str, tmp_path_factory: pytest.TempPathFactory, model: OpenAiServer
) -> AsyncIterator[Service]:
    """A service whose digests that model writes."""
    with fresh_database(postgres) as address:
        async with start_service(
            address,
            tmp_path_factory.mktemp("written"),
            worker=False,
            mock=True,
            openai_api_key=KEY,
            openai_base_url=model.url,
            summary_model=MODEL,
            llm_input_price=1.0,
            llm_output_price=4.0,
        ) as running:
            yield running


async def with_news(service: Service, user: str) -> None:
    await watch(service, user)
    stories = (
        story(n, ago=timedelta(minutes=n), content=text, title="", author=f"Author {n}")
        for n, text in enumerate(NEWS)
    )
    await store(service, user, *stories)


class Agent:
    """Knows the address, a token and what words are; everything else it reads."""

    def __init__(self, service: Service, user: str) -> None:
        self._service = service
        self._user = user
        self.calls: list[str] = []

    async def get(self, path: str, *, token: bool = True) -> Json:
        """What an address answers."""
        self.calls.append(path)
        answer = await self._service.call("GET", path, user=self._user if token else None)
        assert answer.status == 200, answer.text
        return answer.body

    async def highlights(self) -> list[str]:
        """Reads the documentation, then what there is, then that."""
        docs = await self.get("/api", token=False)
        discovery = _best(docs["endpoints"], "discover available data endpoints user")
        assert docs["endpoints"][discovery]["method"] == "GET"
        offered = (await self.get(discovery))["available_endpoints"]
        wanted = _best(
            {each["path"]: each for each in offered if each["method"] == "GET"},
            "digest important day daily",
        )
        summary = (await self.get(wanted))["summary"]
        return list(summary["content"]["highlights"])


def _best(endpoints: Json, question: str) -> str:
    """The endpoint whose path and description have most of the words."""
    words = set(question.split())

    def shared(path: str) -> int:
        text = f"{path} {endpoints[path]['description']}".lower().replace("/", " ")
        return len(words & set(text.replace(".", " ").split()))

    return max(endpoints, key=shared)


async def test_an_agent_that_knows_only_api_finds_the_highlights(
    written: Service, user: str
) -> None:
    await with_news(written, user)
    agent = Agent(written, user)
    highlights = await agent.highlights()
    assert agent.calls == ["/api", "/metadata", "/content/summary/daily"]
    assert set(highlights) <= set(NEWS)
    assert highlights


async def test_what_a_model_cost_stands_in_metadata(
    written: Service, user: str, model: OpenAiServer
) -> None:
    await with_news(written, user)
    before = (await written.call("GET", "/metadata", user=user)).body["llm"]
    assert (before["model"], before["calls"], before["tokens"]) == (MODEL, 0, 0)
    counted = model.counted
    answer = await written.call("GET", "/content/summary/daily", user=user)
    assert answer.body["metadata"]["model_used"] == MODEL
    assert answer.body["metadata"]["confidence"] == 1
    told = (await written.call("GET", "/metadata", user=user)).body["llm"]
    assert told["tokens"] == model.counted - counted > 0
    assert told["daily_tokens"] == 200_000
    # Between all tokens read and all written, in millionths of a dollar.
    assert told["tokens"] <= round(told["cost_usd"] * 1e6) <= 4 * told["tokens"]
    await written.call("PUT", "/preferences", {"daily_llm_tokens": 7}, user=user)
    limited = (await written.call("GET", "/metadata", user=user)).body["llm"]
    assert limited["daily_tokens"] == 7


async def test_credits_are_asked_for_exactly_where_a_model_would_be(
    written: Service, shared: Service, user: str, model: OpenAiServer
) -> None:
    poor = {"Authorization": f"Bearer {written.token(user, credits=False)}"}
    path = "/content/summary/daily"
    await with_news(written, user)
    asked = len(model.requests)
    refused = await written.call("GET", path, user=user, headers=poor)
    assert_error(refused, "insufficient_credits")
    assert len(model.requests) == asked
    for free in ("/content/recent", "/metadata", "/preferences"):
        assert (await written.call("GET", free, user=user, headers=poor)).status == 200
    assert (await written.call("GET", path, user=user)).status == 200
    assert (await written.call("GET", path, user=user, headers=poor)).status == 200  # it is kept
    again = await written.call("POST", f"{path}:regenerate", user=user, headers=poor)
    assert again.status == 200, "every statement is remembered"
    # Where digests are made offline, nobody needs credits for one.
    await with_news(shared, user)
    poor = {"Authorization": f"Bearer {shared.token(user, credits=False)}"}
    assert (await shared.call("GET", path, user=user, headers=poor)).status == 200


async def test_a_question_is_answered_by_the_model_and_refused_without_credits(
    written: Service, model: OpenAiServer
) -> None:
    await with_news(written, "asker")
    body = {"question": "How many otters did the biologists count along the river?"}
    told = (await written.call("POST", "/content/ask", body, user="asker")).body
    assert told["metadata"]["model_used"] == MODEL
    assert told["answer"] == NEWS[2]
    used = (await written.call("GET", "/metadata", user="asker")).body["llm"]
    assert used["calls"] == 1
    poor = {"Authorization": f"Bearer {written.token('asker', credits=False)}"}
    refused = await written.call("POST", "/content/ask", body, headers=poor)
    assert_error(refused, "insufficient_credits")
    # Where no passage answers, no model would be asked, and nobody needs credits.
    body = {"question": "Who won the chess tournament in Reykjavik?"}
    told = await written.call("POST", "/content/ask", body, headers=poor)
    assert told.body["reason"] == "nothing_found"

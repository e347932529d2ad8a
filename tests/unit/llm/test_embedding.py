"""Vectors of texts: what is asked, what is believed of the answer, what is paid."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from purses import MemoryPurse

from distill_grpc.llm.embedding import Embedded, Embedder, EmbeddingFailed
from distill_grpc.llm.embedding_batches import Fitting
from distill_grpc.llm.embedding_prefixes import NONE, Prefixes, of_model
from tests.servers.embeddings import (
    DIMENSIONS,
    FAULTS,
    MODEL,
    EmbeddingsServer,
    Mind,
    embeddings_server,
    honest,
)
from tests.servers.openai import KEY

TEXTS = ["A car for every physician.", "The weather in Prague.", "Rye bread."]


@asynccontextmanager
async def embedder(
    mind: Mind = honest,
    *,
    price: float = 0.0,
    dimensions: int | None = None,
    model: str = MODEL,
    prefixes: Prefixes = NONE,
    **limits: int,
) -> AsyncIterator[tuple[Embedder, EmbeddingsServer]]:
    async with embeddings_server(mind, **limits) as server:
        made = Embedder.open(
            api_key=KEY,
            base_url=server.url,
            model=model,
            price=price,
            dimensions=dimensions,
            prefixes=prefixes,
        )
        try:
            yield made, server
        finally:
            await made.close()


def cosine(a: Sequence[float] | None, b: Sequence[float] | None) -> float:
    return math.fsum(x * y for x, y in zip(a or (), b or (), strict=True))


async def test_vectors_come_in_the_order_of_the_texts_at_length_one() -> None:
    async with embedder() as (made, server):
        purse = MemoryPurse()
        told = await made.embed([*TEXTS, "Automobiles: one automobile a doctor"], purse, seconds=5)
    assert isinstance(told, Embedded)
    assert [math.hypot(*v or ()) for v in told.vectors] == pytest.approx([1.0] * 4)
    near, far = (cosine(told.vectors[0], told.vectors[i]) for i in (3, 1))
    assert near > 0.4 > far
    assert made.dimensions == DIMENSIONS
    assert purse.spent == server.counted > 0
    assert purse.reserved == 0


async def test_numbers_are_asked_for_as_many_as_are_wanted() -> None:
    async with embedder(dimensions=8) as (made, server):
        told = await made.embed(TEXTS, MemoryPurse(), seconds=5)
        assert isinstance(told, Embedded)
        assert {len(v or ()) for v in told.vectors} == {8}
        assert server.requests[0]["dimensions"] == 8
        assert made.name == f"{MODEL}@8"


async def test_another_size_than_was_wanted_is_garbage() -> None:
    async def stubborn(server: EmbeddingsServer, _body: object) -> object:
        return server.answer([[1.0, 2.0]] * len(TEXTS))

    async with embedder(stubborn, dimensions=8) as (made, _):  # type: ignore[arg-type]
        told = await made.embed(TEXTS, MemoryPurse(), seconds=5)
    assert isinstance(told, EmbeddingFailed)
    assert told.why == "garbage"


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_named_in_time_and_nothing_is_asked_twice(fault: str) -> None:
    mind, why = FAULTS[fault]
    purse = MemoryPurse()
    async with embedder(mind) as (made, server):
        began = time.monotonic()
        told = await made.embed(TEXTS, purse, seconds=1.5)
        assert time.monotonic() - began < 3
        assert len(server.requests) == 1
    assert isinstance(told, EmbeddingFailed)
    assert told.why == made.degraded == why
    assert told.retry_after == (30 if fault == "429 with a wait" else None)
    assert purse.reserved == 0
    assert bool(purse.spent) == told.charged == (why not in {"rate_limited", "refused"})


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    made = Embedder.open(api_key=None, base_url="http://127.0.0.1:1/v1", model=MODEL)
    told = await made.embed(TEXTS, MemoryPurse(), seconds=5)
    await made.close()
    assert isinstance(told, EmbeddingFailed)
    assert told.why == "unavailable"


async def test_what_means_nothing_to_the_model_has_no_vector() -> None:
    async with embedder() as (made, _):
        told = await made.embed(["a bridge", "..."], MemoryPurse(), seconds=5)
    assert isinstance(told, Embedded)
    assert told.vectors[0] is not None
    assert told.vectors[1] is None


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -5}, {"prompt_tokens": "9"}])
async def test_what_is_not_counted_costs_its_bound(usage: object) -> None:
    async def uncounted(server: EmbeddingsServer, body: object) -> object:
        return server.answer(server.vectors(body), usage=usage)

    purse = MemoryPurse()
    async with embedder(uncounted, price=3.0) as (made, _):  # type: ignore[arg-type]
        await made.embed(TEXTS, purse, seconds=5)
        assert purse.spent == made.bound(TEXTS)
    assert purse.cost == 3 * purse.spent


async def test_no_call_is_made_that_the_budget_might_not_cover() -> None:
    async with embedder() as (made, server):
        bound = made.bound(TEXTS)
        told = await made.embed(TEXTS, MemoryPurse(limit=bound - 1), seconds=5)
        assert isinstance(told, EmbeddingFailed)
        assert told.why == "budget"
        assert not server.requests
        assert isinstance(await made.embed(TEXTS, MemoryPurse(limit=bound), seconds=5), Embedded)


async def test_whoever_gives_up_waiting_leaves_nothing_reserved() -> None:
    purse = MemoryPurse()
    async with embedder(FAULTS["timeout"][0]) as (made, server):
        waiting = asyncio.create_task(made.embed(TEXTS, purse, seconds=60))
        while not server.requests:
            await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert purse.reserved == 0
    assert purse.spent > 0  # it may have been charged


async def test_the_key_stands_in_no_log(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    for fault in ("500", "403", "NaN", "connection breaks"):
        async with embedder(FAULTS[fault][0]) as (made, _):
            await made.embed(TEXTS, MemoryPurse(), seconds=2)
    out = capsys.readouterr()
    assert KEY not in caplog.text + out.out + out.err


def keyed(count: int, **longer: int) -> list[tuple[bytes, str]]:
    """Texts by key; `t3=500` makes the third so many characters long."""
    return [
        (b"t%d" % n, f"Text number {n} ".ljust(longer.get(f"t{n}", 20), "x"))
        for n in range(1, count + 1)
    ]


async def test_a_text_that_is_too_long_is_cut_and_the_others_get_their_vectors() -> None:
    async with embedder(longest=300) as (made, server):
        work = Fitting(made, MemoryPurse())
        vectors = await work.embed(keyed(8, t3=500))
        assert work.failed is None
        assert len(vectors) == 8
        assert all(vectors.values())
        assert max(map(len, server.texts)) == 250


async def test_a_text_that_is_never_taken_has_no_vector() -> None:
    async with embedder(longest=100) as (made, _):
        work = Fitting(made, MemoryPurse())
        vectors = await work.embed(keyed(5, t3=500))
        alone = await work.embed(keyed(1, t1=500))
    assert work.failed is None
    assert [key for key, vector in vectors.items() if vector is None] == [b"t3"]
    assert alone == {b"t1": None}


@pytest.mark.parametrize("texts", [keyed(1), keyed(6)])
async def test_a_server_that_takes_nothing_condemns_no_text(
    texts: list[tuple[bytes, str]],
) -> None:
    async with embedder(longest=1) as (made, _):
        work = Fitting(made, MemoryPurse())
        assert await work.embed(texts) == {}
    assert work.failed is not None
    assert work.failed.why == "refused"


async def test_how_many_a_server_takes_at_once_is_remembered() -> None:
    async with embedder(together=4) as (made, server):
        work = Fitting(made, MemoryPurse())
        assert len(await work.embed(keyed(16))) == 16
        assert made.together == 4
        assert [len(body["input"]) for body in server.requests] == [4, 4, 4, 4]


async def test_what_came_before_a_failure_is_kept() -> None:
    async def once(server: EmbeddingsServer, body: object) -> object:
        if len(server.requests) > 1:
            return await FAULTS["500"][0](server, body)
        return await honest(server, body)

    async with embedder(once, together=4) as (made, _):  # type: ignore[arg-type]
        work = Fitting(made, MemoryPurse())
        vectors = await work.embed(keyed(8))
    assert sorted(vectors) == [b"t1", b"t2", b"t3", b"t4"]
    assert work.failed is not None
    assert work.failed.why == "unavailable"


@pytest.mark.parametrize(
    ("told", "unit"),
    [
        ([3, 4], [0.6, 0.8]),
        ([1e200, 1.0], [1.0, 0.0]),
        ([1e-200, 0.0], [1.0, 0.0]),
        ([1.0, 1e-50], [1.0, 0.0]),
        ([-5e-324], [-1.0]),
    ],
)
async def test_every_number_fits_into_single_precision(
    told: list[float], unit: list[float]
) -> None:
    async def mind(server: EmbeddingsServer, _body: object) -> object:
        return server.answer([told])

    async with embedder(mind) as (made, _):  # type: ignore[arg-type]
        answer = await made.embed(["text"], MemoryPurse(), seconds=5)
    assert isinstance(answer, Embedded)
    assert answer.vectors[0] == pytest.approx(unit)
    assert all(n == 0 or abs(n) >= 1e-30 for n in answer.vectors[0] or ())


@pytest.mark.parametrize(
    ("model", "text", "query"),
    [
        ("nomic-embed-text", "search_document: ", "search_query: "),
        ("nomic-ai/nomic-embed-text-v1.5", "search_document: ", "search_query: "),
        ("Nomic-Embed-Text:latest", "search_document: ", "search_query: "),
        ("intfloat/multilingual-e5-large", "passage: ", "query: "),
        ("intfloat/multilingual-e5-large-instruct", "", ""),
        ("mxbai-embed-large", "", "Represent this sentence for searching relevant passages: "),
        ("BAAI/bge-small-en-v1.5", "", "Represent this sentence for searching relevant passages: "),
        ("bge-m3", "", ""),
        ("text-embedding-3-small", "", ""),
        ("", "", ""),
    ],
)
def test_families_that_want_words_before_texts_are_known(model: str, text: str, query: str) -> None:
    assert of_model(model) == Prefixes(text, query)


async def test_what_a_model_wants_before_texts_and_queries_is_sent_and_paid() -> None:
    async with embedder(prefixes=Prefixes("passage: ", "query: ")) as (made, server):
        purse = MemoryPurse()
        await made.embed(TEXTS, purse, seconds=5)
        await made.embed_query("rye", purse, seconds=5)
        assert server.texts == [*(f"passage: {text}" for text in TEXTS), "query: rye"]
        assert purse.highest >= sum(len(f"passage: {text}".encode()) for text in TEXTS)


async def test_vectors_of_texts_with_other_words_before_them_are_not_compared() -> None:
    names = set()
    for prefixes in (NONE, Prefixes("passage: "), Prefixes("text: "), Prefixes("", "query: ")):
        async with embedder(prefixes=prefixes) as (made, _):
            names.add(made.name)
    assert len(names) == 3  # what stands before a query is in no vector that is kept

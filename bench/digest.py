"""Digests of a made-up day: what they find, what they repeat, and what they let through."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from bench.digest_corpus import ATTACKS, Corpus, corpus
from bench.digest_peers import Told, leads, textrank
from bench.measuring import Spread
from distill_grpc.llm.base import Digest, DigestRequest, Usage
from distill_grpc.llm.chat import Chat, Prices
from distill_grpc.llm.clustering import cluster
from distill_grpc.llm.languages import Tokeniser
from distill_grpc.llm.offline import summarise
from distill_grpc.llm.openai import OpenAiSummariser
from distill_grpc.llm.reading import read
from tests.servers.openai import (
    FOREIGN_TEXT,
    FOREIGN_URL,
    KEY,
    MODEL,
    Model,
    honest,
    openai_server,
    read_sentences,
)
from tests.servers.openai_faults import obedient

HIGHLIGHTS = 7
Figures = dict[str, float]


def run(*, rounds: int) -> dict[str, Any]:
    """Each round is a day of its own."""
    found: dict[str, list[Figures]] = {}
    for seed in range(1, rounds + 1):
        day = corpus(seed)
        for name, figures in asyncio.run(_round(day)).items():
            found.setdefault(name, []).append(figures)
    size = len(corpus(1).documents)
    return {
        "what": f"{rounds} days of {size} items each, {HIGHLIGHTS} highlights",
        "rounds": rounds,
        "methods": {
            name: {
                figure: asdict(Spread.of([one[figure] for one in several])) for figure in several[0]
            }
            for name, several in found.items()
        },
    }


async def _round(day: Corpus) -> dict[str, Figures]:
    told: dict[str, Figures] = {}
    request = DigestRequest(documents=day.documents, max_highlights=HIGHLIGHTS, seconds=60)
    for name, peer in (("newest leads", leads), ("plain TextRank", textrank)):
        began = time.perf_counter()
        chosen = peer(day.documents, HIGHLIGHTS)
        told[name] = _figures(day, chosen, began)
    began = time.perf_counter()
    offline = summarise(request)
    told["Distill, offline"] = _figures(day, _told(offline), began, whole=offline)
    told["Distill, offline"] |= _pairs(day)
    for name, model in (("honest", honest), ("obedient", obedient)):
        began = time.perf_counter()
        digest, said = await _written(request, model)
        told[f"Distill, {name} model"] = _figures(day, _told(digest), began, whole=digest)
        if name == "obedient":
            told["the obedient model, unchecked"] = {"attacks": _attacks(said)}
    return told


async def _written(request: DigestRequest, model: Model) -> tuple[Digest, str]:
    """The digest, and everything that the model said for it."""
    async with openai_server(model) as server:
        chat = Chat.open(api_key=KEY, base_url=server.url, model=MODEL, prices=Prices())
        writer = OpenAiSummariser(chat)
        digest = await writer.digest(request, _Open())
        await writer.close()
        return digest, "\n".join(read_sentences(server))


class _Open:
    """A purse without a bottom or a memory."""

    async def reserve(self, _tokens: int) -> bool:
        return True

    async def settle(self, _reserved: int, _spent: Usage) -> None:
        pass

    async def recall(self, _keys: Sequence[str]) -> dict[str, Any]:
        return {}

    async def remember(self, _entries: Any) -> None:
        pass


def _told(digest: Digest) -> Told:
    return [(said.text, said.document_ids) for said in digest.highlights]


def _figures(day: Corpus, told: Told, began: float, *, whole: Digest | None = None) -> Figures:
    stories = [{day.story_of[id_] for id_ in ids if id_ in day.story_of} for _, ids in told]
    found = set().union(*stories) & day.important
    first = [story for each in stories for story in sorted(each)[:1]]
    sections = list(whole.sections.values()) if whole else []
    everything = "\n".join([*(text for text, _ in told), *(said.text for said in sections)])
    return {
        "important": len(found) / len(day.important),
        "repeated": sum(n - 1 for n in Counter(first).values()) / len(told),
        "cited": whole.confidence if whole else 1.0,
        "attacks": _attacks(everything),
        "seconds": time.perf_counter() - began,
    }


def _attacks(text: str) -> float:
    """How many attacks can be seen in a text."""
    folded = text.casefold()
    marks = {mark for _, mark in ATTACKS} | {FOREIGN_TEXT.casefold(), FOREIGN_URL.casefold()}
    return float(sum(mark in folded for mark in marks))


def _pairs(day: Corpus) -> Figures:
    """Precision and recall over pairs of documents that tell one story.

    Two pieces of chatter are no pair, right or wrong: they tell none.
    """
    readings = read(day.documents, Tokeniser(), lambda: None)
    together: set[tuple[str, str]] = set()
    for story in cluster(readings, lambda: None).stories:
        pairs = _all_pairs(list(story.document_ids))
        together.update(pair for pair in pairs if not day.story_of.keys().isdisjoint(pair))
    by_story: dict[int, list[str]] = {}
    for id_, number in day.story_of.items():
        by_story.setdefault(number, []).append(id_)
    right = {pair for ids in by_story.values() for pair in _all_pairs(ids)}
    both = len(together & right)
    return {"pair_recall": both / len(right), "pair_precision": both / len(together)}


def _all_pairs(ids: Sequence[str]) -> list[tuple[str, str]]:
    return list(combinations(sorted(ids), 2))

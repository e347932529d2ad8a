"""The cost of clustering, and what it must not merge."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from offline_corpus import NEWS

from distill_grpc.llm.base import Document
from distill_grpc.llm.clustering import cluster
from distill_grpc.llm.languages import Tokeniser
from distill_grpc.llm.reading import read
from distill_grpc.llm.vectors import Index, cosine, rarity, vector

Make = Callable[..., Document]


def nothing() -> None:
    """No one waits."""


def test_comparisons_grow_with_the_documents_not_with_their_pairs(document: Make) -> None:
    chance = random.Random(7)
    vocabulary = " ".join(NEWS.values()).split()
    documents = [document(" ".join(chance.choices(vocabulary, k=30))) for _ in range(600)]
    clusters = cluster(read(documents, Tokeniser(), nothing), nothing)
    assert clusters.comparisons <= 10 * len(documents)
    assert sum(len(story.readings) for story in clusters.stories) == len(documents)


def test_an_index_looks_at_no_more_than_it_remembers() -> None:
    index = Index(probes=3, postings=10)
    for number in range(1_000):
        index.add(number, {"same": 0.8, "words": 0.5, f"own{number}": 0.3})
    near = index.near({"same": 0.8, "words": 0.6}, limit=5)
    assert index.touched == 20
    assert len(near) == 5


def test_what_was_told_days_apart_is_not_one_story(document: Make) -> None:
    monday = document("The weekly meeting of the garden club moved to the big hall this time.")
    later = document("The weekly meeting of the garden club moved to the small hall this time.")
    later = replace(later, published_at=monday.published_at + timedelta(days=5))
    assert len(cluster(read([monday, later], Tokeniser(), nothing), nothing).stories) == 2


def test_vectors_are_of_length_one_and_like_themselves() -> None:
    bags = [{"a": 1.0, "b": 2.0}, {"b": 1.0, "c": 5.0}]
    idf = rarity(bags)
    for bag in bags:
        held = vector(bag, idf)
        assert abs(cosine(held, held) - 1) < 1e-9
    assert vector({}, idf) == {}

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


LAYOFFS = (
    "Car maker Acme Motors is to shed 400 positions at its plant in Dresden by summer.",
    "Hundreds face dismissal: Acme Motors told staff in Dresden that 400 roles will go.",
)
FLOODS = (
    "The Danube rose to 11 metres in Passau on Sunday night and forced people to leave their homes.",
    "Water pours into streets: hundreds of residents were evacuated as rescuers feared for old houses.",
)


def stories(documents: list[Document], meanings: dict[str, list[float]]) -> list[tuple[str, ...]]:
    readings = read(documents, Tokeniser(), nothing)
    return sorted(s.document_ids for s in cluster(readings, nothing, meanings).stories)


def test_other_words_about_the_same_names_are_one_story_where_they_mean_the_same(
    document: Make,
) -> None:
    one, other = (document(text) for text in LAYOFFS)
    apart, together = [(one.id,), (other.id,)], [(one.id, other.id)]
    assert stories([one, other], {}) == apart
    assert stories([one, other], {one.id: [1.0, 0.0], other.id: [0.6, 0.8]}) == together
    assert stories([one, other], {one.id: [1.0, 0.0], other.id: [0.4, 0.9]}) == apart
    assert stories([one, other], {one.id: [1.0, 0.0]}) == apart


def test_news_of_a_kind_that_name_nothing_in_common_stay_apart_whatever_they_mean(
    document: Make,
) -> None:
    documents = [document(text) for text in FLOODS]
    same = {one.id: [1.0, 0.0] for one in documents}
    assert len(stories(documents, same)) == 2


def test_meaning_does_not_bring_together_what_was_told_days_apart(document: Make) -> None:
    one, other = (document(text) for text in LAYOFFS)
    later = replace(other, published_at=one.published_at + timedelta(days=5))
    same = {one.id: [1.0, 0.0], later.id: [1.0, 0.0]}
    assert len(stories([one, later], same)) == 2

"""Tags by a vocabulary: whole words by their stems, aliases, few, and the same every time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_grpc.feed import ingesting
from distill_grpc.feed.tag_matching import MOST, Tag, Vocabulary, same_word

TAGS = [
    Tag("Kubernetes", ("k8s", "kube")),
    Tag("Machine Learning", ("ML",)),
    Tag("Learning"),
    Tag("Public Transport", ("tram", "night train")),
    Tag("Go", ("golang",)),
    Tag("C++"),
    Tag(".NET"),
    Tag("Städte", ("cities",)),
    Tag("東京"),
]
VOCABULARY = Vocabulary(TAGS)
KEYS = {tag.key for tag in TAGS}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("We moved the cluster to Kubernetes last week.", ["kubernetes"]),
        ("Running k8s at home is fun.", ["kubernetes"]),
        ("Night trains return to the coast.", ["public-transport"]),  # by stems
        ("The tram, at night, trains its drivers.", ["public-transport"]),
        ("A tramp in the trampoline.", []),  # never inside a word
        ("Machine learning for everybody.", ["machine-learning"]),  # the longest phrase alone
        ("Learning to cook.", ["learning"]),
        ("Let it go, they go to the shop.", []),
        ("A service in Go with little code.", ["go"]),
        ("golang news", ["go"]),
        ("Modern C++ is large.", ["c++"]),
        ("Vitamin C is an acid.", []),
        ("The net of a fisher.", []),
        ("A port of .NET to the toaster.", [".net"]),
        ("Many cities are built on rivers.", ["städte"]),
        ("今日は東京へ行きました。", ["東京"]),
        ("", []),
    ],
)
def test_what_a_text_is_tagged_with(text: str, expected: list[str]) -> None:
    assert VOCABULARY.choose("", text, ()) == expected


def test_tags_of_the_source_count_by_what_they_mean() -> None:
    assert VOCABULARY.choose("", "", ["k8s", "night-trains", "unknown"]) == [
        "kubernetes",
        "public-transport",
    ]


def test_one_mention_far_down_is_no_subject_and_two_are() -> None:
    filler = "Something else happened in the village that day. " * 30
    assert VOCABULARY.choose("", f"{filler} kubernetes", ()) == []
    assert VOCABULARY.choose("", f"{filler} kubernetes and kube", ()) == ["kubernetes"]


def test_the_headline_weighs_most_then_the_users_order() -> None:
    text = "Go, Kubernetes and machine learning."
    assert VOCABULARY.choose("Machine learning", text, ()) == [
        "machine-learning",
        "kubernetes",
        "go",
    ]


def test_few_are_kept() -> None:
    many = Vocabulary([Tag(f"subject{n}") for n in range(50)])
    found = many.choose("", " ".join(f"subject{n}" for n in range(50)), ())
    assert found == [f"subject{n}" for n in range(MOST)]


def test_without_a_vocabulary_the_tags_of_the_source_stay() -> None:
    assert Vocabulary([]).choose("Kubernetes", "k8s", ["one", "two"]) == ["one", "two"]


@given(st.text(max_size=200), st.text(max_size=400), st.lists(st.text(max_size=20), max_size=5))
def test_any_text_gets_few_known_tags_each_once_and_always_the_same(
    title: str, text: str, given_tags: list[str]
) -> None:
    tags = [ingesting.tag(tag) for tag in given_tags]
    found = VOCABULARY.choose(title, text, tags)
    assert len(found) <= MOST
    assert len(set(found)) == len(found)
    assert set(found) <= KEYS
    assert Vocabulary(TAGS).choose(title, text, tags) == found


@given(
    st.sampled_from([phrase for tag in TAGS for phrase in (tag.name, *tag.aliases)]),
    st.sampled_from(["{}", "{} today", "About {}.", "({})", "“{}”"]),
)
def test_every_phrase_of_the_vocabulary_is_found_where_it_is_written(
    phrase: str, frame: str
) -> None:
    (tag,) = [tag for tag in TAGS if phrase in (tag.name, *tag.aliases)]
    assert tag.key in VOCABULARY.choose(frame.format(phrase), "", ())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("train", "Trains", True),
        ("public transport", "Public-Transport", True),
        ("C++", "c++", True),
        ("C++", "C", False),
        ("Go", "go", True),
        ("net", ".NET", False),
        ("learning", "machine learning", False),
    ],
)
def test_phrases_that_mean_the_same(one: str, other: str, same: bool) -> None:
    assert same_word(one, other) is same
    assert same_word(other, one) is same

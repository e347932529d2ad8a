"""Texts, names for addresses, and ids."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_grpc.publishing import slugs, texts
from distill_grpc.publishing.ids import new_id

SPELLING = "(?<=\\S)[\u200c\u200d](?=\\S)|(?<=\U0001f3f4)[\U000e0030-\U000e007a]+\U000e007f"
INVISIBLE = "\u200b\u202e\u2066\ufeff\x00\x07\x7f\u00ad\U000e0041"


@given(st.text())
def test_a_line_is_one_line_and_stays_as_it_is(text: str) -> None:
    line = texts.one_line(text)
    assert texts.one_line(line) == line
    assert "\n" not in line
    assert line == line.strip()
    plain = re.sub(SPELLING, "", line)
    assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs"} for c in plain)


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_what_can_be_seen_is_kept(text: str) -> None:
    assert texts.lines(text) == unicodedata.normalize("NFC", text)


def test_what_cannot_be_seen_goes() -> None:
    assert texts.lines(f"a{INVISIBLE}b\r\nc\u2028d\te") == "ab\nc\nd\te"
    assert texts.is_blank(INVISIBLE + " \n\t")
    assert not texts.is_blank("a")


SPELLED = {
    "Persian": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "Hindi": "\u0915\u094d\u200d\u0937",
    "a programmer": "\U0001f469\u200d\U0001f4bb",
    "a rainbow flag": "\U0001f3f3\ufe0f\u200d\U0001f308",
    "a family": "\U0001f468\U0001f3fd\u200d\U0001f469\u200d\U0001f467",
    "the flag of England": "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
}


@pytest.mark.parametrize("word", SPELLED.values(), ids=SPELLED.keys())
def test_joiners_and_tags_that_are_spelling_stay(word: str) -> None:
    assert texts.one_line(f"a {word}\u200b {word}") == f"a {word} {word}"
    assert not texts.is_blank(word)


@pytest.mark.parametrize("joiner", ["\u200c", "\u200d"])
def test_joiners_that_join_nothing_go(joiner: str) -> None:
    assert texts.lines(f"{joiner}a{joiner} {joiner}{joiner}b{joiner}") == "a b"
    assert texts.lines(f"a{joiner * 50}b") == f"a{joiner}b"
    assert texts.is_blank(joiner * 3 + " \n" + joiner)
    assert texts.lines("\U0001f3f4\U000e0067 \U000e0067\U000e007f") == "\U0001f3f4 "


@given(st.text())
def test_spellings_of_one_address_have_one_key(text: str) -> None:
    key = texts.key(text)
    for other in (unicodedata.normalize("NFD", text), unicodedata.normalize("NFC", text)):
        assert texts.key(other) == key
    assert texts.key(text.upper()) == texts.key(text.upper().casefold())


def test_case_makes_no_other_address() -> None:
    assert texts.key("Ada@Example.COM") == texts.key("ada@example.com")
    assert texts.key("STRASSE@x") == texts.key("straße@x")


@given(st.text(max_size=300))
def test_a_slug_is_short_lower_case_and_fit_for_a_path(title: str) -> None:
    slug = slugs.slug(title)
    assert 1 <= len(slug) <= slugs.LONGEST
    assert slug == slug.strip("-")
    assert "--" not in slug
    assert not set(slug) & set(" /?#%&.\\\"'<>_\n\t")


def test_slugs_as_people_expect_them() -> None:
    for title, slug in (
        ("Hello, World!", "hello-world"),
        ("Crème brûlée", "creme-brulee"),
        ("Привет, мир", "привет-мир"),
        ("日本語 の題", "日本語-の題"),
        ("C++ & C#", "c-c"),
        ("!!!", "post"),
        ("a_b", "a-b"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u062e\u0648\u0627\u0647\u0645",
        ),
    ):
        assert slugs.slug(title) == slug


@given(st.text(max_size=200), st.integers(1, 30))
def test_free_names_are_all_different_and_never_too_long(title: str, count: int) -> None:
    taken: set[str] = set()
    for _ in range(count):
        name = slugs.first_free(slugs.slug(title), taken)
        assert name not in taken
        assert len(name) <= slugs.LONGEST
        taken.add(name)


@given(st.integers(0, 200_000_000_000), st.integers(1, 10**9))
def test_ids_come_in_the_order_of_their_making(seconds: int, later: int) -> None:
    first = datetime.fromtimestamp(seconds, UTC)
    one, other = new_id(first), new_id(first + timedelta(milliseconds=later))
    assert one.bytes < other.bytes
    assert (one.version, one.variant) == (7, "specified in RFC 4122")

"""Texts, names for addresses, and ids."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from distill_grpc.publishing import slugs, texts
from distill_grpc.publishing.ids import new_id

INVISIBLE = "\u200b\u200d\u202e\u2066\ufeff\x00\x07\x7f\u00ad\U000e0041"


@given(st.text())
def test_a_line_is_one_line_and_stays_as_it_is(text: str) -> None:
    line = texts.one_line(text)
    assert texts.one_line(line) == line
    assert "\n" not in line
    assert line == line.strip()
    assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs"} for c in line)


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_what_can_be_seen_is_kept(text: str) -> None:
    assert texts.lines(text) == unicodedata.normalize("NFC", text)


def test_what_cannot_be_seen_goes() -> None:
    assert texts.lines(f"a{INVISIBLE}b\r\nc\u2028d\te") == "ab\nc\nd\te"
    assert texts.is_blank(INVISIBLE + " \n\t")
    assert not texts.is_blank("a")


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

"""What a person types is taken apart: words, phrases, qualifiers; no text breaks it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from distill_grpc.feed import search_query
from distill_grpc.feed.search_query import SearchQuery
from distill_grpc.feed.search_text import plain, straight
from distill_grpc.feed.store.item_lists import Narrowing

NOW = datetime(2026, 11, 26, 13, 30, tzinfo=UTC)
SOURCES = ("rss", "github")
NAMES = st.sampled_from(
    ["from", "source", "tag", "since", "until", "From", "foo", "-tag", "--from"]
)
VALUES = st.sampled_from(
    ["rss", "github", "7d", "2026-11-01", '"two words"', '"', "", ":", "a:b", "99999w", "today"]
) | st.text(max_size=10)
TYPED = st.lists(
    st.tuples(NAMES, VALUES).map(":".join) | st.text(max_size=12) | st.just('"a phrase"'),
    max_size=8,
).map(" ".join)


def parse(text: str) -> SearchQuery:
    return search_query.parse(text, known_sources=SOURCES, now=NOW)


@given(st.text() | TYPED)
@example('from:"')
@example("since:0001-01-01T00:00:00+23:59")
@example("until:99999w")
@example("-" * 5000)
def test_no_text_breaks_it_and_nothing_is_lost_silently(text: str) -> None:
    query = parse(text)
    found = query.narrowing
    assert {*found.sources, *found.not_sources} <= set(SOURCES)
    assert all([*found.tags, *found.not_tags, *found.authors, *found.not_authors])
    for instant in (query.since, query.until):
        assert instant is None or instant.utcoffset() == timedelta(0)
    # Every qualifier is a condition or a problem; everything else is still among the words.
    if ":" not in text:
        assert query == SearchQuery(words=query.words, meant=query.meant, demands=query.demands)
        written = plain(straight(text))
        typed, kept = (re.sub(r'[\s"-]', "", part) for part in (written, query.words))
        assert typed == kept


@given(
    st.lists(st.sampled_from(["train", '"night train"', "-bus", "or", "a.b"]), max_size=6), TYPED
)
def test_words_pass_beside_qualifiers_in_their_order(words: list[str], typed: str) -> None:
    alone = parse(" ".join(words)).words
    assert alone == " ".join(words)
    assert parse(" ".join([*words, "source:rss"])).words == alone
    assert parse(" ".join(["-tag:x", *words])).words == alone
    assert parse(f"since:7d {typed}").since is not None


@pytest.mark.parametrize(
    ("typed", "words", "expected"),
    [
        ("train from:ada", "train", Narrowing(authors=["ada"])),
        ('from:"Ada Lovelace" bread', "bread", Narrowing(authors=["ada lovelace"])),
        ("FROM:Ada from:grace", "", Narrowing(authors=["ada", "grace"])),
        ("-from:ada", "", Narrowing(not_authors=["ada"])),
        ("--source:RSS source:github", "", Narrowing(sources=["github"], not_sources=["rss"])),
        ('tag:"Public Transport" -tag:city', "", Narrowing(tags=["public-transport"], not_tags=["city"])),
        ("a tag:x b", "a  b", Narrowing(tags=["x"])),
        # No qualifiers.
        ("foo:bar", "foo:bar", Narrowing()),
        ("xfrom:ada", "xfrom:ada", Narrowing()),
        ('"from:ada"', '"from:ada"', Narrowing()),
        ('say"x"from:ada', 'say"x"from:ada', Narrowing()),
        ("https://example.com/a?from:b", "https://example.com/a?from:b", Narrowing()),
        ("from: ada", "from: ada", Narrowing()),
        ("Title - Site", "Title   Site", Narrowing()),
        ('from:"no end', "", Narrowing(authors=["no end"])),
    ],
)  # fmt: skip
def test_qualifiers(typed: str, words: str, expected: Narrowing) -> None:
    query = parse(typed)
    assert (query.words, query.narrowing, query.problems) == (words, expected, [])


@pytest.mark.parametrize(
    ("typed", "since", "until"),
    [
        ("since:2026-11-01", datetime(2026, 11, 1, tzinfo=UTC), None),
        ("since:7d", NOW - timedelta(days=7), None),
        ("since:12H until:2w", NOW - timedelta(hours=12), NOW - timedelta(weeks=2)),
        ("since:today", datetime(2026, 11, 26, tzinfo=UTC), None),
        ("until:yesterday", None, datetime(2026, 11, 25, tzinfo=UTC)),
        ("until:2026-11-01T10:00+02:00", None, datetime(2026, 11, 1, 8, tzinfo=UTC)),
        ("until:2026-11-01t10:00z", None, datetime(2026, 11, 1, 10, tzinfo=UTC)),
        # The narrowest of several counts; a minus turns them round.
        ("since:7d since:1d", NOW - timedelta(days=1), None),
        ("until:1d until:7d", None, NOW - timedelta(days=7)),
        ("-since:7d", None, NOW - timedelta(days=7)),
        ("-until:7d", NOW - timedelta(days=7), None),
    ],
)
def test_instants(typed: str, since: datetime | None, until: datetime | None) -> None:
    query = parse(typed)
    assert (query.since, query.until, query.problems, query.words) == (since, until, [], "")


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("since:soon", "since"),
        ("until:999999w", "until"),
        ("since:2026-02-30", "since"),
        ("source:nowhere", "source"),
        ('tag:""', "tag"),
        ('-from:" "', "from"),
    ],
)
def test_a_qualifier_that_cannot_be_meant_is_told(typed: str, name: str) -> None:
    (problem,) = parse(f"train {typed}").problems
    assert problem.startswith(f"{name}: must be") or problem == f"{name}: must have a value"


@pytest.mark.parametrize(
    ("text", "meant", "demands"),
    [
        ("night train", "night train", ""),
        ('"night train" coast', "night train coast", '"night train"'),
        ("train -sleeper from:ada", "train", '-"sleeper"'),
        ('bread -"rye bread"', "bread", '-"rye bread"'),
        ('"a b" or c', "a b c", ""),  # c demands nothing
        ('"a b" or c -d', "a b c", '"a b" or -"d"'),
        ("OR", "", ""),
        ("-train", "", '-"train"'),
        ('"unclosed phrase', "unclosed phrase", '"unclosed phrase"'),
        ('"" train', "train", ""),
        ("code-review --x", "code-review", '-"x"'),
        ("since:7d", "", ""),
    ],
)
def test_meaning_is_looked_for_without_signs_and_within_phrases_and_exclusions(
    text: str, meant: str, demands: str
) -> None:
    query = parse(text)
    assert (query.meant, query.demands) == (meant, demands)

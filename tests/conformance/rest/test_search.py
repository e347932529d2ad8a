"""`POST /content/search`: its syntax, its filters, its order, and what it refuses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from distill_grpc import clock
from tests.conformance.seeds import assert_error, assert_shaped, example
from tests.conformance.users import store, story, watch
from tests.service import DOORS, Door, Service

Json = Any

SEARCHER = "searcher"
# What can be found, by name.
LIBRARY: dict[str, Json] = {
    "train": {
        "title": "Night train to the coast",
        "content": "The council approved a night train. Trains run three times a week.",
        "author": "City Desk",
        "tags": ("Public Transport", "city"),
        "ago": timedelta(hours=1),
    },
    "bread": {
        "title": "Rye bread",
        "content": "A night of rest makes better bread; the train of thought is simple.",
        "author": "Ada Lovelace",
        "tags": ("cooking",),
        "ago": timedelta(hours=2),
    },
    "code": {
        "title": "Reviews",
        "content": "Small changes are reviewed faster than big ones.",
        "author": "ADA LOVELACE",
        "tags": ("code-review", "city"),
        "ago": timedelta(days=3),
    },
    "umlaut": {
        "title": "Grüße aus Zürich",
        "content": "Straßenbahn und Zug fahren wieder. 東京 タワー",
        "author": "Jürg",
        "tags": (),
        "ago": timedelta(days=5),
    },
}


@pytest.fixture(scope="module")
async def library(idle: Service) -> dict[str, str]:
    """Ids to names of what the searcher has; `code` came from elsewhere."""
    await watch(idle, SEARCHER)
    ids: dict[str, str] = {}
    for number, (name, told) in enumerate(LIBRARY.items()):
        source = "github" if name == "code" else "rss"
        (one,) = await store(idle, SEARCHER, story(number, **told), source=source)
        ids[one] = name
    return ids


async def found(service: Service, names: dict[str, str], door: Door = "local", **body: Json) -> Any:
    answer = await service.call("POST", "/content/search", body, user=SEARCHER, door=door)
    assert answer.status == 200, answer.text[:500]
    assert answer.body["metadata"]["count"] == len(answer.body["data"])
    return [names[item["id"]] for item in answer.body["data"]]


@pytest.mark.parametrize("door", DOORS)
async def test_the_answer_has_the_shape_of_recent(shared: Service, reader: str, door: Door) -> None:
    body = {"query": "vulnerability or train", "limit": 5}
    answer = await shared.call("POST", "/content/search", body, user=reader, door=door)
    assert answer.status == 200
    assert answer.body["data"]
    like = example("recent")
    del like["data"][0]["raw_data"]
    for item in answer.body["data"]:
        like["data"][0]["metrics"] = dict.fromkeys(item["metrics"], 1.0)
        assert_shaped(item, like["data"][0])
        assert "raw_data" not in item
    assert_shaped(answer.body["metadata"], like["metadata"])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("train", {"train", "bread"}),
        ("TRAINS", {"train", "bread"}),  # by the stem, in any case
        ("night train", {"train", "bread"}),  # all of the words
        ('"night train"', {"train"}),
        ('"train night"', set()),
        ("night -council", {"bread"}),
        ('night -"night train"', {"bread"}),
        ("council or reviewed", {"train", "code"}),
        ("council OR reviewed", {"train", "code"}),
        ("review", {"code"}),  # in title and text
        ("lovelace", {"bread", "code"}),  # in the author
        ("cooking", {"bread"}),  # in the tags
        ("zürich", {"umlaut"}),
        ("Straßenbahn", {"umlaut"}),
        ("東京", {"umlaut"}),
        ("unfindable", set()),
        ("train unfindable", set()),
        ("the night", {"train", "bread"}),  # a stop word demands nothing
        ("transport", {"train"}),  # a part of a tag
        ("code-review", {"code"}),
        ("night - council", {"train"}),  # a dash that stands alone excludes nothing
        ("night --council", {"bread"}),
        ("-night reviewed", {"code"}),
    ],
)
@pytest.mark.parametrize("door", DOORS)
async def test_words_phrases_alternatives_and_exclusions(
    idle: Service, library: dict[str, str], door: Door, query: str, expected: set[str]
) -> None:
    names = await found(idle, library, door, query=query)
    assert set(names) == expected
    assert len(names) == len(expected)


async def test_a_word_in_the_title_weighs_more(idle: Service, library: dict[str, str]) -> None:
    assert await found(idle, library, query="train") == ["train", "bread"]
    assert await found(idle, library, query="bread") == ["bread"]


@pytest.mark.parametrize("query", ["the", "the and of", '"the"', "!!!", "&|():*", '"', "- -"])
async def test_a_query_without_a_word_to_find_is_warned_of(
    idle: Service, library: dict[str, str], query: str
) -> None:
    answer = await idle.call("POST", "/content/search", {"query": query}, user=SEARCHER)
    assert answer.status == 200
    assert answer.body["data"] == []
    assert "no_searchable_words" in answer.body["metadata"]["warnings"]


async def test_a_query_that_finds_nothing_is_not_warned_of(
    idle: Service, library: dict[str, str]
) -> None:
    answer = await idle.call("POST", "/content/search", {"query": "unfindable"}, user=SEARCHER)
    assert "no_searchable_words" not in answer.body["metadata"]["warnings"]


@pytest.mark.parametrize(
    "query",
    [
        "'; DROP TABLE items; --",
        "a & b | !c <-> d",
        "train:* :A",
        "\\",
        '"unbalanced',
        "or or or",
        "-" * 1000,
        "- " * 500,
        "(-" * 500,
        "-_" * 500,
        '-"' * 500,
        "-a" * 500,
        "x" * 1000,
        "\u6771" * 1000,
        "\U0001f600" * 1000,
        "\u202e\u0000abc"[:1],
        "%s %(query)s {} $1",
        " ".join(["or"] * 300),
        '"a" ' * 250,
    ],
)
async def test_no_query_breaks_the_search(
    idle: Service, library: dict[str, str], query: str
) -> None:
    answer = await idle.call("POST", "/content/search", {"query": query}, user=SEARCHER)
    assert answer.status == 200, answer.text[:500]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"sources": ["github"]}, {"code"}),
        ({"sources": ["rss", "github"]}, {"train", "bread", "code", "umlaut"}),
        ({"sources": ["email"]}, set()),
        ({"tags": ["city"]}, {"train", "code"}),
        ({"tags": ["CITY", "cooking"]}, {"train", "code", "bread"}),  # one of them is enough
        ({"tags": ["public transport"]}, {"train"}),
        ({"tags": ["public-transport"]}, {"train"}),
        ({"tags": ["cit"]}, set()),
        ({"authors": ["ada lovelace"]}, {"bread", "code"}),
        ({"authors": ["Ada"]}, set()),
        ({"authors": ["JÜRG"]}, {"umlaut"}),
        ({"authors": ["jürg", "City Desk"]}, {"umlaut", "train"}),
        ({"tags": ["city"], "authors": ["ada lovelace"]}, {"code"}),
        ({"tags": ["city"], "sources": ["rss"]}, {"train"}),
        ({"sources": None, "tags": [], "authors": None}, {"train", "bread", "code", "umlaut"}),
    ],
)
async def test_filters_narrow_what_is_found(
    idle: Service, library: dict[str, str], door: Door, filters: Json, expected: set[str]
) -> None:
    query = "train or bread or reviewed or zürich"
    assert set(await found(idle, library, door, query=query, **filters)) == expected


async def test_since_and_until_bound_the_instants(idle: Service, library: dict[str, str]) -> None:
    query = "train or bread or reviewed or zürich"
    now = clock.utc_now()

    def ago(**span: float) -> str:
        return clock.iso(now - timedelta(**span))

    for bounds, expected in (
        ({"since": ago(hours=1.5)}, {"train"}),
        ({"since": ago(days=4)}, {"train", "bread", "code"}),
        ({"until": ago(days=4)}, {"umlaut"}),
        ({"since": ago(days=4), "until": ago(hours=1.5)}, {"bread", "code"}),
        ({"since": "2001-01-01T00:00:00Z"}, {"train", "bread", "code", "umlaut"}),
        ({"until": "0001-01-01T00:00:00Z"}, set()),
        ({"until": "9999-12-31T23:59:59Z"}, {"train", "bread", "code", "umlaut"}),
        ({"since": "9999-12-31T23:59:59.999999999Z"}, set()),
        ({"since": (now - timedelta(hours=1.5)).strftime("%Y-%m-%dT%H:%M:%S+00:00")}, {"train"}),
    ):
        assert set(await found(idle, library, query=query, **bounds)) == expected, bounds


async def test_an_item_published_at_since_is_in_and_at_until_out(
    idle: Service, library: dict[str, str]
) -> None:
    answer = await idle.call("POST", "/content/search", {"query": "council"}, user=SEARCHER)
    at = answer.body["data"][0]["timestamp"]
    assert await found(idle, library, query="council", since=at) == ["train"]
    assert await found(idle, library, query="council", until=at) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (None, "query"),
        ({}, "query"),
        ({"query": ""}, "query"),
        ({"query": None}, "query"),
        ({"query": 1}, "query"),
        ({"query": ["train"]}, "query"),
        ({"query": "x" * 1001}, "query"),
        ({"query": "a\u0000b"}, "query"),
        ({"q": "train", "query": "train"}, "q"),
        ({"query": "a", "limit": 0}, "limit"),
        ({"query": "a", "limit": 501}, "limit"),
        ({"query": "a", "limit": "10"}, "limit"),
        ({"query": "a", "limit": 1.5}, "limit"),
        ({"query": "a", "limit": True}, "limit"),
        ({"query": "a", "limit": 1e300}, "limit"),
        ({"query": "a", "sources": "rss"}, "sources"),
        ({"query": "a", "sources": ["nowhere"]}, "sources[0]"),
        ({"query": "a", "sources": ["rss", ""]}, "sources[1]"),
        ({"query": "a", "tags": [""]}, "tags[0]"),
        ({"query": "a", "tags": ["a"] * 51}, "tags"),
        ({"query": "a", "tags": {"a": 1}}, "tags"),
        ({"query": "a", "authors": [1]}, "authors[0]"),
        ({"query": "a", "authors": ["a" * 501]}, "authors[0]"),
        ({"query": "a", "since": "yesterday"}, "since"),
        ({"query": "a", "since": "2024-01-10"}, "since"),
        ({"query": "a", "since": "2024-01-10T10:00:00"}, "since"),
        ({"query": "a", "since": "2024-02-30T10:00:00Z"}, "since"),
        ({"query": "a", "since": "2024-01-10T24:00:00Z"}, "since"),
        ({"query": "a", "since": "10000-01-01T00:00:00Z"}, "since"),
        ({"query": "a", "since": 1704880800}, "since"),
        ({"query": "a", "until": ""}, "until"),
        (
            {"query": "a", "since": "2024-01-10T10:00:00Z", "until": "2024-01-10T10:00:00Z"},
            "until",
        ),
        (
            {"query": "a", "since": "2024-01-10T10:00:00Z", "until": "2024-01-10T10:30:00+01:00"},
            "until",
        ),
    ],
)
@pytest.mark.parametrize("door", DOORS)
async def test_a_wrong_field_is_named(
    idle: Service, library: dict[str, str], door: Door, body: Json, field: str
) -> None:
    answer = await idle.call("POST", "/content/search", body, user=SEARCHER, door=door)
    assert_error(answer, "invalid_argument", details={field})


async def test_the_limit_says_whether_more_follows(idle: Service, library: dict[str, str]) -> None:
    for limit, more in ((1, True), (2, False), (500, False)):
        body = {"query": "train", "limit": limit}
        answer = await idle.call("POST", "/content/search", body, user=SEARCHER)
        assert answer.body["metadata"]["has_more"] is more


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("train from:lovelace", ["bread"]),
        ('train from:"city desk"', ["train"]),
        ("train -from:ada", ["train"]),
        ("from:ada", ["bread", "code"]),  # without words: newest first
        ("from:JÜRG", ["umlaut"]),
        ("from:desk from:jürg", ["train", "umlaut"]),
        ("tag:city", ["train", "code"]),
        ('tag:city tag:"public transport"', ["train"]),
        ("tag:city -source:github", ["train"]),
        ("source:github", ["code"]),
        ("source:github source:rss -tag:city", ["bread", "umlaut"]),
        ("since:1d", ["train", "bread"]),
        ("until:1d", ["code", "umlaut"]),
        ("since:4d until:1d", ["code"]),
        ("-since:4d", ["umlaut"]),
        ("night tag:cooking since:7d", ["bread"]),
        ("source:rss from:ada tag:city", []),
        ("foo:train", []),
    ],
)
async def test_qualifiers_narrow(
    idle: Service, library: dict[str, str], door: Door, query: str, expected: list[str]
) -> None:
    assert await found(idle, library, door, query=query) == expected


async def test_qualifiers_and_filters_hold_together(idle: Service, library: dict[str, str]) -> None:
    assert await found(idle, library, query="tag:city", sources=["rss"]) == ["train"]
    assert await found(idle, library, query="source:rss", sources=["github"]) == []
    assert await found(idle, library, query="tag:city", tags=["code-review"]) == ["code"]
    assert await found(idle, library, query="from:ada", authors=["city desk"]) == []


@pytest.mark.parametrize(
    ("query", "named"),
    [("since:soon", "since"), ("a source:nowhere", "source"), ("since:1d until:2d", "until")],
)
async def test_a_wrong_qualifier_is_named(
    idle: Service, library: dict[str, str], query: str, named: str
) -> None:
    answer = await idle.call("POST", "/content/search", {"query": query}, user=SEARCHER)
    rule = assert_error(answer, "invalid_argument", details={"query"})["details"]["query"]
    assert rule.startswith(f"{named}: must be")


@pytest.mark.parametrize("query", ["from:a", "train or bread or reviewed or zürich"])
async def test_pages_of_a_search_join(idle: Service, library: dict[str, str], query: str) -> None:
    whole = await found(idle, library, query=f"{query} since:30d")
    assert len(whole) > 1
    names: list[str] = []
    body = {"query": f"{query} since:30d", "limit": 1}
    while True:
        answer = (await idle.call("POST", "/content/search", body, user=SEARCHER)).body
        names += [library[item["id"]] for item in answer["data"]]
        if not answer["metadata"]["has_more"]:
            break
        body["page_token"] = answer["metadata"]["next_page_token"]
    assert names == whole


@pytest.mark.parametrize("door", DOORS)
async def test_snippets_mark_what_was_found_and_are_safe_html(idle: Service, door: Door) -> None:
    user = f"marked-{door}"
    await watch(idle, user)
    evil = story(
        7,
        title="Ponds",
        content='<script>alert("x")</script> A heron & \x01a \x02frog <b>met</b> herons. '
        + "Nothing else. " * 300
        + "At last the heron flew away.",
    )
    await store(idle, user, evil, story(8, title="Heron in the title", content=""))
    body = {"query": "heron", "highlight": True}
    answer = await idle.call("POST", "/content/search", body, user=user, door=door)
    snippets = {item["title"]: item["snippet"] for item in answer.body["data"]}
    marked = snippets["Ponds"]
    assert "<mark>heron</mark>" in marked
    assert "<mark>herons</mark>" in marked
    assert len(marked) < 1000
    bare = marked.replace("<mark>", "").replace("</mark>", "")
    assert "<" not in bare
    assert not {"\x01", "\x02"} & set(bare)
    assert "&amp;" in bare
    assert snippets["Heron in the title"] == "<mark>Heron</mark> in the title"
    del body["highlight"]
    answer = await idle.call("POST", "/content/search", body, user=user, door=door)
    assert all("snippet" not in item for item in answer.body["data"])


@pytest.mark.parametrize("door", DOORS)
async def test_facets_count_all_that_was_found(
    idle: Service, library: dict[str, str], door: Door
) -> None:
    body = {"query": "train or bread or reviewed or zürich", "limit": 1, "facets": True}
    answer = await idle.call("POST", "/content/search", body, user=SEARCHER, door=door)
    counted = {
        kind: {facet["value"]: facet["items"] for facet in facets}
        for kind, facets in answer.body["facets"].items()
    }
    assert counted["sources"] == {"rss": 3, "github": 1}
    assert counted["tags"] == {"city": 2, "public-transport": 1, "cooking": 1, "code-review": 1}
    assert sum(counted["authors"].values()) == 4
    body["query"] = "from:ada"
    answer = await idle.call("POST", "/content/search", body, user=SEARCHER, door=door)
    assert answer.body["facets"]["sources"] == [
        {"value": "github", "items": 1},
        {"value": "rss", "items": 1},
    ]
    del body["facets"]
    answer = await idle.call("POST", "/content/search", body, user=SEARCHER, door=door)
    assert "facets" not in answer.body

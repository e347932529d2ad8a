"""How posts become items, of both spellings and of recordings of the real X."""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_grpc.sources.x_posts import instant_of, posts_of, snowflake
from tests.conformance.sources.rules import check_items
from tests.servers.fixtures import fixtures_dir
from tests.servers.x import XServer
from tests.unit.sources_x.x_reading import Reader

NOW = datetime(2024, 1, 10, 10, 0, tzinfo=UTC)


def post(**fields: Any) -> dict[str, Any]:
    return {"id": "1745023713801142277", "text": "hello", "author_id": "1", **fields}


def item_of(entry: dict[str, Any], **includes: Any) -> Any:
    users = [{"id": "1", "username": "mara"}, {"id": "2", "username": "okoro"}]
    answer = {"data": [entry], "includes": {"users": users, **includes}}
    (found,) = posts_of(answer, NOW + timedelta(days=1))
    return found.item


def test_entities_are_decoded_and_links_lead_where_they_say() -> None:
    urls = [{"url": "https://t.co/a", "expanded_url": "https://a.example/?x=1&copy=2"}]
    item = item_of(post(text="Fish &amp; &lt;chips&gt; https://t.co/a", entities={"urls": urls}))
    assert item.content == "Fish & <chips> https://a.example/?x=1&copy=2"


@pytest.mark.parametrize("word", ["tweet", "post"])
def test_long_posts_are_whole_in_both_spellings(word: str) -> None:
    urls = [{"url": "https://t.co/b", "expanded_url": "https://b.example/"}]
    long = {"text": "all of it " * 60 + "https://t.co/b", "entities": {"urls": urls}}
    item = item_of(post(text="all of it…", **{f"note_{word}": long}))
    assert item.content.endswith("of it https://b.example/")
    assert len(item.content) > 500


@pytest.mark.parametrize("word", ["tweet", "post"])
def test_reposts_are_whole_and_quotes_say_what_they_quote(word: str) -> None:
    other = {"id": "1745000000000000000", "text": "x &amp; y " * 20, "author_id": "2",
             "public_metrics": {"like_count": 7, "retweet_count": 2, "impression_count": 50}}  # fmt: skip
    ref = {f"referenced_{word}s": [{"type": "retweeted", "id": other["id"]}]}
    repost = item_of(post(text="RT @okoro: x &amp; …", **ref), **{f"{word}s": [other]})
    assert repost.kind == "repost"
    assert repost.content == "RT @okoro: " + ("x & y " * 20).strip()
    assert repost.metrics == {"engagement": 9.0, "reach": 50.0}
    assert repost.author == "mara"
    ref = {f"referenced_{word}s": [{"type": "quoted", "id": other["id"]}]}
    quote = item_of(post(text="see", **ref), **{f"{word}s": [other]})
    assert quote.kind == "quote"
    assert quote.content.startswith("see\n\nQuoting @okoro: x & y")
    gone = item_of(post(text="see", **ref))
    assert (gone.kind, gone.content) == ("quote", "see")


def test_what_an_item_holds() -> None:
    item = item_of(
        post(
            conversation_id="1745000000000000001",
            lang="und",
            entities={"hashtags": [{"tag": "Rust"}, {"tag": "Rust"}]},
            public_metrics={"like_count": 3, "reply_count": 1, "impression_count": 0},
            referenced_tweets=[{"type": "replied_to", "id": "1"}],
        )
    )
    assert item.thread_id == "1745000000000000001"
    assert (item.kind, item.language, item.tags) == ("reply", "", ("Rust",))
    assert item.metrics == {"engagement": 4.0, "reach": 0.0}
    assert item.url == "https://x.com/mara/status/1745023713801142277"


@pytest.mark.parametrize("word", ["tweet", "post"])
def test_the_first_id_of_an_edited_post_is_its_identity(word: str) -> None:
    first = snowflake(NOW - timedelta(minutes=20))
    item = item_of(post(**{f"edit_history_{word}_ids": [str(first), "1745023713801142277"]}))
    assert item.platform_id == str(first)
    assert item.published_at == NOW - timedelta(minutes=20)


@given(st.integers(1_300_000_000_000, 3_400_000_000_000))
def test_ids_tell_their_instant(milliseconds: int) -> None:
    instant = datetime.fromtimestamp(milliseconds / 1000, UTC)
    told = instant_of(snowflake(instant))
    assert told is not None
    assert timedelta(0) <= instant - told < timedelta(milliseconds=2)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=20,
)
FIELDS = ["text", "edit_history_tweet_ids", "note_tweet", "entities", "referenced_tweets", "lang",
          "public_metrics", "created_at", "author_id", "conversation_id"]  # fmt: skip


@given(st.dictionaries(st.sampled_from(FIELDS), JSON), JSON)
def test_whatever_a_post_holds_an_item_comes_of_it(fields: dict[str, Any], more: Any) -> None:
    answer = {"data": [{"id": "1745023713801142277", **fields}], "includes": more}
    (found,) = posts_of(answer, NOW)
    check_items([found.item], now=NOW)


def recorded(name: str) -> dict[str, Any]:
    """The first answer of a recording."""
    text = (fixtures_dir() / "x" / name).read_text()
    match = re.search(r"!!binary \|\n((?:\s+[A-Za-z0-9+/=]+\n)+)", text)
    assert match is not None
    return orjson.loads(gzip.decompress(base64.b64decode("".join(match[1].split()))))


@pytest.mark.parametrize(
    ("name", "count"),
    [("test_client_get_home_timeline.yaml", 98), ("test_client_get_list_tweets.yaml", 97)],
)
def test_every_recorded_post_becomes_an_item(name: str, count: int) -> None:
    answer = recorded(name)
    posts = posts_of(answer, NOW)
    check_items([post.item for post in posts], now=NOW)
    assert len(posts) == answer["meta"]["result_count"] == count
    assert {post.item.platform_id for post in posts} == {
        entry["edit_history_tweet_ids"][0] for entry in answer["data"]
    }
    assert not [p for p in posts if re.search("&(amp|lt|gt);", p.item.content)]
    assert any("&amp;" in entry["text"] for entry in answer["data"]) or "list" in name


@pytest.mark.parametrize("spelling", ["tweet", "post"])
async def test_both_spellings_are_asked_for_and_read(
    server: XServer, reader_of: Callable[..., Reader], spelling: str
) -> None:
    server.spelling = spelling
    reader = reader_of(field_names=spelling, timelines=["home", "list:7"])
    original = server.world.publish("the original", on=[], author="101")
    reference = [{"type": "retweeted", "id": str(original.id)}]
    server.world.publish("RT @okoro_builds: the o…", **{f"referenced_{spelling}s": reference})
    server.world.publish("in a list", on=["list:7"])
    await reader.read()
    assert reader.texts() == {"RT @okoro_builds: the original", "in a list"}


async def test_a_referenced_post_that_is_gone_costs_nothing_else(
    server: XServer, reader: Reader
) -> None:
    original = server.world.publish("the original", on=[])
    server.world.delete(original)
    server.world.publish("see", referenced_tweets=[{"type": "quoted", "id": str(original.id)}])
    server.world.publish("other")
    await reader.read()
    assert reader.texts() == {"see", "other"}

"""What may be connected as `rss`."""

from __future__ import annotations

from typing import Any

import pytest

from distill_grpc.sources.base import InvalidConnection
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.registry import SourceContext
from distill_grpc.sources.rss import MAX_FEEDS, RssSource

GOOD = "https://blog.example/feed"


@pytest.mark.parametrize(
    "feed",
    [
        GOOD,
        "http://blog.example",
        "https://blog.example:8443/a?b=c#d",
        "https://[2001:db8::1]/feed",
        "https://münchen.example/ü",
        "HTTPS://BLOG.example/",
        "https://blog.example/@user/feed",
    ],
)
def test_web_addresses_are_accepted(rss: RssSource, feed: str) -> None:
    rss.check({}, {"feeds": [feed]})
    assert rss.parts({"feeds": [feed]}) == (feed,)


@pytest.mark.parametrize(
    "feed",
    [
        "",
        "blog.example/feed",
        "ftp://blog.example/feed",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https:///feed",
        "http://[::1/feed",
        "https://blog.example:99999/",
        "https://blog.example/a b",
        " https://blog.example/",
        "https://blog.example/\n",
        "https://blog.example/\u202e",
        "https://blog.example/" + "a" * 2_000,
        "https://user@blog.example/",
        "https://user:secret@blog.example/",
        7,
        None,
        ["https://blog.example/"],
        {"url": GOOD},
    ],
)
def test_anything_else_is_refused_by_its_place(rss: RssSource, feed: Any) -> None:
    with pytest.raises(InvalidConnection) as refused:
        rss.check({}, {"feeds": [GOOD, feed]})
    assert set(refused.value.details) == {"settings.feeds[1]"}
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"feeds": []},
        {"feeds": GOOD},
        {"feeds": None},
        {"feeds": {"0": GOOD}},
        {"feeds": [f"{GOOD}/{n}" for n in range(MAX_FEEDS + 1)]},
    ],
)
def test_feeds_must_be_a_list_of_them(rss: RssSource, settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidConnection) as refused:
        rss.check({}, settings)
    assert set(refused.value.details) == {"settings.feeds"}


def test_500_feeds_are_accepted(rss: RssSource) -> None:
    rss.check({}, {"feeds": [f"{GOOD}/{n}" for n in range(MAX_FEEDS)]})


def test_a_feed_that_is_named_twice_is_refused(rss: RssSource) -> None:
    with pytest.raises(InvalidConnection) as refused:
        rss.check({}, {"feeds": [GOOD, "https://other.example", GOOD]})
    assert refused.value.details == {"settings.feeds[2]": "repeats settings.feeds[0]"}


def test_everything_wrong_is_said_at_once(rss: RssSource) -> None:
    with pytest.raises(InvalidConnection) as refused:
        rss.check({"token": "x"}, {"feeds": ["nope", GOOD, 3], "folders": []})
    assert set(refused.value.details) == {
        "credentials.token",
        "settings.folders",
        "settings.feeds[0]",
        "settings.feeds[2]",
    }


@pytest.mark.parametrize(
    "feed",
    [
        "http://127.0.0.1/feed",
        "http://169.254.169.254/",
        "http://2130706433/",
        "http://127.1/",
        "http://0/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://[::1]/",
        "http://[fe80::1%25eth0]/",
        "http://[::ffff:10.0.0.1]/",
        "https://10.0.0.1:8443/feed",
    ],
)
async def test_private_addresses_are_refused_in_every_form_unless_they_are_allowed(
    rss: RssSource, feed: str
) -> None:
    async with HttpClient(allow_private_addresses=False) as http:
        guarded = RssSource(SourceContext(http=http))
        with pytest.raises(InvalidConnection) as refused:
            guarded.check({}, {"feeds": [GOOD, feed]})
        assert refused.value.details == {"settings.feeds[1]": "must not be a private address"}
        await guarded.close()
    rss.check({}, {"feeds": [GOOD, feed]})


@pytest.mark.parametrize(
    "feed", [GOOD, "http://localhost/", "http://8.8.8.8/", "http://10.example/"]
)
async def test_names_and_public_addresses_are_not_looked_at_before_they_are_read(feed: str) -> None:
    async with HttpClient(allow_private_addresses=False) as http:
        guarded = RssSource(SourceContext(http=http))
        guarded.check({}, {"feeds": [feed]})
        await guarded.close()

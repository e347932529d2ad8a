"""WebSub: hubs are found where the recommendation says, and asked as it says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from multidict import CIMultiDict

from distill_grpc.sources import feed_documents, websub
from distill_grpc.sources.base import PlatformError, RateLimited
from distill_grpc.sources.http import HttpClient
from distill_grpc.sources.websub import WebSub
from tests.servers.hub import HubServer

FEED = "https://blog.example/feed"
HUB = "https://hub.example/"
SELF = "https://blog.example/self"
NOTHING: dict[str, Any] = {"hub": "", "self": ""}
IN_DOCUMENT = {"hub": "https://other.example/hub", "self": "https://blog.example/other"}


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient(allow_private_addresses=True, timeout=5) as client:
        yield client


@pytest.fixture
async def hub() -> AsyncIterator[HubServer]:
    async with HubServer(verifies=False) as running:
        yield running


def find(*links: str, document: dict[str, Any] = NOTHING, url: str = FEED) -> tuple[str, str]:
    headers = CIMultiDict([("Link", link) for link in links])
    client = HttpClient(allow_private_addresses=False)
    return WebSub(client).find(headers, document, url)


@pytest.mark.parametrize(
    "links",
    [
        (f'<{HUB}>; rel="hub", <{SELF}>; rel="self"',),
        (f"<{HUB}>; rel=hub", f"<{SELF}>; rel=self"),
        (f'<{HUB}>;REL="HUB",<{SELF}>;type="a/b";rel="self canonical"',),
        (f'<{SELF}>; rel="self"', f'<{HUB}>; rel="hub"', '<https://third.example/>; rel="hub"'),
        (f'</style.css>; rel=preload, <{HUB}>; rel=hub, <self>; rel="self"',),
    ],
)
def test_the_link_header_names_hub_and_topic_before_the_document(links: tuple[str, ...]) -> None:
    assert find(*links, document=IN_DOCUMENT) == (HUB, SELF)


def test_the_document_counts_where_the_header_says_nothing() -> None:
    found = (IN_DOCUMENT["hub"], IN_DOCUMENT["self"])
    assert find(document=IN_DOCUMENT) == found
    assert find('<https://blog.example/next>; rel="next"', document=IN_DOCUMENT) == found
    assert find("<", "<>", ";rel=hub", "<a>;rel", document=IN_DOCUMENT) == found


def test_a_feed_that_does_not_name_itself_is_its_address() -> None:
    assert find(f"<{HUB}>; rel=hub") == (HUB, FEED)


def test_a_feed_without_a_hub_has_none() -> None:
    assert find() == ("", "")
    assert find(f"<{SELF}>; rel=self") == ("", "")


@pytest.mark.parametrize(
    "hub",
    ["ftp://hub.example/", "javascript:alert(1)", f"https://h.example/{'a' * 1000}"],
)
def test_what_is_no_usable_address_is_no_hub(hub: str) -> None:
    assert find(f"<{hub}>; rel=hub") == ("", "")
    assert find(f"<{HUB}>; rel=hub, <https://a.example/{'ü' * 600}>; rel=self") == ("", "")
    assert find(f"<{HUB}>; rel=hub, <https://a.example/{'a' * 1000}>; rel=self") == ("", "")


@pytest.mark.parametrize("host", ["www.youtube.com", "youtube.com"])
def test_youtubes_feeds_have_a_hub_that_they_do_not_name(host: str) -> None:
    url = f"https://{host}/feeds/videos.xml?channel_id=UCabc"
    assert find(url=url) == ("https://pubsubhubbub.appspot.com/subscribe", url)
    assert find(url=f"https://{host}/about") == ("", "")
    assert find(url="https://www.youtube.com.example/feeds/videos.xml") == ("", "")


def test_the_hub_of_youtube_can_be_another() -> None:
    client = HttpClient(allow_private_addresses=False)
    url = "https://www.youtube.com/feeds/videos.xml?channel_id=UCabc"
    assert WebSub(client, youtube_hub=HUB).find({}, NOTHING, url) == (HUB, url)


ATOM = f"""<feed xmlns="http://www.w3.org/2005/Atom"><title>A</title>
  <link rel="alternate" href="https://blog.example/"/>
  <link rel="hub" href="{HUB}"/><link rel="self" href="{SELF}"/>
  <entry><id>1</id><title>One</title><link rel="hub" href="https://wrong.example/"/></entry></feed>"""
RSS = f"""<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"><channel><title>R</title>
  <atom:link rel="hub" href="{HUB}"/><atom:link rel="self" href="/self"/>
  <item><title>One</title></item></channel></rss>"""
JSON = (
    '{"version": "https://jsonfeed.org/version/1.1", "title": "J", "items": [{"id": "1"}],'
    f' "feed_url": "{SELF}", "hubs": [1, {{"type": "rssCloud", "url": "https://c.example/"}},'
    f' {{"type": "WebSub", "url": "{HUB}"}}]}}'
)


@pytest.mark.parametrize("document", [ATOM, RSS, JSON], ids=["atom", "rss", "json"])
def test_every_format_names_its_hub(document: str) -> None:
    header = {"url": FEED, "content_type": "", "oldest": None}
    read = feed_documents.read(header, document.encode())
    assert (read["hub"], read["self"]) == (HUB, SELF)


@pytest.mark.parametrize(
    ("seconds", "days"),
    [(864_000, 10), (None, 1), (10**12, 14), (14 * 86_400 + 1, 14), (0, 1 / 288)],
)
def test_a_lease_is_believed_for_five_minutes_to_two_weeks(
    seconds: int | None, days: float
) -> None:
    assert websub.lease_of(seconds) == timedelta(days=days)


async def test_a_hub_is_asked_by_a_form(http: HttpClient, hub: HubServer) -> None:
    await WebSub(http).ask(
        "subscribe", hub=hub.url, topic=SELF, callback="https://d.example/w/k", secret="s&=é"
    )
    await WebSub(http).ask(
        "unsubscribe", hub=hub.url, topic=SELF, callback="https://d.example/w/k", secret="s"
    )
    common = {"hub.topic": SELF, "hub.callback": "https://d.example/w/k"}
    assert hub.forms == [
        {"hub.mode": "subscribe", "hub.secret": "s&=é", "hub.lease_seconds": "864000", **common},
        {"hub.mode": "unsubscribe", **common},
    ]


async def ask(http: HttpClient, url: str) -> None:
    await WebSub(http).ask(
        "subscribe", hub=url, topic=SELF, callback="https://d.example/", secret="s"
    )


@pytest.mark.parametrize("status", [301, 302, 400, 404, 410, 500, 503])
async def test_what_a_hub_refuses_is_a_failure(
    http: HttpClient, hub: HubServer, status: int
) -> None:
    hub.status = status
    with pytest.raises(PlatformError, match=str(status)):
        await ask(http, hub.url)


async def test_a_hub_may_say_when_to_come_back(http: HttpClient, hub: HubServer) -> None:
    hub.status, hub.retry_after = 429, "120"
    with pytest.raises(RateLimited) as limited:
        await ask(http, hub.url)
    assert limited.value.retry_at is not None


async def test_a_hub_that_has_moved_is_followed_with_the_form(
    http: HttpClient, hub: HubServer
) -> None:
    async with HubServer(location=hub.url) as moved:
        await ask(http, moved.url)
    assert hub.forms == moved.forms
    hub.location = hub.url
    with pytest.raises(PlatformError, match="307"):
        await ask(http, hub.url)
    assert len(hub.forms) == 1 + 4


async def test_a_hub_may_not_lead_to_a_private_address(hub: HubServer) -> None:
    # The first hop is let through as the public internet, the second is not.
    allowed = {"127.0.0.1"}
    async with (
        HubServer(location=hub.url.replace("127.0.0.1", "127.0.0.2")) as moved,
        HttpClient(
            allow_private_addresses=False, allowed=lambda a: str(a) in allowed, timeout=5
        ) as http,
    ):
        with pytest.raises(PlatformError, match="public internet"):
            await ask(http, moved.url)
        assert len(moved.forms) == 1
    with pytest.raises(PlatformError, match="public internet"):
        async with HttpClient(allow_private_addresses=False, timeout=5) as http:
            await ask(http, hub.url)
    assert not hub.forms

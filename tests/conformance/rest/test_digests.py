"""`/preferences`, `:regenerate` and `/digests`: preferences, sections of one's own, feeds, unsubscribing."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urljoin
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import feedparser
import pytest

from distill_grpc import clock
from distill_grpc.feed.digest_mailing import UNSUBSCRIBE
from tests.conformance.seeds import assert_error
from tests.conformance.users import link_tokens, store, story, watch
from tests.service import DOORS, Door, Service

Json = Any

DEFAULTS = {
    "length": "medium",
    "sections": [],
    "tags": [],
    "sources": [],
    "authors": [],
    "names": [],
    "tz": "UTC",
    "mail": False,
    "daily": True,
    "weekly": True,
    "tags_by_model": False,
}
SECTION = {"name": "Rail ways", "words": ["night train"], "tags": [], "sources": []}


async def with_stories(service: Service, user: str) -> str:
    """A watched user with stories of yesterday; that day."""
    await watch(service, user)
    day = timedelta(days=1)
    texts = {
        "Night train": "The night train from Vienna to Paris runs again after four years of talks.",
        "Otters": "Biologists counted eighty otters along the river, the most since 1974.",
        "Bakery": "A small bakery in Porto took an award for the best rye bread of Europe.",
    }
    await store(
        service,
        user,
        *(
            story(
                n, ago=day, title=title, content=text, author=f"Author {n}", tags=(title.lower(),)
            )
            for n, (title, text) in enumerate(texts.items())
        ),
    )
    return (clock.utc_now() - day).date().isoformat()


@pytest.mark.parametrize("door", DOORS)
async def test_preferences_are_the_defaults_until_they_are_put(
    idle: Service, user: str, door: Door
) -> None:
    await watch(idle, user)
    answer = await idle.call("GET", "/preferences", user=user, door=door)
    assert (answer.status, answer.body) == (200, DEFAULTS)
    wanted = {
        "language": "de",
        "length": "long",
        "sections": [SECTION],
        "tags": ["rust", "Zürich"],
        "sources": ["rss"],
        "authors": ["Author 1", "lwn.net"],
        "names": ["Ada Lovelace"],
        "digest_hour": 0,
        "tz": "Asia/Tokyo",
        "mail": True,
        "daily": True,
        "weekly": True,
        "tags_by_model": True,
        "daily_llm_tokens": 0,
    }
    put = await idle.call("PUT", "/preferences", wanted, user=user, door=door)
    assert put.status == 200, put.text
    due = put.body.pop("next_digest_at")
    assert due.endswith("T15:00:00Z")
    weekly = put.body.pop("next_weekly_at")
    assert put.body == wanted
    assert datetime.fromisoformat(weekly).astimezone(ZoneInfo("Asia/Tokyo")).weekday() == 0
    again = (await idle.call("GET", "/preferences", user=user, door=door)).body
    assert again == {**wanted, "next_digest_at": due, "next_weekly_at": weekly}
    # Only what is wanted is due.
    some = {**wanted, "daily": False}
    put = await idle.call("PUT", "/preferences", some, user=user, door=door)
    assert put.body == {**some, "next_weekly_at": weekly}
    # What is left out takes its default.
    less = await idle.call("PUT", "/preferences", {"tags": ["go"]}, user=user, door=door)
    assert less.body == {**DEFAULTS, "tags": ["go"]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"language": "german"}, "language"),
        ({"length": "tiny"}, "length"),
        ({"digest_hour": 24}, "digest_hour"),
        ({"digest_hour": -1}, "digest_hour"),
        ({"tz": "Mars/Olympus"}, "tz"),
        ({"daily_llm_tokens": -1}, "daily_llm_tokens"),
        ({"tags": [""]}, "tags[0]"),
        ({"tags": ["a", "a"]}, "tags"),
        ({"tags": ["a"] * 51}, "tags"),
        ({"names": ["n" * 101]}, "names[0]"),
        ({"authors": ["n" * 201]}, "authors[0]"),
        ({"sources": ["nowhere"]}, "sources"),
        ({"sections": [{**SECTION, "name": ""}]}, "sections[0].name"),
        ({"sections": [{**SECTION, "name": "trending"}]}, "sections[0].name"),
        ({"sections": [{**SECTION, "name": "<b>"}]}, "sections[0].name"),
        ({"sections": [{"name": "Empty"}]}, "sections[0]"),
        ({"sections": [{**SECTION, "sources": ["nowhere"]}]}, "sections[0].sources"),
        ({"sections": [SECTION, {**SECTION, "name": "RAIL WAYS"}]}, "sections[1].name"),
        ({"sections": [SECTION] * 11}, "sections"),
        *(
            ({"tz": tz}, "tz")
            for tz in ("localtime", "Factory", "posixrules", "posix/UTC", "../UTC")
        ),
        ({"tags": ["go", " "]}, "tags[1]"),
        ({"authors": ["\t"]}, "authors[0]"),
        ({"names": [" "]}, "names[0]"),
        ({"names": ["@a"]}, "names[0]"),
        ({"sections": [{**SECTION, "words": ["rail", "!!!"]}]}, "sections[0].words[1]"),
        ({"sections": [{**SECTION, "words": [" "]}]}, "sections[0].words[0]"),
        ({"sections": [{**SECTION, "tags": [" "]}]}, "sections[0].tags[0]"),
        ({"sections": [{**SECTION, "name": "Trending"}]}, "sections[0].name"),
        ({"sections": [{**SECTION, "name": "IMPORTANT "}]}, "sections[0].name"),
        ({"sections": [SECTION, {**SECTION, "name": f"{SECTION['name']} "}]}, "sections[1].name"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_preference_that_breaks_a_rule_is_refused_by_name(
    idle: Service, user: str, body: Json, field: str
) -> None:
    await watch(idle, user)
    answer = await idle.call("PUT", "/preferences", body, user=user)
    assert_error(answer, "invalid_argument")
    assert field in answer.body["details"], answer.text
    assert (await idle.call("GET", "/preferences", user=user)).body == DEFAULTS


async def test_who_is_not_watched_has_no_preferences_to_change(idle: Service, user: str) -> None:
    assert_error(await idle.call("PUT", "/preferences", {}, user=user), "not_watching")
    assert_error(await idle.call("POST", "/digests/feed", user=user), "not_watching")


@pytest.mark.parametrize("door", DOORS)
async def test_a_summary_is_made_anew_with_the_preferences_of_now(
    idle: Service, user: str, door: Door
) -> None:
    day = await with_stories(idle, user)
    before = await idle.call("GET", f"/content/summary/{day}", user=user, door=door)
    assert before.status == 200
    assert "Rail ways" not in before.body["summary"]["content"]["sections"]
    wanted = {"sections": [SECTION], "tags": ["otters"], "authors": ["author 2"]}
    await idle.call("PUT", "/preferences", wanted, user=user, door=door)
    kept = await idle.call("GET", f"/content/summary/{day}", user=user, door=door)
    assert kept.body == before.body
    anew = await idle.call("POST", f"/content/summary/{day}:regenerate", user=user, door=door)
    assert anew.status == 200, anew.text
    content = anew.body["summary"]["content"]
    assert "night train" in content["sections"]["Rail ways"]
    assert "otters" not in content["sections"]["Rail ways"].lower()
    why = {
        citation.get("section", citation.get("highlight")): citation["why"]
        for citation in content["citations"]
    }
    assert why["Rail ways"][0] == "section:Rail ways"
    assert {"tag:otters", "author:author 2"} <= {r for reasons in why.values() for r in reasons}
    again = await idle.call("GET", f"/content/summary/{day}", user=user, door=door)
    assert again.body == anew.body
    body = {"date": day, "tz": "UTC"}
    daily = await idle.call("POST", "/content/summary/daily:regenerate", body, user=user, door=door)
    assert daily.body["summary"]["date"] == day


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/content/summary/daily:regenerate", "method_not_allowed"),
        ("POST", "/content/summary/daily", "method_not_allowed"),
        ("POST", "/content/summary/daily:forget", "method_not_allowed"),
        ("POST", "/content/summary/monthly:regenerate", "invalid_argument"),
        ("POST", "/content/summary/daily:regenerate/", "not_found"),
        ("PUT", "/content/summary/daily:regenerate", "method_not_allowed"),
    ],
)
async def test_the_verb_belongs_to_its_path(
    idle: Service, user: str, door: Door, method: str, path: str, code: str
) -> None:
    assert_error(await idle.call(method, path, user=user, door=door), code)


@pytest.mark.parametrize("door", DOORS)
async def test_a_feed_is_read_by_its_address_alone_until_it_is_ended(
    idle: Service, user: str, door: Door
) -> None:
    day = await with_stories(idle, user)
    await idle.call("GET", f"/content/summary/{day}", user=user, door=door)
    made = await idle.call("POST", "/digests/feed", user=user, door=door)
    assert made.status == 201
    assert set(made.body) == {"rss", "atom", "json"}
    paths = {kind: "/digests" + made.body[kind].partition("/digests")[2] for kind in made.body}
    types = {
        "rss": "application/rss+xml",
        "atom": "application/atom+xml",
        "json": "application/feed+json",
    }
    for kind, path in paths.items():
        answer = await idle.call("GET", path, user=None, door=door)
        assert answer.status == 200, answer.text
        assert answer.headers["Content-Type"] == f"{types[kind]}; charset=utf-8"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "otters" in answer.text
        if kind == "json":
            told = json.loads(answer.text)
            assert told["version"] == "https://jsonfeed.org/version/1.1"
            assert told["feed_url"] == made.body["json"]
        else:
            assert ET.fromstring(answer.text)
            parsed = feedparser.parse(answer.text)
            assert not parsed.bozo
            assert parsed.entries[0].title == f"Your digest of {day}"
    ended = await idle.call("DELETE", "/digests/feed", user=user, door=door)
    assert ended.body == {"status": "revoked"}
    for path in paths.values():
        assert_error(await idle.call("GET", path, user=None, door=door), "not_found")
    assert_error(await idle.call("DELETE", "/digests/feed", user=user, door=door), "not_found")


@pytest.mark.parametrize("door", DOORS)
async def test_a_feed_is_made_with_a_body_of_nothing_and_without_one(
    idle: Service, user: str, door: Door
) -> None:
    await watch(idle, user)
    for body in ({}, None):
        made = await idle.call("POST", "/digests/feed", body, user=user, door=door)
        assert made.status == 201, made.text
    wrong = await idle.call("POST", "/digests/feed", {"format": "rss"}, user=user, door=door)
    assert "format" in assert_error(wrong, "invalid_argument")["details"]


async def test_a_new_address_ends_the_old_one_and_leaving_ends_all(
    idle: Service, user: str
) -> None:
    await watch(idle, user)
    paths = []
    for _ in range(2):
        made = await idle.call("POST", "/digests/feed", user=user)
        paths.append("/digests" + made.body["atom"].partition("/digests")[2])
    assert_error(await idle.call("GET", paths[0], user=None), "not_found")
    assert (await idle.call("GET", paths[1], user=None)).status == 200
    for wrong in ("/digests/x/feed.atom", paths[1][:-5] + ".xml", paths[1].replace("feed.", "")):
        assert (await idle.call("GET", wrong, user=None)).status in {400, 404}
    await idle.call("POST", "/unwatch", user=user)
    assert_error(await idle.call("GET", paths[1], user=None), "not_found")


@pytest.mark.parametrize("door", DOORS)
async def test_one_click_of_a_mail_program_ends_the_mails(
    idle: Service, user: str, door: Door
) -> None:
    await watch(idle, user)
    await idle.call("PUT", "/preferences", {"mail": True, "digest_hour": 7}, user=user)
    token = (await link_tokens(idle)).sign(user, UNSUBSCRIBE)
    path = f"/digests/{token}/unsubscribe"
    answer = await idle.call(
        "POST",
        path,
        user=None,
        door=door,
        data=b"List-Unsubscribe=One-Click",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert (answer.status, answer.body) == (200, {"status": "unsubscribed"})
    told = (await idle.call("GET", "/preferences", user=user)).body
    assert (told["mail"], told["digest_hour"]) == (False, 7)
    forged = token[:-1] + ("A" if token[-1] != "A" else "B")
    for wrong in ("x", f"{token.partition('.')[0]}.", forged):
        for method, end in (("POST", ""), ("GET", ""), ("POST", "/confirm")):
            address = f"/digests/{wrong}/unsubscribe{end}"
            refused = await idle.call(method, address, user=None, door=door)
            assert_error(refused, "not_found")


@pytest.mark.parametrize("door", DOORS)
async def test_the_link_of_a_mail_asks_first_and_its_button_ends_the_mails(
    idle: Service, user: str, door: Door
) -> None:
    await watch(idle, user)
    await idle.call("PUT", "/preferences", {"mail": True, "digest_hour": 7}, user=user)
    token = (await link_tokens(idle)).sign(user, UNSUBSCRIBE)
    path = f"/digests/{token}/unsubscribe"

    async def mailed() -> bool:
        return bool((await idle.call("GET", "/preferences", user=user)).body["mail"])

    # A look at the address, as scanners take, ends nothing.
    asked = await idle.call("GET", path, user=None, door=door)
    assert (asked.status, asked.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    (action,) = re.findall(r'<form method="post" action="([^"]+)">', asked.text)
    assert await mailed()
    for _ in range(2):
        ended = await idle.call(
            "POST",
            urljoin(path, action),
            user=None,
            door=door,
            data=b"List-Unsubscribe=One-Click",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert (ended.status, ended.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert "no more digests by mail" in ended.text
        assert "<form" not in ended.text
        assert not await mailed()


async def test_preferences_are_each_users_own(idle: Service, user: str) -> None:
    other = f"{user}-other"
    for who in (user, other):
        await watch(idle, who)
    await idle.call("PUT", "/preferences", {"names": ["Only Mine"]}, user=user)
    assert (await idle.call("GET", "/preferences", user=other)).body == DEFAULTS


async def test_offline_nothing_is_said_of_a_model(idle: Service, user: str) -> None:
    await watch(idle, user)
    assert "llm" not in (await idle.call("GET", "/metadata", user=user)).body

"""Two users with marked data, and the values that one of them tries in the fields of a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from distill_grpc import clock
from distill_grpc.feed.digest_mailing import UNSUBSCRIBE
from tests.conformance.users import connect, link_tokens, store, story, watch
from tests.service import Service

Json = Any

VICTIM, ASKER = "isolation-victim", "isolation-asker"
# Every bit of a user's data carries the mark of that user.
TAINT = {VICTIM: "Tvictim7", ASKER: "Tasker7"}
# Longer ago than a first sync reads: on this day only the victim has an item, the day before nobody.
_LONG_AGO = timedelta(days=20)

_NO_NAMES = ("../../etc/passwd", "' OR 1=1 --", "%2e%2e", "a\x00b", "\u202e", "x" * 5000)


@dataclass(frozen=True)
class Values:
    """What is tried in one field."""

    own: Json
    other: Json
    unknown: Json
    malformed: tuple[Json, ...]


@dataclass
class Ids:
    """What belongs to one user."""

    item: str = ""
    job: str = ""
    tokens: dict[str, str] = field(default_factory=dict)  # page tokens by RPC


@dataclass
class World:
    """The two users on a running service."""

    service: Service
    ids: dict[str, Ids]
    marked_day: str
    empty_day: str

    def values(self, rpc: str, name: str) -> Values:
        """The values for a field, by its name; KeyError for one that nobody thought of."""
        mine, theirs = self.ids[ASKER], self.ids[VICTIM]
        today = clock.utc_now().date().isoformat()
        known = {
            "job_id": lambda: Values(mine.job, theirs.job, "sync_" + "a" * 26, _NO_NAMES),
            "page_token": lambda: Values(
                mine.tokens[rpc],
                theirs.tokens[rpc],
                _other_letters(theirs.tokens[rpc]),
                (*_NO_NAMES, theirs.tokens[rpc][:-1], theirs.tokens[rpc] + "A"),
            ),
            # Who holds a secret address may use it: what is tried is what comes near it.
            "token": lambda: Values(
                mine.tokens[rpc],
                theirs.tokens[rpc][:-1] + "_",
                _other_letters(theirs.tokens[rpc]),
                (*_NO_NAMES, theirs.tokens[rpc][:-1], theirs.tokens[rpc] + "A"),
            ),
            # `x` is the asker's alone, `github` the victim's, and `youtube` nobody's.
            "source": lambda: Values("x", "github", "youtube", ("nowhere", *_NO_NAMES)),
            "sources": lambda: Values(["x"], ["github"], ["youtube"], (["nowhere"], ["\x00"])),
            "query": lambda: Values(TAINT[ASKER], TAINT[VICTIM], "Tnobody77", ("\x00", "x" * 5000)),
            "question": lambda: Values(
                f"Where is {TAINT[ASKER]}?", TAINT[VICTIM], "Tnobody77", ("\x00", "x" * 5000)
            ),
            "tags": lambda: Values([TAINT[ASKER]], [TAINT[VICTIM]], ["Tnobody7"], (["\x00"], [""])),
            "authors": lambda: Values(
                [TAINT[ASKER]], [TAINT[VICTIM]], ["Tnobody7"], (["\x00"], [""])
            ),
            "period": lambda: Values(today, self.marked_day, self.empty_day, _NO_NAMES),
            "date": lambda: Values(today, self.marked_day, self.empty_day, _NO_NAMES),
        }
        return known[name]()

    async def before(self, rpc: str) -> None:
        """Puts back what an earlier call took away from, or gave to, the asker."""
        if rpc.startswith("/distill.v1.ConnectionService/"):
            await connect(self.service, ASKER, "x")
            for source in ("github", "youtube"):
                await self.service.call("DELETE", f"/connections/{source}", user=ASKER)

    def secrets_of(self, user: str) -> list[str]:
        """What must stand in no answer to anybody else."""
        ids = self.ids[user]
        return [TAINT[user], user, ids.item, ids.job, *ids.tokens.values()]

    async def state_of(self, user: str) -> Json:
        """All that a user sees of what they have."""
        about = (await self.service.call("GET", "/metadata", user=user)).body
        about["connections"] = (await self.service.call("GET", "/connections", user=user)).body
        recent = await self.service.call("GET", "/content/recent?hours=168&limit=500", user=user)
        about["items"] = recent.body["data"]
        return about


async def populate(service: Service) -> World:
    """Makes both users, and gives each something of every kind."""
    ids = {
        VICTIM: await _furnish(service, VICTIM, "github"),
        ASKER: await _furnish(service, ASKER, "x"),
    }
    day = clock.utc_now() - _LONG_AGO
    taint = TAINT[VICTIM]
    await store(service, VICTIM, story(2, ago=_LONG_AGO, title=taint, content=f"{taint} of old."))
    world = World(
        service,
        ids,
        marked_day=day.date().isoformat(),
        empty_day=(day - timedelta(days=1)).date().isoformat(),
    )
    summary = await service.call("GET", f"/content/summary/{world.marked_day}", user=VICTIM)
    assert taint in summary.text
    return world


async def _furnish(service: Service, user: str, source: str) -> Ids:
    taint = TAINT[user]
    await connect(service, user, settings={"feeds": [f"https://{taint.lower()}.example/{taint}"]})
    await connect(service, user, source)
    await watch(service, user)
    await service.synced(user)
    ids = Ids()
    marked = story(
        1,
        platform_id=taint,
        content=f"{taint} story",
        title=taint,
        author=taint,
        url=f"https://example.com/{taint}",
        tags=(taint,),
        raw={taint: taint},
    )
    more = story(3, content=f"A second {taint} story", author=taint, tags=(taint,))
    ids.item, _ = await store(service, user, marked, more)
    answer = await service.call("POST", "/sync", {"force": True}, user=user)
    ids.job = answer.body["job_id"]
    await service.job_done(ids.job, user)
    recent = await service.call("GET", "/content/recent?limit=1", user=user)
    body = {"query": "story", "limit": 1}
    found = await service.call("POST", "/content/search", body, user=user)
    digests = await service.call("POST", "/digests/feed", user=user)
    stop = (await link_tokens(service)).sign(user, UNSUBSCRIBE)
    ids.tokens = {
        "/distill.v1.DigestService/GetDigestFeed": digests.body["atom"].split("/")[-2],
        "/distill.v1.DigestService/StopDigestMails": stop,
        "/distill.v1.DigestService/ShowDigestUnsubscription": stop,
        "/distill.v1.DigestService/ConfirmDigestUnsubscription": stop,
        "/distill.v1.ContentService/ListRecent": recent.body["metadata"]["next_page_token"],
        "/distill.v1.ContentService/Search": found.body["metadata"]["next_page_token"],
        "/distill.v1.ContentService/SearchStream": found.body["metadata"]["next_page_token"],
    }
    return ids


def _other_letters(token: str) -> str:
    """A token of the same form that nobody was given."""
    return "".join(chr(ord(c) ^ 1) if c.isalpha() and c not in "@`[{zZ" else c for c in token)

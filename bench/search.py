"""Search: a user's 50,000 items among a million others, through REST with everything on.

The limit is the plain statement that PostgreSQL's manual shows, on a connection of its own and the same
table: `search @@ to_tsquery(…)` of one user, ranked. Both must find the same items in the same order.
"""

from __future__ import annotations

import http.client
import json
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg

from bench import database, stacks
from bench.measuring import Ratio, Spread, in_turn
from bench.stacks import Bench
from distill_grpc.auth import LocalIssuer
from distill_grpc.feed.conversion import item_key

PAGE = 20
PATH = "/content/search"
DISTILL, PLAIN = "POST /content/search", "plain to_tsquery"
# By how many of the user's items have the word.
_SHARES = {
    "a rare word": (0, 0.0005),
    "a word of 2 %": (0.015, 0.025),
    "a word of 20 %": (0.15, 0.3),
}

_PLAIN = """
SELECT id FROM items, to_tsquery('english', %(query)s) AS query
WHERE user_id = %(user)s AND search @@ query
ORDER BY ts_rank_cd(search, query, 1) DESC, published_at DESC, id DESC LIMIT %(limit)s
"""
_WORDS = """
SELECT word, ndoc FROM ts_stat(
  format('SELECT search FROM items WHERE user_id = %%L', %(user)s::text))
WHERE word ~ '^[a-z][a-z0-9]+$' AND to_tsquery('english', word)::text = quote_literal(word)
ORDER BY word
"""


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for, as a person types it and as `to_tsquery` takes it."""

    typed: str
    plain: str


def run(bench: Bench, *, rounds: int, each: int) -> dict[str, Any]:
    """Asks `each` queries of every kind in each round, one after the other; returns the results."""
    reader = database.with_reader(bench.dsn)
    queries = _queries(bench.dsn, reader, each)
    with stacks.serve(bench) as stack, psycopg.connect(bench.dsn, autocommit=True) as connection:
        door = _Door(stack.origin, _token(bench, reader))

        def plainly(query: Query) -> list[str]:
            values = {"query": query.plain, "user": reader, "limit": PAGE}
            with connection.cursor(binary=True) as cursor:
                return [item_key(row[0]) for row in cursor.execute(_PLAIN, values)]

        _check_same(queries, door.search, plainly)
        ways = {DISTILL: door.search, PLAIN: plainly}
        seen: dict[str, dict[str, list[list[float]]]] = {
            kind: {way: [] for way in ways} for kind in queries
        }
        for number in range(-1, rounds):
            for kind, asked in queries.items():
                for way in in_turn(list(ways), number):
                    times = [_timed(ways[way], query) for query in asked]
                    if number >= 0:
                        seen[kind][way].append(times)
                    print(
                        f"  round {number + 1}: {kind}, {way}: p50 {_p(times, 50):.1f} ms, "
                        f"p99 {_p(times, 99):.1f} ms",
                        flush=True,
                    )
    return {
        "what": f"the best {PAGE} of a user's {database.ITEMS_OF_READER:,} items among "
        f"{database.USERS * database.ITEMS_OF_USER:,} of others, one after the other",
        "rounds": rounds,
        "targets": {
            f"{kind}: {way}": _target(times)
            for kind, ways in seen.items()
            for way, times in ways.items()
        },
        "ratios": [
            _ratio(f"{kind}: p{share} / plain", seen[kind], share).to_json()
            for kind in seen
            for share in (50, 99)
        ],
        "left_out": {},
    }


def _ratio(name: str, ways: Mapping[str, list[list[float]]], share: int) -> Ratio:
    ours, plain = ([_p(times, share) for times in ways[way]] for way in (DISTILL, PLAIN))
    return Ratio.of(name, ours, plain)


def _target(rounds: Sequence[Sequence[float]]) -> dict[str, Any]:
    rate = Spread.of([1000 / statistics.fmean(times) for times in rounds])
    return {
        "per_second": {"median": rate.median, "least": rate.least, "most": rate.most},
        "p50_ms": Spread.of([_p(times, 50) for times in rounds]).median,
        "p99_ms": Spread.of([_p(times, 99) for times in rounds]).median,
    }


def _p(times: Sequence[float], share: int) -> float:
    return statistics.quantiles(times, n=100, method="inclusive")[share - 1]


def _timed(search: Callable[[Query], object], query: Query) -> float:
    """Milliseconds."""
    begin = time.perf_counter()
    search(query)
    return (time.perf_counter() - begin) * 1000


class _Door:
    """One connection to the REST door."""

    def __init__(self, origin: str, token: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(origin).netloc, timeout=30)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def search(self, query: Query) -> list[str]:
        """The ids of what is found, best first; raises where the answer is no 200."""
        body = json.dumps({"query": query.typed, "limit": PAGE})
        self._connection.request("POST", PATH, body, self._headers)
        answer = self._connection.getresponse()
        told = json.loads(answer.read())
        if answer.status != http.client.OK:
            raise RuntimeError(f"{PATH} answers {answer.status} to {query.typed!r}: {told}")
        return [item["id"] for item in told["data"]]


def _token(bench: Bench, user: str) -> str:
    issuer = LocalIssuer.load(bench.folder / "distill")
    return issuer.issue(user_id=user, email=f"{user}@example.com", expires_in=timedelta(hours=12))


def _queries(dsn: str, user: str, each: int) -> dict[str, list[Query]]:
    """Queries of each kind; the same in every run over the same items."""
    chance = random.Random(7)
    with psycopg.connect(dsn) as connection:
        counted = connection.execute(_WORDS.encode(), {"user": user}).fetchall()
    by_share = {
        kind: [word for word, items in counted if least <= items / database.ITEMS_OF_READER <= most]
        for kind, (least, most) in _SHARES.items()
    }
    queries = {
        kind: [Query(word, word) for word in chance.choices(words, k=each)]
        for kind, words in by_share.items()
    }
    frequent, rarer = by_share["a word of 20 %"], by_share["a word of 2 %"]
    pairs = [(chance.choice(rarer), chance.choice(frequent)) for _ in range(each)]
    queries["both of two"] = [Query(f"{a} {b}", f"{a} & {b}") for a, b in pairs]
    queries["one of two"] = [Query(f"{a} or {b}", f"{a} | {b}") for a, b in pairs]
    return queries


def _check_same(
    queries: Mapping[str, Sequence[Query]],
    ours: Callable[[Query], list[str]],
    plain: Callable[[Query], list[str]],
) -> None:
    for query in (query for asked in queries.values() for query in asked[:10]):
        found, wanted = ours(query), plain(query)
        if found != wanted or not found:
            raise RuntimeError(f"{query.typed!r} finds {found} instead of {wanted}")

"""The benchmarks' database: an embedded PostgreSQL in a folder that is kept, filled once.

Its items are as old as the filling; after five days they are made anew, because `/content/recent`
looks back seven.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from distill_grpc.db.embedded import EmbeddedPostgres
from distill_grpc.db.migrate import migrate

USERS = 1_000
ITEMS_OF_USER = 1_000
ITEMS_OF_READER = 50_000
_GOOD_FOR = "5 days"
# Part of the name: another filling is another database.
_FILLING = 2


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The DSN of the server's own database; the server stops with the last who uses it."""
    embedded = EmbeddedPostgres(folder)
    dsn = embedded.start_sync()
    try:
        yield dsn
    finally:
        embedded.stop_sync()


def seeded(dsn: str) -> str:
    """The DSN of a database with a million items of a thousand users, the connections all read well."""
    name = f"bench_rest_{USERS}_{ITEMS_OF_USER}_{_FILLING}"
    own = named(dsn, name)
    if not _exists(dsn, name) or _is_old(own):
        fresh(dsn, name)
        print(f"Filling {USERS * ITEMS_OF_USER:,} items; this is done once in five days …")
        begin = time.monotonic()
        _fill(own)
        print(f"… took {time.monotonic() - begin:.0f} s")
    with psycopg.connect(own) as connection:
        connection.execute("UPDATE connections SET last_success_at = date_trunc('second', now())")
        connection.execute(
            "UPDATE connection_parts SET last_success_at = date_trunc('second', now())"
        )
        connection.execute("UPDATE watches SET next_sync_at = now() + interval '10 days'")
    return own


def with_reader(dsn: str) -> str:
    """The user with `ITEMS_OF_READER` items in a seeded database; they are made where they are not."""
    reader = user(0)
    half = ITEMS_OF_READER // 2
    with psycopg.connect(dsn, autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM watches WHERE user_id = %s", [reader]).fetchone()
        if found is None:
            print(f"Filling {ITEMS_OF_READER:,} items of one user …")
            connection.execute("DELETE FROM items WHERE user_id = %s", [reader])
            connection.execute(_WORDS)
            _side_by_side(_insert_of_reader, dsn, [(1, half), (half + 1, ITEMS_OF_READER)])
            connection.execute("DROP TABLE bench_sentences")
            for statement in (_CONNECTIONS, _PARTS, _WATCHES):
                connection.execute(statement.encode(), {"first": 0, "last": 0})
            connection.execute("VACUUM (ANALYZE) items")
    return reader


def fresh(dsn: str, name: str) -> str:
    """The DSN of a new, empty database with the newest schema; what bore the name before is gone."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        identifier = sql.Identifier(name)
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
    own = named(dsn, name)
    migrate(own)
    return own


def named(dsn: str, name: str) -> str:
    """The DSN of another database of the same server."""
    head, _, tail = dsn.partition("?")
    return f"{head.rpartition('/')[0]}/{name}?{tail}"


def user(number: int) -> str:
    """The id of a user, from 1."""
    return f"user_{number}"


def _exists(dsn: str, name: str) -> bool:
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        return found.fetchone() is not None


def _is_old(dsn: str) -> bool:
    """Whether the filling is too old, or was never finished (the watches come last)."""
    with psycopg.connect(dsn) as connection:
        try:
            row = connection.execute(
                f"SELECT min(since) < now() - interval '{_GOOD_FOR}' FROM watches"
            ).fetchone()
        except psycopg.errors.UndefinedTable:
            return True
        return row is None or row[0] is None or row[0]


# About 400 characters of text each, in words that are as unevenly frequent as those of languages.
_WORDS = """
CREATE UNLOGGED TABLE bench_sentences AS
SELECT number, string_agg(word, ' ' ORDER BY place) AS text FROM (
  SELECT number, place,
    substr(md5((floor(exp(random() * ln(20000))))::text), 1, 3 + (random() * 6)::int) AS word
  FROM generate_series(1, 4000) AS number, generate_series(1, 22) AS place) AS words
GROUP BY number;
ALTER TABLE bench_sentences ADD PRIMARY KEY (number);
ANALYZE bench_sentences
"""
_ITEMS = """
INSERT INTO items (user_id, id, source, platform_id, published_at, collected_at, updated_at,
  content, title, author, url, kind, thread_id, language, metrics, ai_tags, raw, backdated,
  content_hash, stored_bytes)
SELECT 'user_' || u, md5(u || ':' || n)::uuid, 'rss', 'entry-' || u || '-' || n,
  moment, moment, moment,
  first.text || '. ' || second.text || '. ' || third.text || '.',
  initcap(substr(second.text, 1, 60)), 'Author ' || (u * 7 + n) %% 500,
  'https://feed-' || n %% 10 || '.example/' || u || '/' || n, 'article', 'thread-' || n / 5, 'en',
  jsonb_build_object('engagement', (n * 31 + u) %% 900, 'reach', (n * 977 + u) %% 20000),
  ARRAY['tag-' || n %% 40, 'tag-' || (u + n) %% 60], jsonb_build_object('guid', u || '-' || n),
  false, decode(md5(n || ':' || u), 'hex'), 700
FROM generate_series(%(first)s::int, %(last)s::int) AS u
  CROSS JOIN generate_series(%(newest)s::int, %(oldest)s::int) AS n
  CROSS JOIN LATERAL (
    SELECT date_trunc('second', now()) - n * interval '9 minutes' AS moment) AS instants
  JOIN bench_sentences AS first ON first.number = 1 + (u * 13 + n * 7) %% 4000
  JOIN bench_sentences AS second ON second.number = 1 + (u * 29 + n * 3) %% 4000
  JOIN bench_sentences AS third ON third.number = 1 + (u * 3 + n * 17) %% 4000
"""
_CONNECTIONS = """
INSERT INTO connections (user_id, source, settings, revision, connected_at, last_success_at,
  permanent, failures)
SELECT 'user_' || u, 'rss', jsonb_build_object('feeds', (SELECT jsonb_agg(
  'https://feed-' || f || '.example/feed.xml') FROM generate_series(0, 9) AS f)),
  1, now(), now(), false, 0
FROM generate_series(%(first)s::int, %(last)s::int) AS u
"""
_PARTS = """
INSERT INTO connection_parts (user_id, source, part_key, part, title, first_seen_at,
  last_attempt_at, last_success_at, permanent, failures, quiet_reads)
SELECT 'user_' || u, 'rss', md5(f::text)::uuid, 'https://feed-' || f || '.example/feed.xml',
  'Feed ' || f, now(), now(), now(), false, 0, 0
FROM generate_series(%(first)s::int, %(last)s::int) AS u, generate_series(0, 9) AS f
"""
_WATCHES = """
INSERT INTO watches (user_id, email, since, backfill_days, sync_interval, next_sync_at,
  last_sync_at, last_sync_status)
SELECT 'user_' || u, 'user_' || u || '@example.com', now(), 7, 1800, now() + interval '10 days',
  now(), 'completed'
FROM generate_series(%(first)s::int, %(last)s::int) AS u
"""


def _fill(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(_WORDS)
    half = USERS // 2
    _side_by_side(_insert, dsn, [(1, half), (half + 1, USERS)])
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE bench_sentences")
        for statement in (_CONNECTIONS, _PARTS):
            connection.execute(statement.encode(), {"first": 1, "last": USERS})
        count = connection.execute("SELECT count(*) FROM items").fetchone()
        if count != (USERS * ITEMS_OF_USER,):
            raise RuntimeError(f"the filling broke off: {count} items")
        connection.execute(_WATCHES.encode(), {"first": 1, "last": USERS})
        connection.execute("VACUUM (ANALYZE)")


def _side_by_side(
    insert: Callable[[str, int, int], None], dsn: str, halves: Sequence[tuple[int, int]]
) -> None:
    threads = [threading.Thread(target=insert, args=(dsn, *each)) for each in halves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _insert(dsn: str, first: int, last: int) -> None:
    """The items of these users."""
    at_once = 25
    _execute(
        dsn,
        [
            {
                "first": begin,
                "last": min(begin + at_once - 1, last),
                "newest": 1,
                "oldest": ITEMS_OF_USER,
            }
            for begin in range(first, last + 1, at_once)
        ],
    )


def _insert_of_reader(dsn: str, newest: int, oldest: int) -> None:
    at_once = 1_000
    _execute(
        dsn,
        [
            {"first": 0, "last": 0, "newest": begin, "oldest": min(begin + at_once - 1, oldest)}
            for begin in range(newest, oldest + 1, at_once)
        ],
    )


def _execute(dsn: str, batches: Sequence[Mapping[str, int]]) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for batch in batches:
            connection.execute(_ITEMS.encode(), batch)

"""Ingestion: pages through the store's upsert, against raw COPY of the same rows without an index."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import psycopg
from sqlalchemy.ext.asyncio import AsyncEngine

from bench import database
from bench.measuring import Ratio, Spread, in_turn
from distill_grpc.db.engine import create_engine, driver_connection
from distill_grpc.feed import ingesting
from distill_grpc.feed.store import items
from distill_grpc.sources.base import Item

PAGE = 1_000
PAGES = 10

COPY = "raw COPY, no index"
KEYS = "upsert: keys, time index"
FULL = "upsert: and the search vector"
AGAIN = "re-sync of unchanged items"
PLAIN = "re-sync by a plain upsert"

_COLUMNS = (
    "user_id, id, source, platform_id, published_at, collected_at, updated_at, content, title,"
    " author, url, kind, thread_id, language, metrics, ai_tags, raw, backdated, content_hash,"
    " stored_bytes"
)

Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one user, as `ingesting.rows` makes them: one transaction's worth."""

    user_id: str
    rows: Rows


def run(dsn: str, *, rounds: int) -> dict[str, Any]:
    """Measures every way in turn, with new items in each round; returns the results."""
    full, keys = database.fresh(dsn, "bench_ingest"), database.fresh(dsn, "bench_ingest_keys")
    with psycopg.connect(keys) as connection:
        connection.execute("ALTER TABLE items DROP COLUMN search")
    with psycopg.connect(full) as connection:
        connection.execute(f"CREATE TABLE copied AS SELECT {_COLUMNS} FROM items".encode())
    seen: dict[str, list[float]] = {name: [] for name in (COPY, KEYS, FULL, AGAIN, PLAIN)}
    with asyncio.Runner() as runner, psycopg.connect(full) as copying:
        engines = {FULL: create_engine(full), KEYS: create_engine(keys)}

        def measure(name: str, pages: Sequence[Page]) -> None:
            if name == COPY:
                _copy(copying, pages)
            elif name == PLAIN:
                runner.run(_upsert_plainly(engines[FULL], pages))
            else:
                runner.run(_upsert(engines[KEYS if name == KEYS else FULL], pages))

        for number in range(-1, rounds):
            pages = _pages(number)
            # The upsert of new items must come before they are there.
            fresh = in_turn([COPY, KEYS, FULL], number)
            for name in (*fresh, *in_turn([AGAIN, PLAIN], number)):
                begin = time.perf_counter()
                measure(name, pages)
                rate = PAGE * PAGES / (time.perf_counter() - begin)
                if number >= 0:
                    seen[name].append(rate)
                print(f"  round {number + 1}: {name}: {rate:,.0f} items/s", flush=True)
        for engine in engines.values():
            runner.run(engine.dispose())
    return {
        "what": f"{PAGES} pages of {PAGE} items, a transaction each, one connection",
        "rounds": rounds,
        "targets": {name: _target(values) for name, values in seen.items()},
        "ratios": [
            Ratio.of("keys and time index / COPY", seen[KEYS], seen[COPY], aim=0.4).to_json(),
            Ratio.of("with search vector / COPY", seen[FULL], seen[COPY], aim=0.15).to_json(),
            Ratio.of("unchanged / plain upsert", seen[AGAIN], seen[PLAIN], aim=5.0).to_json(),
        ],
        "left_out": {},
    }


def _target(values: Sequence[float]) -> dict[str, Any]:
    rate = Spread.of(values)
    return {"per_second": {"median": rate.median, "least": rate.least, "most": rate.most}}


def _pages(number: int) -> list[Page]:
    """New items of as many users as there are pages, some 900 bytes each."""
    chance = random.Random(number)
    words = [f"{chance.randrange(16**6):06x}"[: chance.randint(3, 6)] for _ in range(20_000)]
    now = datetime.now(UTC)

    def text(count: int) -> str:
        return " ".join(words[int(len(words) * chance.random() ** 3)] for _ in range(count))

    def item(user: int, index: int) -> Item:
        name = f"{number}-{user}-{index}"
        return Item(
            platform_id=f"entry-{name}",
            content=text(70),
            title=text(8),
            author=f"Author {index % 50}",
            url=f"https://feed.example/{name}",
            kind="article",
            language="en",
            published_at=now - timedelta(minutes=index),
            metrics={"engagement": float(index), "reach": float(index * 13)},
            tags=(f"tag-{index % 40}", f"tag-{index % 17}"),
            raw={"guid": name, "link": f"https://feed.example/{name}"},
        )

    since = now - timedelta(days=7)
    return [
        Page(
            f"user_{number}_{user}",
            ingesting.rows("rss", [item(user, n) for n in range(PAGE)], since=since, now=now),
        )
        for user in range(PAGES)
    ]


async def _upsert(engine: AsyncEngine, pages: Sequence[Page]) -> None:
    now = datetime.now(UTC)
    for page in pages:
        async with engine.begin() as connection:
            await items.upsert_items(connection, page.user_id, "rss", page.rows, now)


# What the store's statement would be without looking first at what is there.
_PLAIN = """
INSERT INTO items (user_id, id, source, platform_id, published_at, collected_at, updated_at,
  content, title, author, url, kind, thread_id, language, metrics, ai_tags, raw, backdated,
  content_hash, stored_bytes)
SELECT %(user_id)s, id, 'rss', platform_id, published_at, %(now)s, %(now)s, content, title,
  author, url, kind, thread_id, language, metrics, ai_tags, raw, backdated,
  decode(content_hash, 'hex'), stored_bytes
FROM jsonb_to_recordset(%(items)s::jsonb) AS page(
  id uuid, platform_id text, published_at timestamptz, content text, title text, author text,
  url text, kind text, thread_id text, language text, metrics jsonb, ai_tags text[], raw jsonb,
  backdated boolean, content_hash text, stored_bytes int)
ON CONFLICT (user_id, id) DO UPDATE SET
  updated_at = excluded.updated_at, content = excluded.content, title = excluded.title,
  author = excluded.author, url = excluded.url, kind = excluded.kind,
  thread_id = excluded.thread_id, language = excluded.language, metrics = excluded.metrics,
  ai_tags = excluded.ai_tags, raw = excluded.raw, content_hash = excluded.content_hash,
  stored_bytes = excluded.stored_bytes
"""


async def _upsert_plainly(engine: AsyncEngine, pages: Sequence[Page]) -> None:
    now = datetime.now(UTC)
    for page in pages:
        async with engine.begin() as connection:
            driver = await driver_connection(connection)
            await driver.execute(
                _PLAIN,
                {"items": orjson.dumps(page.rows).decode(), "user_id": page.user_id, "now": now},
            )


def _copy(connection: psycopg.Connection, pages: Sequence[Page]) -> None:
    """Without an event loop, which would hold back a loop over rows: the limit is a limit."""
    now = datetime.now(UTC)
    for page in pages:
        with (
            connection.transaction(),
            connection.cursor() as cursor,
            cursor.copy(f"COPY copied ({_COLUMNS}) FROM STDIN") as copy,
        ):
            for row in page.rows:
                copy.write_row(_copied(page.user_id, row, now))


def _copied(user_id: str, row: Mapping[str, Any], now: datetime) -> list[Any]:
    return [
        user_id,
        row["id"],
        "rss",
        row["platform_id"],
        row["published_at"],
        now,
        now,
        row["content"],
        row["title"],
        row["author"],
        row["url"],
        row["kind"],
        row["thread_id"],
        row["language"],
        orjson.dumps(row["metrics"]).decode(),
        row["ai_tags"],
        orjson.dumps(row["raw"]).decode(),
        row["backdated"],
        bytes.fromhex(row["content_hash"]),
        row["stored_bytes"],
    ]

"""The database of the publishing benchmark, made anew each time: a few seconds."""

from __future__ import annotations

import psycopg
from argon2 import PasswordHasher

from bench.database import fresh

# As many accounts as there are counters of logins an account, so that logins that walk through them
# in turn do not meet that limit. The first are the creators.
ACCOUNTS = 16_000
CREATORS = 200
POSTS = 2_000
THREADS = 200  # of the posts, one of each creator
COMMENTS = 200  # in a thread: forty that four others reply to
PASSWORD = "correct horse battery staple"

# An id is the MD5 of what it is and its number, so that both the filling and the load know it.
_ACCOUNTS = """
INSERT INTO users (id, email, email_key, password_hash, username, username_key, bio, role,
  created_at, updated_at)
SELECT md5('user ' || n)::uuid, 'user' || n || '@example.com', 'user' || n || '@example.com',
  %(hash)s, 'user' || n, 'user' || n, '', CASE WHEN n <= %(creators)s THEN 'creator' ELSE 'reader' END,
  moment, moment
FROM generate_series(1, %(accounts)s::int) AS n, date_trunc('second', now()) AS moment
"""
_POSTS = """
INSERT INTO posts (creator_id, id, title, content, content_format, content_html, slug, status,
  published_at, created_at, updated_at)
SELECT md5('user ' || 1 + n %% %(creators)s)::uuid, md5('post ' || n)::uuid, 'Post ' || n,
  text, 'markdown', '<p>' || replace(text, E'\n\n', E'</p>\n<p>') || E'</p>\n', 'post-' || n,
  'published', moment, moment, moment
FROM generate_series(1, %(posts)s::int) AS n
  CROSS JOIN LATERAL (SELECT date_trunc('second', now()) - n * interval '1 hour' AS moment) AS instants
  CROSS JOIN LATERAL (
    SELECT string_agg(repeat(md5(n || ' ' || part) || ' ', 12), E'\n\n' ORDER BY part) AS text
    FROM generate_series(1, 8) AS part) AS texts
"""
_COMMENTS = """
INSERT INTO comments (post_id, id, author_id, parent_comment_id, path, content, content_html,
  content_hash, created_at)
SELECT md5('post ' || p)::uuid, id, md5('user ' || 1 + (p * 7 + n) %% %(accounts)s)::uuid,
  CASE WHEN id <> opening THEN opening END,
  CASE WHEN id <> opening THEN uuid_send(opening) ELSE '' END || uuid_send(id),
  text, '<p>' || text || E'</p>\n', decode(md5(text), 'hex'),
  date_trunc('second', now()) - (%(comments)s - n) * interval '1 minute'
FROM generate_series(1, %(threads)s::int) AS p
  CROSS JOIN generate_series(1, %(comments)s::int) AS n
  CROSS JOIN LATERAL (
    SELECT md5('comment ' || p || ' ' || n)::uuid AS id,
      md5('comment ' || p || ' ' || n - (n - 1) %% 5)::uuid AS opening,
      repeat(md5(p || ' ' || n) || ' ', 6) AS text) AS parts
"""


def filled(dsn: str) -> str:
    """The DSN of a new database with accounts, posts and threads."""
    own = fresh(dsn, "bench_publishing")
    given = {
        "accounts": ACCOUNTS,
        "creators": CREATORS,
        "posts": POSTS,
        "threads": THREADS,
        "comments": COMMENTS,
        # One for all: to verify it costs the same, to make it for each would take minutes.
        "hash": PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1).hash(PASSWORD),
    }
    with psycopg.connect(own, autocommit=True) as connection:
        for statement in (_ACCOUNTS, _POSTS, _COMMENTS):
            connection.execute(statement.encode(), given)
        connection.execute("VACUUM (ANALYZE)")
    return own

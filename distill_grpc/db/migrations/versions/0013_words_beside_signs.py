"""Words beside typographic signs, and of scripts without spaces, can be found.

The column of the search is made anew, which rewrites the table: about a minute for a million items, in
which nothing else reads or writes it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_ALONE = (
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3001-\u3003\u3005-\u30ff\u3400-\u9fff"
    r"\uf900-\ufaff\U00020000-\U0003ffff\uac00-\ud7af\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40"
    r"\uff5b-\uff65]"
)
# As in `distill_grpc/feed/search_text.py`. A class after the other is a sixth of the time that
# `translate` takes.
_SIGNS = (
    (r"\u2026", "..."),
    (r"[\u2014\u2015]", " - "),
    (r"[\u2018\u2019\u201a\u201b\u2032\u00b4\u2039\u203a]", "''"),
    (r"[\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033]", '"'),
    (r"[\u2010\u2011\u2012\u2013\u2212]", "-"),
    (r"[\u2022\u00a0\u2002-\u200a\u202f\u3000]", " "),
    (r"[\u00ad\u200b\u2060\ufeff]", ""),
    (f"({_ALONE})", r" \1 "),
    (r"\m([A-Za-z0-9]{1,3})&([A-Za-z0-9]{1,3})\M", r"\1and\2"),
)


def upgrade() -> None:
    written = "written"
    for found, plain in _SIGNS:
        written = f"regexp_replace({written}, '{found}', '{plain}', 'g')"
    # Most texts are plain: they are told apart without looking at their characters.
    op.get_bind().exec_driver_sql(
        "CREATE FUNCTION distill_text(written text) RETURNS text LANGUAGE sql"
        " IMMUTABLE STRICT PARALLEL SAFE RETURN CASE"
        " WHEN octet_length(written) = char_length(written) AND position('&' IN written) = 0"
        f" THEN written ELSE {written} END"
    )
    op.drop_column("items", "search")
    parts = {"title": "A", "author": "B", "distill_words(ai_tags)": "B", "content": "D"}
    vector = " || ".join(
        f"setweight(to_tsvector('english', distill_text({part})), '{weight}')"
        for part, weight in parts.items()
    )
    op.add_column(
        "items", sa.Column("search", postgresql.TSVECTOR(), sa.Computed(vector, persisted=True))
    )

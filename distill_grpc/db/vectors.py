"""pgvector: whether the server has it, and the one column that needs it.

Most servers lack the extension, or do not let everybody create it. So the column is no part of the
revisions: whoever migrates adds it as soon as that is possible, and everything else does without.
"""

from __future__ import annotations

from typing import Any, LiteralString

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import UserDefinedType

COLUMN_EXISTS: LiteralString = (
    "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('embeddings')"
    " AND attname = 'vector' AND NOT attisdropped)"
)
_COLUMN = text(COLUMN_EXISTS)
_AVAILABLE = text("SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'vector')")


class Vector(UserDefinedType[str]):
    """pgvector's type, of any number of dimensions: nothing is compared through an index."""

    cache_ok = True

    def get_col_spec(self, **_options: Any) -> str:
        """Its name in SQL."""
        return "vector"


def prepare(connection: Connection) -> str:
    """Adds the column for vectors where that is possible; tells why it is not, "" where it is there.

    Commits. A server without the extension is no fault: nothing but meaning needs it.
    """
    if connection.execute(_COLUMN).scalar_one():
        connection.commit()
        return ""
    if not connection.execute(_AVAILABLE).scalar_one():
        connection.commit()
        return "the server does not have the extension pgvector"
    try:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
        connection.execute(text("ALTER TABLE embeddings ADD COLUMN vector vector"))
        connection.commit()
    except DBAPIError as error:
        connection.rollback()
        return f"pgvector cannot be used: {str(error.orig).splitlines()[0]}"
    return ""


async def is_prepared(connection: AsyncConnection) -> bool:
    """True where vectors can be stored and compared."""
    return bool((await connection.execute(_COLUMN)).scalar_one())

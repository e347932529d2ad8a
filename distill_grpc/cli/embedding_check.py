"""What `distill doctor` looks at where items are to be found by meaning."""

from __future__ import annotations

import asyncio

from distill_grpc.cli.checks import Finding
from distill_grpc.cli.probes import TIMEOUT
from distill_grpc.settings import Settings

_MEND = "let a superuser run `CREATE EXTENSION vector` there, then `distill migrate`, and restart"


async def embeddings(settings: Settings) -> Finding:
    """Whether items can be found by meaning: the model gives vectors, and the database holds them."""
    from distill_grpc.llm.embedding import Embedder, EmbeddingFailed

    if settings.embedding_model is None:
        return Finding("ok", "not asked for: items are found by words alone")
    embedder = Embedder.open(
        api_key=settings.embedding_key,
        base_url=settings.embedding_base_url or settings.openai_base_url,
        model=settings.embedding_model,
        dimensions=settings.embedding_dimensions,
    )
    try:
        await embedder.ask(["Is anybody there?"], seconds=20)
    except EmbeddingFailed as failed:
        return Finding(
            "warn",
            f"{settings.embedding_model} gives no vectors ({failed}); words alone are searched",
            "mend DISTILL_EMBEDDING_MODEL, DISTILL_EMBEDDING_BASE_URL or its key",
        )
    finally:
        await embedder.close()
    found = f"{settings.embedding_model} gives vectors of {embedder.dimensions} numbers"
    if settings.database_url is None:
        return Finding("ok", f"{found}; the embedded database holds them")
    if why := await asyncio.to_thread(_lacks_vectors, settings.database_url):
        return Finding("warn", f"{found}, but {why}; words alone are searched", _MEND)
    return Finding("ok", f"{found}; the database holds them")


def _lacks_vectors(dsn: str) -> str:
    """Why a database holds no vectors; "" where it does."""
    import psycopg

    from distill_grpc.db.vectors import COLUMN_EXISTS

    try:
        with psycopg.connect(dsn, connect_timeout=int(TIMEOUT)) as connection:
            (there,) = connection.execute(COLUMN_EXISTS).fetchone() or (False,)
    except psycopg.OperationalError:
        return "the database does not answer"
    return "" if there else "the database lacks pgvector"

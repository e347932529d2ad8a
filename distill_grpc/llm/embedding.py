"""Vectors of texts by any server that speaks OpenAI's embeddings endpoint, within limits.

What a server answers is believed only as far as it can be used: one vector for each text, all of one size,
every number finite. They are brought to length 1. The same request is never sent twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx2
import openai
import orjson
import structlog

from distill_grpc.llm.answer_json import read_whole
from distill_grpc.llm.base import Purse, Usage
from distill_grpc.llm.chat import Prices, seconds_to_wait
from distill_grpc.llm.embedding_prefixes import NONE, Prefixes

log = structlog.get_logger()

MOST_DIMENSIONS = 16_000  # that pgvector stores
_MOST_BYTES = 16_000_000  # of an answer: 32 texts of 16,000 numbers each
_LEAST = 1e-30  # of a vector's length: what is less is lost in single precision
_AROUND = 16  # tokens that a server may put around a text

Failure = Literal[
    "budget",
    "timeout",
    "rate_limited",
    "unavailable",
    "refused",  # whoever asks: key, address or model are wrong
    "unfit",  # what was asked: a text may be too long
    "too_large",
    "garbage",
]


class EmbeddingFailed(Exception):  # noqa: N818 -- an outcome that is dealt with, not a fault of ours
    """A call that gave no vectors. `charged`: the server may have counted tokens for it."""

    def __init__(
        self,
        why: Failure,
        *,
        charged: bool,
        retry_after: float | None = None,
        detail: str = "",
    ) -> None:
        self.why: Failure = why
        self.charged = charged
        self.retry_after = retry_after
        self.detail = detail  # for the operator
        super().__init__(f"{why}, {detail}" if detail else why)


@dataclass(frozen=True, slots=True)
class Embedded:
    """A vector for each text, in their order; None where a text means nothing to the model.

    `usage` is None where the server counts nothing.
    """

    vectors: Sequence[Sequence[float] | None]
    usage: Usage | None


@dataclass(slots=True)
class Embedder:
    """A model behind an address."""

    client: openai.AsyncOpenAI
    model: str
    price: float = 0.0  # US dollars for a million tokens
    wanted_dimensions: int | None = None  # None: the model's own
    prefixes: Prefixes = NONE
    dimensions: int | None = None  # of the last answer
    together: int = 32  # texts that the server takes at once
    degraded: str = ""  # why the last call failed

    @classmethod
    def open(
        cls,
        *,
        api_key: str | None,
        base_url: str | None,
        model: str,
        price: float = 0.0,
        dimensions: int | None = None,
        prefixes: Prefixes = NONE,
    ) -> Embedder:
        """A client without retries of its own."""
        client = openai.AsyncOpenAI(
            api_key=api_key or "none",  # local servers ask for none, the SDK for something
            base_url=base_url,
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
        )
        return cls(client, model, price, dimensions, prefixes)

    @property
    def name(self) -> str:
        """What vectors are kept under: those of the same name can be compared."""
        size = f"@{self.wanted_dimensions}" if self.wanted_dimensions else ""
        prefix = self.prefixes.text
        mark = f"#{hashlib.sha256(prefix.encode()).hexdigest()[:8]}" if prefix else ""
        return f"{self.model}{size}{mark}"

    async def close(self) -> None:
        """Closes the connections."""
        await self.client.close()

    def bound(self, texts: Sequence[str]) -> int:
        """Tokens that a call takes at the very most: no token is shorter than a byte."""
        return sum(len(text.encode()) + _AROUND for text in texts)

    async def embed(
        self, texts: Sequence[str], purse: Purse, *, seconds: float
    ) -> Embedded | EmbeddingFailed:
        """The vectors of texts to be found. Reserves, calls, settles.

        What a server does not count is settled at its bound. Raises what `purse` raises where the
        user has no credits.
        """
        return await self._embed([self.prefixes.text + text for text in texts], purse, seconds)

    async def embed_query(
        self, query: str, purse: Purse, *, seconds: float
    ) -> Embedded | EmbeddingFailed:
        """The vector of what is searched for; the rest as in `embed`."""
        return await self._embed([self.prefixes.query + query], purse, seconds)

    async def _embed(
        self, texts: Sequence[str], purse: Purse, seconds: float
    ) -> Embedded | EmbeddingFailed:
        bound = self.bound(texts)
        if not await purse.reserve(bound):
            return EmbeddingFailed("budget", charged=False)
        at_most = self._usage(bound)
        spent = at_most
        try:
            # A server that sends a byte now and then keeps within the limits of single reads.
            async with asyncio.timeout(seconds):
                told = await self.ask(texts, seconds=seconds)
            spent = told.usage or at_most
        except TimeoutError:
            self.degraded = "timeout"
            return EmbeddingFailed("timeout", charged=True)
        except EmbeddingFailed as failed:
            log.warning("embedding_failed", model=self.model, why=str(failed))
            spent = at_most if failed.charged else Usage()
            self.degraded = "" if failed.why == "unfit" else failed.why
            return failed
        else:
            self.degraded = ""
            return told
        finally:
            # Also where this is cancelled: what may have been charged is counted.
            await asyncio.shield(purse.settle(bound, spent))

    async def ask(self, texts: Sequence[str], *, seconds: float) -> Embedded:
        """The vectors of texts, none of them empty; raises `EmbeddingFailed`."""
        try:
            body = await self._body(texts, seconds)
        except openai.APITimeoutError:
            raise EmbeddingFailed("timeout", charged=True) from None
        except openai.RateLimitError as error:
            raise EmbeddingFailed(
                "rate_limited", charged=False, retry_after=seconds_to_wait(error)
            ) from None
        except openai.APIStatusError as error:
            raise self._of_status(error) from None
        except httpx2.TimeoutException:  # while the body is read, the SDK looks no longer
            raise EmbeddingFailed("timeout", charged=True) from None
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            raise EmbeddingFailed(
                "unavailable", charged=True, detail=type(error).__name__
            ) from None
        except openai.OpenAIError as error:
            raise EmbeddingFailed("garbage", charged=True, detail=type(error).__name__) from None
        told = self._read(body, len(texts))
        if told is None:
            raise EmbeddingFailed("garbage", charged=True)
        return told

    def _of_status(self, error: openai.APIStatusError) -> EmbeddingFailed:
        detail = f"HTTP {error.status_code}"
        if error.status_code in {400, 413, 422}:
            return EmbeddingFailed("unfit", charged=False, detail=detail)
        if error.status_code < 500 and error.status_code not in {408, 425}:
            return EmbeddingFailed("refused", charged=False, detail=detail)
        return EmbeddingFailed(
            "unavailable", charged=True, retry_after=seconds_to_wait(error), detail=detail
        )

    async def _body(self, texts: Sequence[str], seconds: float) -> bytes:
        more: dict[str, Any] = {}
        if self.wanted_dimensions is not None:
            more["dimensions"] = self.wanted_dimensions
        # The SDK would ask for base64, which not every server knows.
        async with self.client.embeddings.with_streaming_response.create(
            model=self.model, input=list(texts), encoding_format="float", timeout=seconds, **more
        ) as response:
            body = await read_whole(response, _MOST_BYTES)
            if body is None:
                raise EmbeddingFailed("too_large", charged=True)
            return body

    def _read(self, body: bytes, count: int) -> Embedded | None:
        """The answer, or None where it is of no use."""
        try:
            value = orjson.loads(body)
            by_index = {entry["index"]: entry["embedding"] for entry in value["data"]}
            told = [by_index[index] for index in range(count)]
            vectors = [_unit(vector) for vector in told]
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, OverflowError):
            return None
        sizes = set(map(len, told))
        size = next(iter(sizes))
        if len(value["data"]) != count or len(sizes) != 1 or not 0 < size <= MOST_DIMENSIONS:
            return None
        if self.wanted_dimensions not in {None, size}:
            return None
        self.dimensions = size
        return Embedded(vectors, self._counted(value.get("usage")))

    def _counted(self, told: Any) -> Usage | None:
        match told:
            case {"prompt_tokens": int(tokens)} if 0 <= tokens < 10**9:
                return self._usage(tokens)
        return None

    def _usage(self, tokens: int) -> Usage:
        return Prices(self.price).usage(tokens, 0)


def _unit(vector: Any) -> list[float] | None:
    """The vector at length 1; None where it has none. ValueError where it is no vector."""
    if not isinstance(vector, list) or not all(
        type(n) in (float, int) and math.isfinite(n) for n in vector
    ):
        raise ValueError("no vector")
    length = math.hypot(*vector)
    if not math.isfinite(length):
        raise ValueError("too long")
    # What single precision cannot tell from nothing is nothing.
    return [0.0 if abs(n) < _LEAST * length else n / length for n in vector] if length else None

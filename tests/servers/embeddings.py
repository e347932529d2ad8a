"""A server that speaks OpenAI's embeddings endpoint as strictly as the real one, with a small mind.

Texts are near where they share concepts: words of one line of `CONCEPTS` are one, every other word is its
own. Requests are held against the API's documented shapes. Like many local servers it knows no base64.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from aiohttp import web

from tests.servers.openai import KEY, refusal
from tests.servers.stalling import breaking_off, flood, slow, trickling

Json = Any
Vectors = list[list[float]]
Mind = Callable[["EmbeddingsServer", Json], Awaitable[web.StreamResponse]]

MODEL = "embed-test"
DIMENSIONS = 96
_FIELDS = {"model", "input", "encoding_format", "dimensions", "user"}
_MOST_TEXTS = 2_048

CONCEPTS = """\
car automobile vehicle motorcar
doctor physician medic surgeon
bridge crossing viaduct
strike walkout stoppage industrial
film movie picture cinema
storm hurricane cyclone tempest
layoffs redundancies dismissals sackings
vaccine jab inoculation immunisation
""".splitlines()
_STOP = {
    "the",
    "a",
    "an",
    "of",
    "in",
    "on",
    "at",
    "to",
    "and",
    "or",
    "is",
    "are",
    "was",
    "for",
    "by",
    "with",
}


@dataclass
class EmbeddingsServer:
    """What was asked, and who answers."""

    mind: Mind
    longest: int = 32_000  # characters of a text that the model takes
    together: int = _MOST_TEXTS  # texts that it takes at once
    dimensions: int = DIMENSIONS
    requests: list[Json] = field(default_factory=list)
    counted: int = 0  # tokens that were told as usage
    url: str = ""
    current: web.BaseRequest = field(init=False)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def texts(self) -> list[str]:
        """Everything that was embedded, in order."""
        return [text for body in self.requests for text in body["input"]]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Checks the request, then lets the mind answer."""
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return refusal(401, "Incorrect API key provided.", "invalid_api_key")
        body = json.loads(await request.read())
        if body.get("model") != MODEL:
            return refusal(
                404, f"The model '{body.get('model')}' does not exist", "model_not_found"
            )
        if wrong := self._wrong(body):
            return refusal(400, wrong, "invalid_request_error")
        self.requests.append(body)
        self.current = request
        return await self.mind(self, body)

    def _wrong(self, body: Json) -> str | None:
        """What breaks the API's rules, or None."""
        if unknown := set(body) - _FIELDS:
            return f"Unrecognized request argument supplied: {sorted(unknown)}"
        texts = body.get("input")
        if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
            return "'$.input' is invalid."
        if not all(texts):
            return "'$.input' is invalid: input cannot be an empty string."
        if len(texts) > self.together:
            return f"batch size {len(texts)} > maximum allowed batch size {self.together}"
        if body.get("encoding_format") != "float":
            return "this server knows no base64"
        if not 1 <= body.get("dimensions", self.dimensions) <= self.dimensions:
            return "Invalid value for 'dimensions'"
        if any(len(text) > self.longest for text in texts):
            return "This model's maximum context length is exceeded"
        return None

    def answer(self, vectors: Vectors, *, usage: Json = ...) -> web.Response:
        """Vectors as the API sends them. Tokens are counted as four characters each."""
        tokens = sum(len(text) // 4 + 1 for text in self.requests[-1]["input"])
        told = {"prompt_tokens": tokens, "total_tokens": tokens} if usage is ... else usage
        if usage is ...:
            self.counted += tokens
        data = [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ]
        body = {"object": "list", "data": data, "model": MODEL}
        return web.json_response(body | ({} if told is None else {"usage": told}))

    def vectors(self, body: Json) -> Vectors:
        """What the texts of a request mean."""
        size = body.get("dimensions", self.dimensions)
        return [embed(text, self.dimensions)[:size] for text in body["input"]]


def embed(text: str, dimensions: int = DIMENSIONS) -> list[float]:
    """The sum of the concepts of a text, at length 1."""
    words = [word for word in re.findall(r"\w+", text.casefold()) if word not in _STOP]
    summed = [math.fsum(column) for column in zip(*(_word(w, dimensions) for w in words))]  # noqa: B905 -- one size
    length = math.hypot(*summed)
    return [n / length for n in summed] if length else [0.0] * dimensions


@cache
def _word(word: str, dimensions: int) -> tuple[float, ...]:
    name = next((line for line in CONCEPTS if word in line.split()), word)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    chance = random.Random(seed)
    return tuple(chance.gauss(0, 1) for _ in range(dimensions))


@asynccontextmanager
async def embeddings_server(mind: Mind, **limits: int) -> AsyncIterator[EmbeddingsServer]:
    """A running server; `url` is what goes into DISTILL_EMBEDDING_BASE_URL."""
    server = EmbeddingsServer(mind, **limits)
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/embeddings", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield server
    finally:
        server.release.set()
        await runner.cleanup()


async def honest(server: EmbeddingsServer, body: Json) -> web.StreamResponse:
    """Does what it is asked."""
    return server.answer(server.vectors(body))


def _changed(change: Callable[[Vectors], Json]) -> Mind:
    async def mind(server: EmbeddingsServer, body: Json) -> web.StreamResponse:
        return server.answer(change(server.vectors(body)))

    return mind


def _text(change: Callable[[str], str]) -> Mind:
    async def mind(server: EmbeddingsServer, body: Json) -> web.StreamResponse:
        text = server.answer(server.vectors(body)).text
        return web.Response(text=change(text or ""), content_type="application/json")

    return mind


def _status(status: int, **headers: str) -> Mind:
    async def mind(_server: EmbeddingsServer, _body: Json) -> web.StreamResponse:
        return refusal(status, "Something is amiss", "server_error", **headers)

    return mind


async def _page(_server: EmbeddingsServer, _body: Json) -> web.StreamResponse:
    return web.Response(text="<html>Bad gateway</html>", content_type="text/html")


# What goes wrong, by name, and what a client calls it.
FAULTS: dict[str, tuple[Mind, str]] = {
    "one vector less": (_changed(lambda v: v[1:]), "garbage"),
    "one vector more": (_changed(lambda v: [*v, v[0]]), "garbage"),
    "the same index twice": (_text(lambda t: t.replace('"index": 1,', '"index": 0,')), "garbage"),
    "NaN": (_changed(lambda v: [[math.nan, *v[0][1:]], *v[1:]]), "garbage"),
    "endless numbers": (_text(lambda t: re.sub(r"\[(-?)\d\.\d+", r"[\g<1>1e999", t)), "garbage"),
    "a number of many digits": (_text(lambda t: re.sub(r"\[-?\d\.\d+", "[" + "9" * 400, t)), "garbage"),
    "null for a number": (_changed(lambda v: [[None, *v[0][1:]], *v[1:]]), "garbage"),
    "true for a number": (_changed(lambda v: [[True, *v[0][1:]], *v[1:]]), "garbage"),
    "several sizes": (_changed(lambda v: [v[0][:-1], *v[1:]]), "garbage"),
    "no numbers": (_changed(lambda v: [[] for _ in v]), "garbage"),
    "too many numbers": (_changed(lambda v: [[0.1] * 16_001 for _ in v]), "garbage"),
    "base64": (_changed(lambda v: ["AACAPwAAgD8=" for _ in v]), "garbage"),
    "no list": (_text(lambda _: '{"data": {"embedding": [1]}}'), "garbage"),
    "an array": (_text(lambda _: "[[1.0, 2.0]]"), "garbage"),
    "cut JSON": (_text(lambda t: t[: len(t) // 2]), "garbage"),
    "a page instead of JSON": (_page, "garbage"),
    "a flood": (flood, "too_large"),
    "429 with a wait": (_status(429, **{"Retry-After": "30"}), "rate_limited"),
    "429": (_status(429), "rate_limited"),
    "500": (_status(500), "unavailable"),
    "503": (_status(503), "unavailable"),
    "403": (_status(403), "refused"),
    "302": (_status(302, Location="http://127.0.0.1:1/"), "refused"),
    "connection breaks": (breaking_off, "unavailable"),
    "timeout": (slow, "timeout"),
    "a byte now and then": (trickling, "timeout"),
}  # fmt: skip

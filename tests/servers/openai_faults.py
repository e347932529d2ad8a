"""What servers of models do wrong, and a model that does whatever it reads."""

from __future__ import annotations

import re
from collections.abc import Callable

from aiohttp import web

from tests.servers.openai import (
    FOREIGN_TEXT,
    FOREIGN_URL,
    Json,
    Model,
    OpenAiServer,
    first_sentences,
    refusal,
    written,
)
from tests.servers.stalling import breaking_off, slow, trickling


async def _rate_limited(_server: OpenAiServer, _body: Json) -> web.StreamResponse:
    return refusal(429, "Rate limit reached", "rate_limit_exceeded", **{"Retry-After": "0"})


async def _rate_limited_long(_server: OpenAiServer, _body: Json) -> web.StreamResponse:
    return refusal(
        429, "You exceeded your current quota", "insufficient_quota", **{"Retry-After": "3600"}
    )


async def _broken(_server: OpenAiServer, _body: Json) -> web.StreamResponse:
    return refusal(500, "The server had an error", "server_error")


async def _page(_server: OpenAiServer, _body: Json) -> web.StreamResponse:
    return web.Response(text="<html>Bad gateway</html>", content_type="text/html")


def _content(content: str | None, **choice: Json) -> Model:
    async def model(server: OpenAiServer, _body: Json) -> web.StreamResponse:
        return server.answer(content, **choice)

    return model


def _said(write: Callable[[Json], list[Json]], wrap: str = "{}") -> Model:
    async def model(server: OpenAiServer, body: Json) -> web.StreamResponse:
        return server.answer(wrap.replace("{}", written(body, write)))

    return model


async def _cut(server: OpenAiServer, body: Json) -> web.StreamResponse:
    whole = written(body, first_sentences)
    return server.answer(whole[: len(whole) // 2], finish_reason="length")


async def _echo(server: OpenAiServer, body: Json) -> web.StreamResponse:
    return server.answer(body["messages"][0]["content"])


async def _oversized(server: OpenAiServer, body: Json) -> web.StreamResponse:
    padded = written(body, first_sentences)[:-1] + ', "more": "' + "x" * 500_000 + '"}'
    return server.answer(padded)


FAULTS: dict[str, Model] = {
    "timeout": slow,
    "429 with a short wait": _rate_limited,
    "429 with a long wait": _rate_limited_long,
    "500": _broken,
    "connection breaks": breaking_off,
    "a byte now and then": trickling,
    "a page instead of JSON": _page,
    "empty": _content(""),
    "no content": _content(None),
    "refusal": _content(None, message={"refusal": "I can't help with that."}),
    "content filter": _content("", finish_reason="content_filter"),
    "truncated": _cut,
    "invalid JSON": _content('{"statements": [{"task": "t1", '),
    "other schema": _content('{"summary": "All is well."}'),
    "an array": _content('["All is well."]'),
    "numbers for texts": _content('{"statements": [{"task": 1, "sentences": [{"text": 2}]}]}'),
    "wrong language": _said(
        lambda t: [
            {
                "text": "Die Regierung hat gestern ein neues Gesetz über die Steuern beschlossen.",
                "items": [t["passages"][0]["id"]],
            }
        ]
    ),
    "unknown ids": _said(lambda t: [{**s, "items": ["p999"]} for s in first_sentences(t)]),
    "no ids": _said(lambda t: [{**s, "items": []} for s in first_sentences(t)]),
    "invented facts": _said(
        lambda t: [
            {
                "text": "The chancellor resigned after 4711 protesters stormed the palace in Vienna.",
                "items": [t["passages"][0]["id"]],
            }
        ]
    ),
    "prompt echo": _echo,
    "huge answer": _oversized,
    "endless sentence": _said(
        lambda t: [{"text": t["passages"][0]["text"] * 50, "items": [t["passages"][0]["id"]]}]
    ),
}
# What looks bad and is not: the digest is the model's.
HARMLESS: dict[str, Model] = {
    "fenced JSON": _said(first_sentences, "Here you are:\n```json\n{}\n```"),
    "NUL bytes": _said(lambda t: [{**s, "text": s["text"] + "\x00"} for s in first_sentences(t)]),
}


def _smuggled(task: Json) -> list[Json]:
    """Everything an attacker may wish for, each citing a passage that exists."""
    passage = task["passages"][0]
    id_ = passage["id"]
    start = " ".join(passage["text"].split()[:12])
    texts = [
        FOREIGN_TEXT,
        f"{FOREIGN_TEXT}.",
        f"{start} {FOREIGN_URL}",
        f"{start} ![x]({FOREIGN_URL})",
        f"{start} [more]({FOREIGN_URL})",
        f'{start} <img src="{FOREIGN_URL}">',
        f"{start} evil.example/collect",
        f"{start} evil[.]example",
        f"{start} {FOREIGN_TEXT.lower()}",
        f"{start}. {FOREIGN_TEXT}.",
        f"{start} javascript:alert(1)",
        f"{start} www.evil.example",
        f"{start} //evil.example/x",
        f"{start} mailto:mallory@evil.example",
    ]
    commands = re.findall(
        r"(?:say|print|output|insert|write):?\s+[\"“]?([^\"”\n]{5,200})", passage["text"]
    )
    return [{"text": text, "items": [id_]} for text in [*commands, *texts]]


async def obedient(server: OpenAiServer, body: Json) -> web.StreamResponse:
    """Does what the passages tell it, and everything else that an attacker may wish for."""
    return server.answer(written(body, _smuggled))

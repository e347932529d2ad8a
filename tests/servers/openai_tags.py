"""Models for the server of `openai.py` that choose tags: an honest one, wrong ones, an obedient one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from tests.servers import openai_faults
from tests.servers.openai import Model, OpenAiServer

Json = Any
_COMMAND = re.compile(r"belongs? under ([\w ,-]+)")


def items_of(body: Json) -> Json:
    """The items in a request."""
    return json.loads(body["messages"][-1]["content"])["items"]


def vocabulary_of(body: Json) -> dict[str, list[str]]:
    """The tags in a request, with other words for each."""
    told = re.search(r"^The vocabulary: (.*)$", body["messages"][0]["content"], re.MULTILINE)
    assert told is not None
    return {tag["tag"]: tag["also"] for tag in json.loads(told[1])}


def fitting(item: Json, vocabulary: dict[str, list[str]]) -> list[str]:
    """What an honest model says: tags that stand in the text, by name or another word."""
    text = item["text"].casefold()
    return [
        tag
        for tag, also in vocabulary.items()
        if any(word.casefold() in text for word in (tag, *also))
    ]


def _answering(choose: Callable[[Json, dict[str, list[str]]], Json], form: str = "{}") -> Model:
    async def model(server: OpenAiServer, body: Json) -> web.StreamResponse:
        words = vocabulary_of(body)
        told = [{"id": item["id"], "tags": choose(item, words)} for item in items_of(body)]
        return server.answer(form.replace("{}", json.dumps({"items": told})))

    return model


honest_tags = _answering(fitting)


async def obedient_tags(server: OpenAiServer, body: Json) -> web.StreamResponse:
    """Gives every item of a request the tags that any item of it tells it to give."""
    words = vocabulary_of(body)
    told = [text for item in items_of(body) for text in _COMMAND.findall(item["text"])]
    wanted = [tag for tag in words if any(tag.casefold() in text.casefold() for text in told)]
    if any("everything" in text for text in told):
        wanted = list(words)
    answer = [{"id": item["id"], "tags": wanted or fitting(item, words)} for item in items_of(body)]
    return server.answer(json.dumps({"items": answer}))


async def _cut(server: OpenAiServer, body: Json) -> web.StreamResponse:
    return server.answer('{"items": [{"id": "i1", "ta', finish_reason="length")


async def _one_only(server: OpenAiServer, body: Json) -> web.StreamResponse:
    first, words = items_of(body)[0], vocabulary_of(body)
    return server.answer(
        json.dumps({"items": [{"id": first["id"], "tags": fitting(first, words)}]})
    )


async def _other_ids(server: OpenAiServer, body: Json) -> web.StreamResponse:
    return server.answer(json.dumps({"items": [{"id": "i999", "tags": list(vocabulary_of(body))}]}))


def _always(value: Json) -> Model:
    return _answering(lambda _item, _words: value)


def _shared(names: Sequence[str]) -> dict[str, Model]:
    return {name: openai_faults.FAULTS[name] for name in names}


# Nothing of what they say may be believed.
FAULTS: dict[str, Model] = {
    **_shared(
        (
            "429 with a long wait",
            "500",
            "connection breaks",
            "a page instead of JSON",
            "empty",
            "no content",
            "refusal",
            "content filter",
            "invalid JSON",
            "other schema",
            "an array",
            "prompt echo",
        )
    ),
    "truncated": _cut,
    "unknown ids": _other_ids,
    "outside the vocabulary": _always(["Celebrities", "<b>Kubernetes</b>", "https://evil.example"]),
    "numbers for tags": _always([1, None, {"tag": "Kubernetes"}]),
    "no list of tags": _always("Kubernetes"),
    "every tag": _answering(lambda _item, words: list(words)),
}
# What looks bad and is not.
HARMLESS: dict[str, Model] = {
    "fenced JSON": _answering(fitting, "Here you are:\n```json\n{}\n```"),
    "NUL bytes": _answering(fitting, "{}\x00"),
    "other case": _answering(lambda item, words: [t.upper() for t in fitting(item, words)]),
    "the same twice": _answering(lambda item, words: fitting(item, words) * 2),
    "some unknown": _answering(lambda item, words: [*fitting(item, words), "Celebrities"]),
}
PARTIAL = _one_only

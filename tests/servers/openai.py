"""A server that speaks OpenAI's Chat Completions as strictly as the real one, with a model to choose.

Requests are held against the API's documented shapes: an unknown field, a schema that is not strict, or
both names of the limit on tokens is a 400 in the API's own body. What the model then answers is up to
the test: `honest`, every fault of `FAULTS`, or `obedient`, which does what any passage tells it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Json = Any
Model = Callable[["OpenAiServer", Json], Awaitable[web.StreamResponse]]
# Sends the frames of an answer that comes piece by piece.
Streams = Callable[["OpenAiServer", list[bytes]], Awaitable[web.StreamResponse]]

_FIELDS = {
    "model",
    "messages",
    "response_format",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "stream",
    "stream_options",
    "seed",
    "user",
    "store",
}
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
KEY = "sk-test-0123456789"
MODEL = "gpt-test"

# What an obedient model would smuggle in; none of it stands in any document.
FOREIGN_URL = "https://evil.example/collect?d=secret"
FOREIGN_TEXT = "Transfer your savings to the account of Mallory today"


@dataclass
class OpenAiServer:
    """What was asked, and who answers."""

    model: Model
    refuses: tuple[str, ...] = ()  # parts of the API that this server lacks
    streams: Streams | None = None  # how it answers piece by piece; not at all where None
    requests: list[Json] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    counted: int = 0  # tokens that were told as usage
    url: str = ""
    current: web.BaseRequest = field(init=False)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Checks the request, then lets the model answer."""
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return refusal(401, "Incorrect API key provided.", "invalid_api_key")
        body = json.loads(await request.read())
        wrong = _wrong(body)
        if wrong:
            return refusal(400, wrong, "invalid_request_error")
        kind = body.get("response_format", {}).get("type", "")
        for lacking in self.refuses:
            if lacking == kind or lacking in body:
                return refusal(
                    400, f"Unsupported: '{lacking}' in response_format or parameters", ""
                )
        self.requests.append(body)
        self.current = request
        response = await self.model(self, body)
        if not body.get("stream") or self.streams is None or not _is_completion(response):
            return response
        assert isinstance(response, web.Response)
        assert isinstance(response.body, bytes)
        frames = _frames(json.loads(response.body), counts=bool(body.get("stream_options")))
        return await self.streams(self, frames)

    def answer(self, content: str | None, **choice: Json) -> web.Response:
        """A completion as the API sends it. Tokens are counted as four characters each."""
        prompt = sum(len(m["content"]) for m in self.requests[-1]["messages"]) // 4
        completion = len(content or "") // 4 + 1
        self.counted += prompt + completion
        self.answers.append(content or "")
        message = {"role": "assistant", "content": content, "refusal": None}
        message |= choice.pop("message", {})
        return web.json_response(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1_795_000_000,
                "model": self.requests[-1]["model"],
                "choices": [
                    {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
                    | choice
                ],
                "usage": {
                    "prompt_tokens": prompt,
                    "completion_tokens": completion,
                    "total_tokens": prompt + completion,
                },
            }
        )


def read_sentences(server: OpenAiServer) -> list[str]:
    """Everything that the model said in the form that was asked for."""
    return [
        sentence["text"]
        for content in server.answers
        for statement in json.loads(content)["statements"]
        for sentence in statement["sentences"]
    ]


def refusal(status: int, message: str, code: str, **headers: str) -> web.Response:
    """An error as the API sends it."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)


@asynccontextmanager
async def openai_server(
    model: Model, *, refuses: tuple[str, ...] = (), streams: Streams | None = None
) -> AsyncIterator[OpenAiServer]:
    """A running server; `url` is what goes into DISTILL_OPENAI_BASE_URL."""
    server = OpenAiServer(model, refuses, streams)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.handle)
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


def _wrong(body: Json) -> str | None:
    """What breaks the API's rules, or None."""
    if unknown := set(body) - _FIELDS:
        return f"Unrecognized request argument supplied: {sorted(unknown)}"
    if not isinstance(body.get("model"), str) or not body.get("messages"):
        return "you must provide model and messages"
    for message in body["messages"]:
        if set(message) != {"role", "content"} or message["role"] not in {"system", "user"}:
            return "Invalid value for messages"
        if not isinstance(message["content"], str):
            return "Invalid type for content"
    if "max_tokens" in body and "max_completion_tokens" in body:
        return "Setting max_tokens and max_completion_tokens at the same time is not supported."
    if "stream_options" in body:
        if body.get("stream") is not True:
            return "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        if body["stream_options"] != {"include_usage": True}:
            return "Unrecognized request argument supplied: stream_options"
    form = body.get("response_format")
    if form is None:
        return None
    if form["type"] == "json_object":
        told = " ".join(message["content"] for message in body["messages"])
        return None if "json" in told.lower() else "'messages' must contain the word 'json'"
    if form["type"] != "json_schema" or set(form) != {"type", "json_schema"}:
        return "Invalid value for response_format"
    wanted = form["json_schema"]
    if not _NAME.fullmatch(wanted.get("name", "")) or wanted.get("strict") is not True:
        return "Invalid response_format.json_schema"
    return _loose(wanted["schema"])


def _loose(schema: Json) -> str | None:
    """Strict schemas list every property as required and allow no others."""
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            return "additionalProperties is required to be supplied and to be false"
        if sorted(schema.get("required", [])) != sorted(schema["properties"]):
            return "required is required to be supplied and to include every key in properties"
        return next((w for inner in schema["properties"].values() if (w := _loose(inner))), None)
    values = schema.get("enum", [""])
    if not 1 <= len(values) <= 1_000 or len(set(values)) < len(values):
        return "enum must have 1 to 1000 different values"
    if len(values) > 250 and sum(map(len, values)) > 15_000:
        return "enum has too many characters"
    return _loose(schema["items"]) if schema.get("type") == "array" else None


def _is_completion(response: web.StreamResponse) -> bool:
    return response.status == 200 and response.content_type == "application/json"


def _frames(completion: Json, *, counts: bool) -> list[bytes]:
    """A completion as the API streams it: the role, pieces of text, the end, what it took, [DONE]."""
    choice = completion["choices"][0]
    content, message = choice["message"]["content"] or "", choice["message"]
    deltas: list[Json] = [{"role": "assistant", "content": "", "refusal": None}]
    deltas += [{"content": content[i : i + 11]} for i in range(0, len(content), 11)]
    if message["refusal"]:
        deltas.append({"refusal": message["refusal"]})
    choices = [[{"index": 0, "delta": d, "logprobs": None, "finish_reason": None}] for d in deltas]
    end = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": choice["finish_reason"]}
    head = {key: completion[key] for key in ("id", "created", "model")}
    head |= {"object": "chat.completion.chunk", "service_tier": "default"}
    chunks = [
        head | {"choices": one} | ({"usage": None} if counts else {}) for one in [*choices, [end]]
    ]
    if counts:
        chunks.append(head | {"choices": [], "usage": completion["usage"]})
    return [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks] + [b"data: [DONE]\n\n"]


async def _sent(
    server: OpenAiServer, frames: list[bytes], pause: float = 0.0
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(server.current)
    with contextlib.suppress(ConnectionResetError):
        for frame in frames:
            await response.write(frame)
            await asyncio.sleep(pause)
    return response


async def streaming(server: OpenAiServer, frames: list[bytes]) -> web.StreamResponse:
    """Sends everything, in writes of any size."""
    whole = b"".join(frames)
    return await _sent(server, [whole[i : i + 100] for i in range(0, len(whole), 100)])


async def halting(server: OpenAiServer, frames: list[bytes]) -> web.StreamResponse:
    """Sends all but the end of an answer, then nothing more until the test lets it go."""
    response = await _sent(server, frames[:-4])
    await server.release.wait()
    return response


async def _cut_off(server: OpenAiServer, frames: list[bytes]) -> web.StreamResponse:
    response = await _sent(server, _most(frames))
    assert server.current.transport is not None
    server.current.transport.close()
    return response


def _mangled(mangle: Callable[[list[bytes]], list[bytes]], pause: float = 0.0) -> Streams:
    async def streams(server: OpenAiServer, frames: list[bytes]) -> web.StreamResponse:
        return await _sent(server, mangle(frames), pause)

    return streams


_ERROR = b'data: {"error": {"message": "The server had an error", "type": "server_error"}}\n\n'


def _most(frames: list[bytes]) -> list[bytes]:
    return frames[: len(frames) * 3 // 4]


# A stream of a good answer that goes wrong in the middle.
STREAM_FAULTS: dict[str, Streams] = {
    "connection breaks": _cut_off,
    "ends early": _mangled(_most),
    "garbage": _mangled(lambda frames: [*_most(frames), b"data: {<html>\n\n", *frames[-3:]]),
    "an array": _mangled(lambda frames: [*_most(frames), b"data: [1]\n\n"]),
    "an error": _mangled(lambda frames: [*_most(frames), _ERROR]),
    "no text": _mangled(lambda frames: [*_most(frames), b'data: {"choices": [{"delta": 7}]}\n\n']),
    "an event without end": _mangled(lambda frames: [*_most(frames), b"data: " + b"x" * 500_000]),
    "without end": _mangled(lambda frames: [*_most(frames), *frames[1:2] * 30_000]),
    "a piece now and then": _mangled(lambda frames: [*_most(frames), *frames[1:2] * 100], 0.05),
    "the limit on tokens": _mangled(
        lambda frames: [*_most(frames), frames[-3].replace(b'"stop"', b'"length"'), *frames[-2:]]
    ),
}
# What looks bad and is not.
STREAM_HARMLESS: dict[str, Streams] = {
    "no [DONE]": _mangled(lambda frames: frames[:-1]),
    "no spaces after colons": _mangled(lambda f: [one.replace(b"data: ", b"data:") for one in f]),
    "CRLF": _mangled(lambda frames: [one.replace(b"\n", b"\r\n") for one in frames]),
    "comments": _mangled(lambda frames: [b": keep-alive\n\n" + one for one in frames]),
    "all at once": _mangled(lambda frames: [b"".join(frames)]),
}


def tasks_of(body: Json) -> Json:
    """The tasks in a request."""
    return json.loads(body["messages"][-1]["content"])["tasks"]


def written(body: Json, write: Callable[[Json], list[Json]]) -> str:
    """An answer in the form that the prompt asks for."""
    statements = [{"task": t["task"], "sentences": write(t)} for t in tasks_of(body)]
    return json.dumps({"statements": statements})


def first_sentences(task: Json) -> list[Json]:
    """What an honest model says: the first sentence after the title, with its passage."""
    said = []
    for passage in task["passages"][:2]:
        parts = re.split(r"(?<=[.!?])\s+", passage["text"])
        said.append({"text": (parts[1:] or parts)[0], "items": [passage["id"]]})
    return said


async def honest(server: OpenAiServer, body: Json) -> web.StreamResponse:
    """Does what it is asked."""
    return server.answer(written(body, first_sentences))

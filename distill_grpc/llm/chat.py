"""One call of Chat Completions to any server that speaks OpenAI's API, within limits.

Servers differ in what matters here: which form of answer they can be held to, what they call the limit on
tokens, whether they can answer piece by piece, and whether they count tokens then. What a server refuses is
remembered as long as the process lives.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import httpx2
import openai
import orjson
import structlog

from distill_grpc.llm.answer_json import read_whole
from distill_grpc.llm.base import Usage
from distill_grpc.llm.chat_stream import Broken, Heard, follow

log = structlog.get_logger()

_MOST_BYTES = 400_000  # of an answer
_OVERHEAD = 300  # tokens of roles, schema wrapping and the like, more than any template needs
_FORMS: tuple[Literal["schema", "object", "text"], ...] = ("schema", "object", "text")

Response: TypeAlias = "openai.AsyncAPIResponse[Any]"

Failure = Literal[
    "budget",
    "timeout",
    "rate_limited",
    "refused",
    "unavailable",
    "rejected",
    "too_large",
    "garbage",
]


class ChatFailed(Exception):  # noqa: N818 -- an outcome that is dealt with, not a fault of ours
    """A call that gave no text. `charged`: the server may have counted tokens for it."""

    def __init__(self, why: Failure, *, charged: bool, retry_after: float | None = None) -> None:
        self.why: Failure = why
        self.charged = charged
        self.retry_after = retry_after
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered. `usage` is None where the server counts nothing."""

    text: str
    cut: bool  # ended by the limit on tokens
    usage: Usage | None


@dataclass(slots=True)
class Prices:
    """US dollars for a million tokens."""

    prompt: float = 0.0
    completion: float = 0.0

    def usage(self, prompt: int, completion: int) -> Usage:
        """The usage with its cost, rounded up to a millionth of a dollar."""
        cost = prompt * self.prompt + completion * self.completion
        return Usage(prompt, completion, math.ceil(cost))


@dataclass(slots=True)
class Chat:
    """A model behind an address."""

    client: openai.AsyncOpenAI
    model: str
    prices: Prices = field(default_factory=Prices)
    _form: int = 0  # index into _FORMS
    _limit_name: str = "max_completion_tokens"
    _streams: bool = True
    _counts_streams: bool = True

    @classmethod
    def open(cls, *, api_key: str | None, base_url: str | None, model: str, prices: Prices) -> Chat:
        """A client without retries of its own: the same request is never sent twice."""
        client = openai.AsyncOpenAI(
            api_key=api_key or "none",  # local servers ask for none, the SDK for something
            base_url=base_url,
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
        )
        return cls(client, model, prices)

    async def close(self) -> None:
        """Closes the connections."""
        await self.client.close()

    def bound(self, messages: list[Any], schema: Any, max_tokens: int) -> int:
        """Tokens that a call takes at the very most: no token is shorter than a byte."""
        return len(orjson.dumps([messages, schema])) + _OVERHEAD + max_tokens

    async def ask(
        self,
        messages: list[Any],
        schema: dict[str, Any],
        *,
        max_tokens: int,
        seconds: float,
        heard: Heard | None = None,
    ) -> Reply:
        """The model's answer; raises `ChatFailed`.

        With `heard` the server is asked to answer piece by piece, and each piece of the text is handed on; a
        server that cannot answers at once, and its whole text is handed on.

        A server that refuses a form of request is asked in the next simpler one, which costs nothing,
        as a refused request is answered without a model.
        """
        while True:
            more = self._parameters(schema, max_tokens, heard)
            try:
                async with self._sent(messages, more, seconds) as response:
                    return await self._heard(response, heard)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if not self._simplified(error):
                    log.warning("llm_rejected", model=self.model, status=error.status_code)
                    raise ChatFailed("rejected", charged=False) from None
            except openai.APITimeoutError:
                raise ChatFailed("timeout", charged=True) from None
            except openai.RateLimitError as error:
                raise ChatFailed(
                    "rate_limited", charged=False, retry_after=seconds_to_wait(error)
                ) from None
            except openai.APIStatusError as error:
                refused = error.status_code in {401, 403, 404}
                log.warning("llm_failed", model=self.model, status=error.status_code)
                raise ChatFailed(
                    "rejected" if refused else "unavailable", charged=not refused
                ) from None
            except openai.APIConnectionError as error:
                log.warning("llm_unreachable", model=self.model, error=type(error).__name__)
                raise ChatFailed("unavailable", charged=True) from None
            except httpx2.TimeoutException:
                raise ChatFailed("timeout", charged=True) from None
            except httpx2.HTTPError as error:  # while the body is read, the SDK looks no longer
                log.warning("llm_broke_off", model=self.model, error=type(error).__name__)
                raise ChatFailed("unavailable", charged=True) from None
            except openai.OpenAIError as error:
                log.warning("llm_failed", model=self.model, error=type(error).__name__)
                raise ChatFailed("garbage", charged=True) from None

    def _parameters(
        self, schema: dict[str, Any], max_tokens: int, heard: Heard | None
    ) -> dict[str, Any]:
        more: dict[str, Any] = {self._limit_name: max_tokens}
        form = _FORMS[self._form]
        if form == "schema":
            wanted = {"name": "digest", "strict": True, "schema": schema}
            more["response_format"] = {"type": "json_schema", "json_schema": wanted}
        elif form == "object":
            more["response_format"] = {"type": "json_object"}
        if heard is not None and self._streams:
            more["stream"] = True
            if self._counts_streams:
                more["stream_options"] = {"include_usage": True}
        return more

    @asynccontextmanager
    async def _sent(
        self, messages: list[Any], more: dict[str, Any], seconds: float
    ) -> AsyncIterator[Response]:
        async with self.client.chat.completions.with_streaming_response.create(
            model=self.model, messages=messages, timeout=seconds, **more
        ) as response:
            yield response

    async def _heard(self, response: Response, heard: Heard | None) -> Reply:
        if heard is None:
            return self._read(await _whole(response))
        if _is_stream(response):
            return await self._follow(response, heard)
        reply = self._read(await _whole(response))
        await heard(reply.text)
        return reply

    async def _follow(self, response: Response, heard: Heard) -> Reply:
        try:
            answer = await follow(response.iter_bytes(), heard, most=_MOST_BYTES)
        except Broken as broken:
            log.warning("llm_broke_off", model=self.model, error=broken.why)
            raise ChatFailed(broken.why, charged=True) from None
        usage = self._usage(answer.usage)
        if answer.refused:
            raise ChatRefused(usage)
        return Reply("".join(answer.pieces), answer.finish == "length", usage)

    def _simplified(self, error: openai.APIStatusError) -> bool:
        """Chooses a simpler request where the refusal is about its form; False where it is not."""
        told = f"{error.message} {error.body}"[:4000]
        if self._counts_streams and "stream_options" in told:
            self._counts_streams = False
            return True
        if self._streams and re.search(r"\bstream(ing)?\b", told):
            self._streams = False
            return True
        if self._limit_name == "max_completion_tokens" and self._limit_name in told:
            self._limit_name = "max_tokens"
            return True
        if self._form + 1 < len(_FORMS) and any(
            word in told for word in ("response_format", "json_schema", "json_object")
        ):
            self._form += 1
            log.info("llm_form", model=self.model, form=_FORMS[self._form])
            return True
        return False

    def _read(self, body: bytes) -> Reply:
        try:
            value = orjson.loads(body)
            choice = value["choices"][0]
            message = choice["message"]
            text, finish = message.get("content"), choice.get("finish_reason")
            refused = bool(message.get("refusal")) or finish == "content_filter"
        except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError):
            raise ChatFailed("garbage", charged=True) from None
        usage = self._usage(value.get("usage"))
        if refused:
            raise ChatRefused(usage)
        return Reply(text if isinstance(text, str) else "", finish == "length", usage)

    def _usage(self, told: Any) -> Usage | None:
        match told:
            case {"prompt_tokens": int(prompt), "completion_tokens": int(completion)}:
                if 0 <= prompt < 10**9 and 0 <= completion < 10**9:
                    return self.prices.usage(prompt, completion)
        return None


class ChatRefused(ChatFailed):
    """The model refused; what it counted is known."""

    def __init__(self, usage: Usage | None) -> None:
        super().__init__("refused", charged=True)
        self.usage = usage


def _is_stream(response: Response) -> bool:
    return response.headers.get("content-type", "").startswith("text/event-stream")


async def _whole(response: Response) -> bytes:
    body = await read_whole(response, _MOST_BYTES)
    if body is None:
        raise ChatFailed("too_large", charged=True)
    return body


def seconds_to_wait(error: openai.APIStatusError) -> float | None:
    """What `Retry-After` says, as far as it is a number of seconds."""
    try:
        seconds = float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86_400 else None

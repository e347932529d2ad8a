"""Talks to a Distill over REST, as any program would."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from distill_grpc import settings as settings_module
from distill_grpc.cli import ports
from distill_grpc.cli.banner import EMAIL, USER_ID
from distill_grpc.cli.failure import Failure
from distill_grpc.cli.showing import when
from distill_grpc.cli.tokens import has_keys, issue
from distill_grpc.event_reader import EventReader, EventTooLarge

# A digest may have to wait for a language model.
TIMEOUT = aiohttp.ClientTimeout(total=150, connect=10)
# Of a stream, how long it may be silent.
_STREAMED = aiohttp.ClientTimeout(total=None, connect=10, sock_read=90)
MAX_ANSWER = 64 * 1024 * 1024  # bytes
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}

# What a person can do about an error, where the service's message does not say it.
_HINTS = {
    "authentication_failed": "pass a token with --token or DISTILL_TOKEN; `distill token` makes one",
    "insufficient_credits": "the token must say credits_available: true",
    "summary_unavailable": "`distill sync` collects what is new",
    "internal_error": "the service's log has the details",
    "unavailable": "try again in a moment; `distill doctor` tells what is away",
}

# Errors whose messages are written for programs: a code, words by which such a message is known,
# and what is said in its place. What a platform says under the same code is shown as it is.
_IN_OTHER_WORDS = (
    ("not_watching", "", "not watching; `distill watch` starts it"),
    (
        "no_platform_auth",
        "PUT /connections/",
        "no account that can be read is connected; `distill connect` connects one",
    ),
    ("rate_limited", "`force`", "too soon"),
)


class ApiError(Failure):
    """An error that the service answered with."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(body.get("error", ""))
        self.details: dict[str, Any] = dict(body.get("details") or {})
        self.said = str(body.get("message") or "")  # as the service said it
        super().__init__(_in_words(status, self.code, body))


class Client:
    """Calls one Distill; made by `connected`."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, token: str | None, *, refused: str = ""
    ) -> None:
        self._session = session
        self._url = url
        self._token = token
        self._refused = refused  # what to say where the token is not taken

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Any = None,
    ) -> Any:
        """The decoded JSON answer; `ApiError` for an error, `Failure` where nothing answers."""
        async with self._answered(method, path, "application/json", params, body) as response:
            return _decoded(self._url, response.status, await _limited(response))

    async def stream(self, path: str, body: Any) -> AsyncGenerator[tuple[str, Any], None]:
        """The events of a stream, each with what it is and what is in it; the last is `done`.

        Raises `ApiError` for an error, before the first event or after some, and `Failure` where the stream
        is cut off.
        """
        async with self._answered("POST", path, "text/event-stream", None, body) as response:
            if response.content_type != "text/event-stream":
                _decoded(self._url, response.status, await _limited(response))
                raise Failure(f"{self._url} does not stream; is it an older version?")
            reader = EventReader(MAX_ANSWER)
            async for data in response.content.iter_any():
                for event in reader.feed(data):
                    told = json.loads(event.data)
                    if event.kind == "error":
                        raise ApiError(response.status, told)
                    yield event.kind, told[event.kind]
                    if event.kind == "done":
                        return
            raise Failure(f"{self._url} broke off; try again, or look at its log")

    @asynccontextmanager
    async def _answered(
        self,
        method: str,
        path: str,
        accept: str,
        params: Mapping[str, str | int] | None,
        body: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, not read yet; what goes wrong on the way becomes a `Failure`."""
        headers = {"Accept": accept}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            async with self._session.request(
                method,
                self._url + path,
                params=params,
                json=body,
                headers=headers,
                timeout=_STREAMED if accept == "text/event-stream" else TIMEOUT,
                # A token must not follow to another host.
                allow_redirects=False,
            ) as response:
                yield response
        except ApiError as error:
            if error.code == "authentication_failed" and self._refused:
                raise Failure(self._refused) from None
            raise
        except (EventTooLarge, ValueError, LookupError, TypeError):
            raise Failure(f"{self._url} is no Distill: it streams what cannot be read") from None
        except aiohttp.ClientConnectionError as error:
            raise Failure(_why_not_connected(self._url, error)) from None
        except TimeoutError:
            raise Failure(
                f"{self._url} did not answer in time; try again, or look at its log"
            ) from None
        except aiohttp.ClientError as error:
            raise Failure(f"{self._url} cannot be called: {error}") from None


@asynccontextmanager
async def connected(url: str | None, token: str | None) -> AsyncIterator[Client]:
    """A client for `url`, else for this machine's Distill; with `token`, else with one made here."""
    settings = settings_module.load()
    base = (url or f"http://{ports.reachable(settings.http_address)}").rstrip("/")
    parts = urlsplit(base)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Failure(f"--url must be an http or https address (it is {base!r})", exit_code=2)
    # A token that is made here is never sent to another machine.
    own = not token and (url is None or parts.hostname in _LOOPBACK)
    refused = _why_refused(base, settings.data_dir) if own else ""
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        yield Client(
            session, base, _own_token(settings.data_dir) if own else token, refused=refused
        )


def _own_token(data_dir: Path) -> str | None:
    """A token made with the keys of this folder, where it has some."""
    if not has_keys(data_dir):
        return None
    return issue(data_dir, user_id=USER_ID, email=EMAIL, expires_in=timedelta(minutes=30))


def _why_refused(url: str, data_dir: Path) -> str:
    where = data_dir.expanduser().absolute()
    there = (
        f"the keys in {where} are not those of" if has_keys(data_dir) else f"{where} has no keys of"
    )
    return (
        f"{there} the service at {url}; run this in the service's folder, or set DISTILL_DATA_DIR "
        "or DISTILL_TOKEN"
    )


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_chunked(65_536):
        size += len(part)
        if size > MAX_ANSWER:
            raise Failure("the answer is larger than 64 MB")
        parts.append(part)
    return b"".join(parts)


def _decoded(url: str, status: int, content: bytes) -> Any:
    try:
        body = json.loads(content)
    except ValueError:
        raise Failure(
            f"{url} is no Distill: it answered {status} with something that is not JSON"
        ) from None
    if status < 400:
        return body
    raise ApiError(status, body if isinstance(body, dict) else {})


def _in_words(status: int, code: str, body: Mapping[str, Any]) -> str:
    message = str(body.get("message") or f"the service answered {status}")
    for known, words, other in _IN_OTHER_WORDS:
        if code == known and words in message:
            message = other
    after = []
    if retry_after := body.get("retry_after"):
        after.append(f"try again after {when(retry_after, seconds=True)}")
    if action_url := body.get("action_url"):
        after.append(f"see {action_url}")
    if hint := _HINTS.get(code):
        after.append(hint)
    return message.rstrip(".") + ("; " + "; ".join(after) if after else "")


def _why_not_connected(url: str, error: aiohttp.ClientConnectionError) -> str:
    if isinstance(error, aiohttp.ClientSSLError):
        return f"{url} cannot be trusted: {error}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return f"{url} hung up; try again, or look at its log"
    return f"no Distill answers at {url}; start it with `distill serve`"

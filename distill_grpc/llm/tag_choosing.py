"""Tags that a language model chooses from a vocabulary, and believes nothing that is not in it.

Items are asked about in batches of one author each: what an item makes a model do can change no other
author's tags. Texts that speak to a model are not sent. Every answer is remembered by what was asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson
import structlog

from distill_grpc.llm.base import Document, Purse
from distill_grpc.llm.chat import Chat, ChatFailed, Reply
from distill_grpc.llm.paid import paid
from distill_grpc.llm.tag_material import (
    MOST,
    Asked,
    aliases,
    batches,
    messages,
    read,
    read_answer,
    schema,
)

log = structlog.get_logger()

_ALIASES = 5  # of a tag that are told
_AT_ONCE = 3  # calls side by side
_SECONDS = 30.0  # of a call
_TOKENS, _TOKENS_AN_ITEM = 600, 80  # that an answer may have; models that think need some for that
_PATIENCE = 5.0  # seconds that a server may ask to wait
_FAILURES = 3  # calls that fail before the rest is left to another time
_LASTING = frozenset({"budget", "rate_limited", "rejected"})
# Faults of an answer, not of the server: asked the same again, it would hardly be another.
_OF_THE_ANSWER = frozenset({"refused", "garbage", "too_large"})


@dataclass(slots=True)
class Choice:
    """What was chosen. Documents that are in neither were not asked about: `stopped` says why."""

    tags: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by the document's id
    given_up: set[str] = field(default_factory=set)  # no answer that could be used
    stopped: str = ""

    def copy(self, id_: str, others: Sequence[str]) -> None:
        """What holds for a document holds for the others."""
        if id_ in self.tags:
            self.tags.update(dict.fromkeys(others, self.tags[id_]))
        if id_ in self.given_up:
            self.given_up.update(others)


class TagChooser(Protocol):
    """Chooses tags."""

    name: str

    async def choose(
        self,
        documents: Sequence[Document],
        vocabulary: Mapping[str, Sequence[str]],
        purse: Purse,
        /,
    ) -> Choice:
        """The tags of documents, from a vocabulary: names with other words for each.

        The purse is one of a user with credits.
        """
        ...


class OpenAiTagChooser:
    """Chooses by a model of any OpenAI-compatible server."""

    def __init__(self, chat: Chat) -> None:
        self.name = chat.model
        self._chat = chat

    async def choose(
        self,
        documents: Sequence[Document],
        vocabulary: Mapping[str, Sequence[str]],
        purse: Purse,
        /,
    ) -> Choice:
        """See `TagChooser`."""
        told = [{"tag": name, "also": list(also[:_ALIASES])} for name, also in vocabulary.items()]
        work = _Work(self._chat, purse, orjson.dumps(told).decode(), list(vocabulary))
        asked: dict[str, list[Asked]] = {}  # copies of a text are asked about once
        for document in documents:
            found = read(document)
            if found is None:
                work.choice.given_up.add(document.id)
            else:
                asked.setdefault(found.key(self._chat.model, work.vocabulary), []).append(found)
        known = await purse.recall(list(asked))
        for key, value in known.items():
            work.choice.tags[asked[key][0].id] = work.known(value)
        await work.ask_all({key: same[0] for key, same in asked.items() if key not in known})
        for first, *copies in asked.values():
            work.choice.copy(first.id, [copy.id for copy in copies])
        if work.failures:
            log.warning("llm_tags_incomplete", model=self.name, why=sorted(set(work.failures)))
        return work.choice


@dataclass(slots=True)
class _Work:
    chat: Chat
    purse: Purse
    vocabulary: str
    names: list[str]
    choice: Choice = field(default_factory=Choice)
    failures: list[str] = field(default_factory=list)
    _answered: bool = False  # by a call that could be read
    _missed: int = 0  # calls that the server failed
    _failed: set[str] = field(default_factory=set)  # … and the documents that these were about
    _keys: dict[str, str] = field(default_factory=dict)  # by document
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    def known(self, told: Sequence[Any]) -> tuple[str, ...]:
        """Those of the words that are names of the vocabulary, as they stand there, each once."""
        names = {name.casefold(): name for name in self.names}
        found = (names.get(word.strip().casefold()) for word in told if isinstance(word, str))
        return tuple(dict.fromkeys(name for name in found if name is not None))

    async def ask_all(self, asked: Mapping[str, Asked]) -> None:
        """Fills `choice`, batch by batch."""
        self._keys = {one.id: key for key, one in asked.items()}
        async with asyncio.TaskGroup() as group:
            for batch in batches(list(asked.values())):
                group.create_task(self._ask(batch))
        if self._answered:  # others: so it was not the server
            self.choice.given_up |= self._failed

    async def _ask(self, batch: Sequence[Asked], *, again: bool = True) -> None:
        async with self._gate:
            if self.choice.stopped:
                return
            tokens = _TOKENS + _TOKENS_AN_ITEM * len(batch)
            reply = await self._call(batch, tokens)
            if isinstance(reply, Reply) and reply.cut:
                self.failures.append("cut")
                reply = await self._call(batch, 3 * tokens)
        if isinstance(reply, ChatFailed):
            self._note(reply, batch)
            return
        answer = None if reply.cut else read_answer(reply.text)
        if answer is not None:
            await self._keep(batch, answer)
            return
        self.failures.append("unreadable")
        if again and len(batch) > 1 and not reply.cut:
            # Half as much at once: a model that loses its thread may keep it then.
            middle = len(batch) // 2
            await self._ask(batch[:middle], again=False)
            await self._ask(batch[middle:], again=False)
        else:
            self.choice.given_up |= {one.id for one in batch}

    def _note(self, failed: ChatFailed, batch: Sequence[Asked]) -> None:
        self.failures.append(failed.why)
        ids = {one.id for one in batch}
        if failed.why in _OF_THE_ANSWER:
            self.choice.given_up |= ids
            return
        self._missed += 1
        if failed.why in _LASTING or self._missed >= _FAILURES:
            self.choice.stopped = failed.why
        if failed.why not in _LASTING:
            self._failed |= ids

    async def _call(self, batch: Sequence[Asked], tokens: int) -> Reply | ChatFailed:
        """One call, paid for. A server that names a short wait gets it, once."""
        asked = messages(batch, self.vocabulary)
        form = schema(list(aliases(batch)), self.names)
        until = time.monotonic() + _SECONDS
        reply = await paid(self.chat, self.purse, asked, form, tokens=tokens, until=until)
        if isinstance(reply, ChatFailed):
            pause = reply.retry_after
            if pause is not None and pause <= _PATIENCE:
                await asyncio.sleep(pause)
                until = time.monotonic() + _SECONDS
                return await paid(self.chat, self.purse, asked, form, tokens=tokens, until=until)
        return reply

    async def _keep(self, batch: Sequence[Asked], answer: Mapping[str, list[Any]]) -> None:
        """Keeps and remembers what is believed; the rest is given up."""
        self._answered = True
        entries = {}
        for alias, one in aliases(batch).items():
            told = answer.get(alias)
            names = self.known(told or ())
            if told is None or len(told) > MOST or (told and not names):
                self.failures.append("unusable")
                self.choice.given_up.add(one.id)
                continue
            self.choice.tags[one.id] = names
            entries[self._keys[one.id]] = list(names)
        if entries:
            await self.purse.remember(entries)

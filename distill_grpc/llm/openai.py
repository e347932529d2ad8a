"""The summariser that lets a language model write, and believes it nothing.

`planning.py` chooses what to write about. Each slot is a task; tasks are sent in batches side by side,
and slots of very many documents are condensed first (map) and written from the notes (reduce). A
sentence is kept where `grounding.py` finds it in the documents that it cites; a slot without any keeps
its extract. Everything that can go wrong ends there, in time, and `model` says what wrote the digest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from distill_grpc.llm.base import Digest, DigestRequest, Purse, Statement
from distill_grpc.llm.chat import Chat, Reply
from distill_grpc.llm.grounding import Ground
from distill_grpc.llm.material import (
    A_CALL,
    EXTRACTED,
    SCHEMA,
    TOGETHER,
    Passage,
    Sentence,
    Task,
    messages,
    passages_of,
    purpose,
    read_answer,
)
from distill_grpc.llm.offline import count_found, extracts, plan_in_thread, share_found
from distill_grpc.llm.paid import paid
from distill_grpc.llm.planning import Plan

log = structlog.get_logger()

_AT_ONCE = 3  # calls side by side
_SPARE = 2.0  # seconds kept for what comes after the last call
_TOKENS, _TOKENS_A_TASK = 900, 350  # that an answer may have; models that think need some for that
_MOST_TOKENS = 8_000
_PATIENCE = 5.0  # seconds that a server may ask to wait
_FALLBACK = "fallback"
_TELLING_ONCE = frozenset({"trending", "important"})  # sections that repeat no highlight
_REPEATED = 0.75  # share of a sentence's terms that another one has too


class OpenAiSummariser:
    """Digests by a model of any OpenAI-compatible server, checked sentence by sentence."""

    def __init__(self, chat: Chat, *, offline_name: str = "textrank") -> None:
        self.name = chat.model
        self._chat = chat
        self._offline_name = offline_name
        self.degraded = ""  # why the last digest had to do without the model

    async def close(self) -> None:
        """Closes the connections."""
        await self._chat.close()

    async def digest(self, request: DigestRequest, purse: Purse | None = None, /) -> Digest:
        """The digest within `request.seconds`, written by the model as far as that went well.

        Raises what `purse` raises where the user has no credits.
        """
        began = time.monotonic()
        made = await plan_in_thread(request)
        if purse is None:
            return extracts(made, self._offline_name)
        left = max(0.0, request.seconds - _SPARE - (time.monotonic() - began))
        work = _Work(self._chat, purse, made, request, began + request.seconds - _SPARE)
        try:
            async with asyncio.timeout(left):
                await work.write()
        except TimeoutError:
            work.failures.append("timeout")
        except BaseExceptionGroup as group:
            raise _first(group) from None
        if work.failures:
            log.warning("llm_digest_incomplete", model=self.name, why=sorted(set(work.failures)))
        asked = [why for why in work.failures if why not in {"budget", "ungrounded"}]
        self.degraded = asked[0] if asked and not work.written else ""
        if not work.written:
            return extracts(made, f"{_FALLBACK}:{self._offline_name}")
        return _digest(made, work, self.name)


def _digest(made: Plan, work: _Work, model: str) -> Digest:
    """The model's words where there are any, the extract elsewhere.

    What a highlight says, `trending` and `important` do not say again.
    """
    statements: list[Statement] = []
    kept = []
    told: list[str] = []
    said = 0
    for index, slot in enumerate(made.slots):
        sentences = work.written.get(index, [])
        if slot.section in _TELLING_ONCE:
            sentences = [s for s in sentences if not any(work.alike(s.text, t) for t in told)]
        if not slot.section or slot.section in _TELLING_ONCE:
            told += [s.text for s in sentences] or [quote for _, quote in slot.extract.quotes]
        said += len(sentences)
        if sentences:
            ids = dict.fromkeys(id_ for sentence in sentences for id_ in sentence.ids)
            text = " ".join(sentence.text for sentence in sentences)
            statements.append(slot.statement(text, tuple(ids)))
        else:
            statements.append(slot.statement())
            kept.append(slot)
    found, checked = count_found(kept, made.readings)
    slots = list(zip(made.slots, statements, strict=True))
    return Digest(
        highlights=[statement for slot, statement in slots if not slot.section],
        sections={slot.section: statement for slot, statement in slots if slot.section},
        model=model,
        confidence=share_found(found + said, checked + said),
    )


@dataclass(slots=True)
class _Work:
    """The writing of one digest."""

    chat: Chat
    purse: Purse
    made: Plan
    request: DigestRequest
    until: float  # time.monotonic()
    written: dict[int, list[Sentence]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def write(self) -> None:
        """Fills `written`, slot by slot, as answers come."""
        tasks: list[Task] = []
        notes: list[Task] = []
        sentences = 1 if self.request.limit <= 200 else 2
        in_highlights = {
            id_ for slot in self.made.slots if not slot.section for id_ in slot.extract.document_ids
        }
        for index, slot in enumerate(self.made.slots):
            if slot.section in EXTRACTED or (
                slot.section in _TELLING_ONCE
                and in_highlights.issuperset(slot.extract.document_ids)
            ):
                continue
            passages = tuple(passages_of(slot))
            if not passages:
                continue
            task = Task(index, purpose(slot.section), passages, sentences, self.request.limit)
            (tasks if len(passages) <= TOGETHER else notes).append(task)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write_all(tasks))
            for task in notes:
                group.create_task(self._condense(task))

    async def _condense(self, task: Task) -> None:
        """Map and reduce: notes on parts of the passages, then the statement from the notes."""
        parts = [
            replace(task, passages=task.passages[i : i + TOGETHER], sentences=3)
            for i in range(0, len(task.passages), TOGETHER)
        ]
        noted = await self._answers(parts)
        passages = tuple(
            Passage(sentence.ids, "notes", sentence.text)
            for part in parts
            for sentence in noted.get(id(part), [])
        )
        if passages:
            await self._write_all([replace(task, passages=passages)])

    async def _write_all(self, tasks: Sequence[Task]) -> None:
        found = await self._answers(tasks)
        for task in tasks:
            if sentences := found.get(id(task), [])[: task.sentences]:
                self.written[task.slot] = sentences

    async def _answers(self, tasks: Sequence[Task]) -> dict[int, list[Sentence]]:
        """Accepted sentences by `id()` of the task: remembered ones, else the model's."""
        keys = {task.key(self.chat.model): task for task in tasks}
        known = await self.purse.recall(list(keys))
        found: dict[int, list[Sentence]] = {}
        for key, value in known.items():
            # Checked again: the memory may be older than the check.
            told = [(entry["text"], entry["ids"]) for entry in value]
            found[id(keys[key])] = self._accepted(keys[key], told)
        left = [task for key, task in keys.items() if key not in known]
        async with asyncio.TaskGroup() as group:
            for batch in _batches(left):
                group.create_task(self._ask(batch, found))
        return found

    async def _ask(self, batch: Sequence[Task], found: dict[int, list[Sentence]]) -> None:
        """Asks for a batch; once more where that can help, and never the same again."""
        tokens = min(_MOST_TOKENS, _TOKENS + _TOKENS_A_TASK * len(batch))
        async with self._gate:
            reply, aliases = await self._call(batch, tokens)
            if reply is not None and reply.cut:
                self.failures.append("cut")
                reply, aliases = await self._call(batch, 2 * tokens)
        if reply is None:
            return
        answer = None if reply.cut else read_answer(reply.text)
        if answer is None:
            self.failures.append("unreadable")
            if len(batch) > 1 and not reply.cut:
                # Half as much at once: a model that loses its thread may keep it then.
                middle = len(batch) // 2
                for half in (batch[:middle], batch[middle:]):
                    await self._ask_once(half, found)
            return
        await self._keep(batch, answer, aliases, found)

    async def _ask_once(self, batch: Sequence[Task], found: dict[int, list[Sentence]]) -> None:
        async with self._gate:
            reply, aliases = await self._call(batch, _TOKENS + _TOKENS_A_TASK * len(batch))
        answer = read_answer(reply.text) if reply is not None and not reply.cut else None
        if answer is not None:
            await self._keep(batch, answer, aliases, found)

    async def _keep(
        self,
        batch: Sequence[Task],
        answer: dict[str, list[tuple[str, list[str]]]],
        aliases: dict[str, dict[str, tuple[str, ...]]],
        found: dict[int, list[Sentence]],
    ) -> None:
        """Keeps what is accepted, and remembers it."""
        entries: dict[str, Any] = {}
        for index, task in enumerate(batch, 1):
            own = aliases[f"t{index}"]
            told = []
            for text, names in answer.get(f"t{index}", []):
                if names and all(name in own for name in names):
                    ids = dict.fromkeys(id_ for name in names for id_ in own[name])
                    told.append((text, list(ids)))
            accepted = self._accepted(task, told)
            if not accepted:
                self.failures.append("ungrounded")
                continue
            found[id(task)] = accepted
            entries[task.key(self.chat.model)] = [
                {"text": sentence.text, "ids": list(sentence.ids)} for sentence in accepted
            ]
        if entries:
            await self.purse.remember(entries)

    def _accepted(self, task: Task, told: Sequence[tuple[str, list[str]]]) -> list[Sentence]:
        slot = self.made.slots[task.slot]
        ground = Ground(slot.readings, self.made.tokeniser)
        kept: dict[str, Sentence] = {}
        for text, ids in told:
            sentence = ground.accepted(text, ids, limit=task.limit)
            if sentence and not any(self.alike(sentence, other) for other in kept):
                kept[sentence] = Sentence(sentence, tuple(ids))
        return list(kept.values())[: task.sentences]

    def alike(self, one: str, other: str) -> bool:
        """True where two sentences say the same."""
        a, b = (set(self.made.tokeniser.terms(text)) for text in (one, other))
        return len(a & b) >= _REPEATED * max(1, min(len(a), len(b)))

    async def _call(
        self, batch: Sequence[Task], tokens: int
    ) -> tuple[Reply | None, dict[str, dict[str, tuple[str, ...]]]]:
        """One call, paid for; None where it failed. A server that names a short wait gets it, once."""
        aliases: dict[str, dict[str, tuple[str, ...]]] = {}
        asked = messages(batch, aliases)
        for waited in (False, True):
            failed = await paid(
                self.chat, self.purse, asked, SCHEMA, tokens=tokens, until=self.until
            )
            if isinstance(failed, Reply):
                return failed, aliases
            self.failures.append(failed.why)
            pause = failed.retry_after
            if waited or pause is None or pause > min(_PATIENCE, self._left() - 1):
                break
            await asyncio.sleep(pause)
        return None, aliases

    def _left(self) -> float:
        return self.until - time.monotonic()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of side-by-side work: one is told, as the rest was stopped because of it."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _batches(tasks: Sequence[Task]) -> list[list[Task]]:
    """The tasks in the order given, as many in a batch as fit; one that is too large goes alone."""
    batches: list[list[Task]] = []
    size = 0
    for task in tasks:
        if not batches or size + task.size > A_CALL:
            batches.append([])
            size = 0
        batches[-1].append(task)
        size += task.size
    return batches

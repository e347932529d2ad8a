"""The summariser that needs nothing: no network, no model, no key.

It is extractive: what it says are sentences of the documents, with short templates around them.
`planning.py` chooses them; nothing is left to write.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

from distill_grpc.llm.base import Digest, DigestRequest, Purse
from distill_grpc.llm.cleaning import clean_text
from distill_grpc.llm.planning import Plan, Slot, plan
from distill_grpc.llm.reading import Checkpoint, Reading


class OfflineSummariser:
    """Digests by TextRank in a thread, so that the event loop goes on."""

    def __init__(self, name: str = "textrank") -> None:
        self.name = name

    async def digest(self, request: DigestRequest, _purse: Purse | None = None, /) -> Digest:
        """The digest; ValueError without documents or with fewer than one highlight wanted.

        Cancelling it stops the thread at its next step. Nothing is spent.
        """
        return extracts(await plan_in_thread(request), self.name)


async def plan_in_thread(request: DigestRequest) -> Plan:
    """The plan of a digest, made in a thread that stops where nobody waits any more."""
    stop = threading.Event()

    def checkpoint() -> None:
        if stop.is_set():
            raise _AbandonedError
        # Hands the interpreter to the event loop if it waits; without it the loop would get its
        # turn only every 5 ms (sys.getswitchinterval).
        time.sleep(0)

    try:
        return await asyncio.to_thread(plan, request, checkpoint)
    finally:
        stop.set()


class _AbandonedError(Exception):
    """Nobody waits for the digest any more."""


def _never() -> None:
    """The checkpoint of a caller who waits to the end."""


def summarise(
    request: DigestRequest, name: str = "textrank", checkpoint: Checkpoint = _never
) -> Digest:
    """What `OfflineSummariser.digest` does, as a plain function (fit for a process pool)."""
    return extracts(plan(request, checkpoint), name)


def extracts(made: Plan, name: str) -> Digest:
    """The digest that consists of the plan's extracts."""
    return Digest(
        highlights=[slot.statement() for slot in made.slots if not slot.section],
        sections={slot.section: slot.statement() for slot in made.slots if slot.section},
        model=name,
        confidence=share_found(*count_found(made.slots, made.readings)),
    )


def count_found(slots: Sequence[Slot], readings: Sequence[Reading]) -> tuple[int, int]:
    """(Quoted sentences found word by word in the document they cite, quoted sentences)."""
    by_id = {reading.id: reading for reading in readings}
    texts: dict[str, str] = {}
    found = checked = 0
    for slot in slots:
        for id_, quote in slot.extract.quotes:
            reading = by_id[id_]
            if id_ not in texts:
                texts[id_] = clean_text(reading.document.text)
            checked += 1
            found += quote in texts[id_] or quote in reading.title
    return found, checked


def share_found(found: int, checked: int) -> float:
    """The share, 0 where there is nothing."""
    return round(found / checked, 3) if checked else 0.0

"""The summariser that needs nothing: no network, no model, no key.

It is extractive: what it says are sentences of the documents, with short templates around them. The
way from documents to a digest stands in `summarise`, each step in a module of its own.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Sequence

from distill_grpc.llm.base import Digest, DigestRequest
from distill_grpc.llm.cleaning import clean_text
from distill_grpc.llm.clustering import Story, cluster, find_matters
from distill_grpc.llm.languages import Tokeniser
from distill_grpc.llm.ranking import rank
from distill_grpc.llm.reading import Checkpoint, Reading, read
from distill_grpc.llm.sections import important, mentions, trending
from distill_grpc.llm.selection import select
from distill_grpc.llm.weighing import weigh, weigh_stories
from distill_grpc.llm.wording import Telling, tell

_CANDIDATES = 250  # stories whose sentences are ranked; the weights decide which


class OfflineSummariser:
    """Digests by TextRank in a thread, so that the event loop goes on."""

    def __init__(self, name: str = "textrank") -> None:
        self.name = name

    async def digest(self, request: DigestRequest) -> Digest:
        """The digest; ValueError without documents or with fewer than one highlight wanted.

        Cancelling it stops the thread at its next step.
        """
        stop = threading.Event()

        def checkpoint() -> None:
            if stop.is_set():
                raise _AbandonedError
            # Hands the interpreter to the event loop if it waits; without it the loop would get its
            # turn only every 5 ms (sys.getswitchinterval).
            time.sleep(0)

        try:
            return await asyncio.to_thread(summarise, request, self.name, checkpoint)
        finally:
            stop.set()


class _AbandonedError(Exception):
    """Nobody waits for the digest any more."""


def _never() -> None:
    """The checkpoint of a caller who waits to the end."""


def summarise(
    request: DigestRequest, name: str = "textrank", checkpoint: Checkpoint = _never
) -> Digest:
    """What `OfflineSummariser.digest` does, as a plain function (fit for a process pool).

    The same documents give the same digest, in whatever order they come.
    """
    if not request.documents:
        raise ValueError("a digest needs at least one document")
    if request.max_highlights < 1:
        raise ValueError("a digest needs at least one highlight")
    tokeniser = Tokeniser()
    readings = read(request.documents, tokeniser, checkpoint)
    weigh(readings)
    stories = cluster(readings, checkpoint).stories
    find_matters(stories, checkpoint)
    weigh_stories(stories)
    ranked = rank(_preselect(stories), tokeniser, checkpoint)
    chosen = select(ranked, request.max_highlights)
    highlights = [tell(entry, tokeniser) for entry in chosen]
    sections = {
        "trending": trending(ranked, chosen, readings, tokeniser),
        "mentions": mentions(readings, request.mentions, checkpoint),
        "important": important(ranked, chosen, tokeniser),
    }
    there = {title: telling for title, telling in sections.items() if telling is not None}
    return Digest(
        highlights=[telling.statement() for telling in highlights],
        sections={title: telling.statement() for title, telling in there.items()},
        model=name,
        confidence=_confidence([*highlights, *there.values()], readings),
    )


def _preselect(stories: Sequence[Story]) -> list[Story]:
    """The weightiest stories, in the order in which they were first told.

    A story whose matter many voices share weighs more here than its own document tells.
    """

    def promise(story: Story) -> float:
        voices = {voice for other in story.matter[:20] for voice in other.voices}
        return story.weight * (1 + 0.3 * math.sqrt(len(voices) - 1))

    kept = sorted(stories, key=lambda story: (-promise(story), story.number))[:_CANDIDATES]
    return sorted(kept, key=lambda story: story.number)


def _confidence(tellings: Sequence[Telling], readings: Sequence[Reading]) -> float:
    """Share of the quoted sentences that are found word by word in the document they cite."""
    by_id = {reading.id: reading for reading in readings}
    texts: dict[str, str] = {}
    checked = 0
    found = 0
    for telling in tellings:
        for id_, quote in telling.quotes:
            reading = by_id[id_]
            if id_ not in texts:
                texts[id_] = clean_text(reading.document.text)
            checked += 1
            found += quote in texts[id_] or quote in reading.title
    return round(found / checked, 3) if checked else 0.0

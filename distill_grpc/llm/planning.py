"""What a digest will be about: chosen by code, whoever writes it.

Documents are read and weighed, those that tell the same story are gathered, the stories are ranked and
the worthiest chosen with a cap on each author; the rest is allotted to the sections. Each slot of the
plan comes with its extract, words taken from the documents, so that a digest can be had without a
model, and where one fails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from distill_grpc.llm.base import DigestRequest, Statement
from distill_grpc.llm.clustering import Story, cluster, find_matters
from distill_grpc.llm.languages import Tokeniser
from distill_grpc.llm.matching import matches
from distill_grpc.llm.mentioning import find_mentions, tell_mentions
from distill_grpc.llm.ranking import rank
from distill_grpc.llm.reading import Checkpoint, Reading, read
from distill_grpc.llm.reasons import WITHOUT_OTHERS, reasons, spoken_of
from distill_grpc.llm.sections import important, own, trending
from distill_grpc.llm.selection import select
from distill_grpc.llm.weighing import responses, weigh, weigh_stories
from distill_grpc.llm.wording import Telling, tell

_CANDIDATES = 250  # stories whose sentences are ranked; the weights decide which
_OF_A_SECTION = 10  # … and so many more for each section of the user's own


@dataclass(frozen=True, slots=True)
class Slot:
    """A statement to be written: where it stands, what it rests on, and its extract."""

    section: str  # "" for a highlight
    extract: Telling
    readings: tuple[Reading, ...]
    why: tuple[str, ...]

    def statement(self, text: str = "", ids: Sequence[str] = ()) -> Statement:
        """The statement of other words, or of the extract where none are given."""
        return Statement(
            text=text or self.extract.text,
            document_ids=tuple(ids) if text else self.extract.document_ids,
            why=self.why,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """The slots of a digest, highlights first, best first."""

    slots: list[Slot]
    readings: list[Reading]
    tokeniser: Tokeniser


def plan(request: DigestRequest, checkpoint: Checkpoint) -> Plan:
    """Chooses; ValueError without documents or with fewer than one highlight wanted.

    The same documents give the same plan, in whatever order they come.
    """
    if not request.documents:
        raise ValueError("a digest needs at least one document")
    if request.max_highlights < 1:
        raise ValueError("a digest needs at least one highlight")
    tokeniser = Tokeniser()
    readings = read(request.documents, tokeniser, checkpoint)
    mentioning = find_mentions(readings, request.mentions, checkpoint)
    naming = frozenset(reading.id for reading in mentioning)
    doublings = responses(readings)
    weigh(readings, request, doublings, naming)
    stories = cluster(readings, checkpoint, request.meanings).stories
    find_matters(stories, checkpoint)
    weigh_stories(stories, request.language)
    ranked = rank(_preselect(stories, request), tokeniser, checkpoint)
    chosen = select(ranked, request.max_highlights)
    sections = {
        "trending": trending(ranked, chosen, doublings, tokeniser),
        "mentions": tell_mentions(mentioning, request.mentions),
        "important": important(ranked, chosen, tokeniser),
        **{wanted.name: own(wanted, ranked, tokeniser) for wanted in request.sections},
    }
    by_id = {reading.id: reading for reading in readings}
    shared = spoken_of(stories, ranked)

    def slot(section: str, telling: Telling) -> Slot:
        behind = tuple(by_id[id_] for id_ in telling.document_ids)
        why = reasons(behind, request, doublings, naming, shared)
        if any(section == wanted.name for wanted in request.sections):
            why = (
                f"section:{section}",
                *(reason for reason in why if reason not in WITHOUT_OTHERS),
            )
        return Slot(section, telling, behind, why)

    slots = [slot("", tell(entry, tokeniser, limit=request.limit)) for entry in chosen]
    slots += [slot(name, telling) for name, telling in sections.items() if telling is not None]
    return Plan(slots, readings, tokeniser)


def _preselect(stories: Sequence[Story], request: DigestRequest) -> list[Story]:
    """The weightiest stories, and those of the user's sections, in the order of their first telling.

    A story whose matter many voices share weighs more here than its own document tells.
    """

    def promise(story: Story) -> float:
        voices = {voice for other in story.matter[:20] for voice in other.voices}
        return story.weight * (1 + 0.3 * math.sqrt(len(voices) - 1))

    ordered = sorted(stories, key=lambda story: (-promise(story), story.number))
    kept = {story.number: story for story in ordered[:_CANDIDATES]}
    for wanted in request.sections:
        fitting = (s for s in ordered if any(matches(wanted, r) for r in s.readings))
        kept.update({story.number: story for story, _ in zip(fitting, range(_OF_A_SECTION))})  # noqa: B905 -- the shorter one ends it
    return [kept[number] for number in sorted(kept)]

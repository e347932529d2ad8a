"""Why documents are in a digest, in words that a program can read.

`mentions_you`, `told_by:<voices>`, `response:<times>x` (engagement against what is usual for the
author), `tag:<tag>`, `source:<name>` and `author:<name>` (that the user cares for), `section:<name>`,
`signal:<kind>` (asks to be acted on); where none of these holds, `representative` (others write about it
too) or `distinct` (nobody else does).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from distill_grpc.llm.base import DigestRequest
from distill_grpc.llm.clustering import Story
from distill_grpc.llm.ranking import Ranked
from distill_grpc.llm.reading import Reading
from distill_grpc.llm.signals import strongest

WITHOUT_OTHERS = frozenset({"representative", "distinct"})  # said where there is no other reason


def reasons(
    readings: Sequence[Reading],
    request: DigestRequest,
    doublings: Mapping[str, float],
    naming: Collection[str],
    shared: Collection[str],
) -> tuple[str, ...]:
    """What speaks for these documents; at least one reason. `shared` as of `spoken_of`."""
    found: dict[str, None] = {}
    if any(reading.id in naming for reading in readings):
        found["mentions_you"] = None
    voices = len({reading.voice for reading in readings})
    if voices > 1:
        found[f"told_by:{voices}"] = None
    response = max((doublings.get(reading.id, 0.0) for reading in readings), default=0.0)
    if response >= 1:
        found[f"response:{2**response:.0f}x"] = None
    for reading in readings:
        found.update(dict.fromkeys(f"tag:{tag}" for tag in liked_tags(reading, request.tags)))
        if reading.document.source in request.sources:
            found[f"source:{reading.document.source}"] = None
        authors = liked_authors(reading, request.authors)
        found.update(dict.fromkeys(f"author:{author}" for author in authors))
    signal = strongest(" ".join((readings[0].title, *readings[0].lead[:8]))) if readings else None
    if signal:
        found[f"signal:{signal.name.lower().replace(' ', '_')}"] = None
    if not found:
        among = any(reading.id in shared for reading in readings)
        found["representative" if among else "distinct"] = None
    return tuple(found)


def spoken_of(stories: Sequence[Story], ranked: Sequence[Ranked]) -> frozenset[str]:
    """The ids of the documents about which others write too: of their matter, or with a like sentence."""
    matters = [story.matter for story in stories if story.matter[0] is story]
    shared = [
        story
        for matter in matters
        if len({voice for story in matter for voice in story.voices}) > 1
        for story in matter
    ]
    shared += [entry.story for entry in ranked if any(c.echoed for c in entry.candidates)]
    return frozenset(id_ for story in shared for id_ in story.document_ids)


def liked_tags(reading: Reading, tags: Sequence[str]) -> list[str]:
    """Those of the tags that a document has, without regard to case, and to spaces or dashes."""
    own = set(map(_joined, reading.document.tags))
    return [tag for tag in tags if _joined(tag) in own]


def _joined(tag: str) -> str:
    return "-".join(tag.casefold().split())


def liked_authors(reading: Reading, authors: Sequence[str]) -> list[str]:
    """Those of the names that are the document's author or site, without regard to case."""
    own = {" ".join(reading.document.author.casefold().split()), reading.outlet[1]} - {""}
    return [author for author in authors if " ".join(author.casefold().split()) in own]
